//! CEL text into a checked tree.
//!
//! Recursive descent, with one function for all binary operators (precedence climbing). What recurses counts
//! its depth, every node its height, so neither parsing nor anything that walks the tree goes deeper than
//! [`Limits::nesting`]; chains of `&&`, `||`, `+`, `*` and `? :` are loops and may be as long as the source.
//!
//! Names are resolved while parsing: a comprehension's variable to its slot, a root and the constant keys
//! after it (`message.a["b"]`) to one interned field. Constant parts are computed.
//!
//! Grammar: <https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax>

use smallvec::{SmallVec, smallvec};

use super::ast::{Arithmetic, Kind as Tree, Node, Relation};
use super::fold::fold;
use super::lexer::{Kind, Lexer, Span, Token, error_at};
use super::literal;
use super::names;
use crate::error::ConditionError;
use crate::message::path::FieldTable;
use crate::message::value::{Text, Value};
use crate::rules::condition::Comparison;
use crate::rules::limits::Limits;

/// However large [`Limits::nesting`] is, no tree is higher: the thread's stack must hold the walk.
pub(super) const MAX_NESTING: usize = 256;

/// A node with its height, while the tree is built.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) node: Node,
    /// 1 for a leaf.
    pub(super) height: usize,
    /// Whether the text ends by selecting a field with a dot, which is what `has` takes.
    pub(super) selected: bool,
}

/// The parser's state.
pub(super) struct Parser<'s, 't> {
    pub(super) source: &'s str,
    pub(super) lexer: Lexer<'s>,
    pub(super) token: Token,
    /// Where the last token taken stands.
    pub(super) last: Span,
    pub(super) roots: &'t [&'t str],
    pub(super) fields: &'t mut FieldTable,
    pub(super) limits: &'t Limits,
    /// Whether an unknown name is an error now, or when it is evaluated.
    pub(super) checked: bool,
    /// The variables of the comprehensions around the text, outermost first.
    pub(super) scope: SmallVec<[&'s str; 4]>,
    depth: usize,
    nodes: usize,
    literals: usize,
}

pub(super) type Result<T> = std::result::Result<T, ConditionError>;

/// The binary operators, loosest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Relation,
    Sum,
    Product,
    /// Tighter than all: what an operand of a product is parsed at.
    Unary,
}

impl Level {
    fn of(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Or => Level::Or,
            Kind::And => Level::And,
            Kind::Equal
            | Kind::NotEqual
            | Kind::Less
            | Kind::LessOrEqual
            | Kind::Greater
            | Kind::GreaterOrEqual
            | Kind::In => Level::Relation,
            Kind::Plus | Kind::Minus => Level::Sum,
            Kind::Star | Kind::Slash | Kind::Percent => Level::Product,
            _ => return None,
        })
    }

    fn tighter(self) -> Self {
        match self {
            Level::Or => Level::And,
            Level::And => Level::Relation,
            Level::Relation => Level::Sum,
            Level::Sum => Level::Product,
            Level::Product | Level::Unary => Level::Unary,
        }
    }
}

/// Parses the whole of `source`.
pub(super) fn parse(
    source: &str,
    roots: &[&str],
    fields: &mut FieldTable,
    limits: &Limits,
    checked: bool,
) -> Result<Node> {
    if source.len() > limits.source_bytes.min(u32::MAX as usize) {
        let problem = format!("the condition has {} bytes; the limit `source_bytes` allows fewer", source.len());
        return Err(error_at(source, limits.source_bytes, problem));
    }
    let mut lexer = Lexer::new(source);
    let token = lexer.next()?;
    let (last, scope) = (Span::default(), SmallVec::new());
    let mut parser =
        Parser { source, lexer, token, last, roots, fields, limits, checked, scope, depth: 0, nodes: 0, literals: 0 };
    if token.kind == Kind::End {
        return Err(error_at(source, 0, "the condition is empty: write `true` for a rule that always matches"));
    }
    let parsed = parser.expression()?;
    if parser.token.kind != Kind::End {
        return Err(parser.unexpected("an operator such as `&&`, or the end"));
    }
    Ok(parsed.node)
}

impl<'s> Parser<'s, '_> {
    pub(super) fn fail<T>(&self, span: Span, problem: impl Into<String>) -> Result<T> {
        Err(error_at(self.source, span.start as usize, problem))
    }

    /// Takes the current token.
    pub(super) fn advance(&mut self) -> Result<Token> {
        let token = self.token;
        self.last = token.span;
        self.token = self.lexer.next()?;
        Ok(token)
    }

    /// Takes the current token if it is of this kind.
    pub(super) fn take(&mut self, kind: Kind) -> Result<bool> {
        let is = self.token.kind == kind;
        if is {
            self.advance()?;
        }
        Ok(is)
    }

    pub(super) fn expect(&mut self, kind: Kind, wanted: &str) -> Result<()> {
        if self.take(kind)? { Ok(()) } else { Err(self.unexpected(wanted)) }
    }

    /// The error for the current token where `wanted` should stand.
    pub(super) fn unexpected(&self, wanted: &str) -> ConditionError {
        names::unexpected(self.source, self.token, wanted)
    }

    /// A node over children of at most this height; constants are computed.
    pub(super) fn node(&mut self, kind: Tree, span: Span, children: usize) -> Result<Parsed> {
        self.count(&kind, span)?;
        let node = Node { kind: fold(kind, span, self.source, self.checked)?, span };
        let height = if node.kind.constant().is_some() { 1 } else { children + 1 };
        self.within_nesting(height, span)?;
        Ok(Parsed { node, height, selected: false })
    }

    /// A node without children.
    pub(super) fn leaf(&mut self, kind: Tree, span: Span) -> Result<Parsed> {
        self.count(&kind, span)?;
        self.within_nesting(1, span)?;
        Ok(Parsed { node: Node { kind, span }, height: 1, selected: false })
    }

    /// Holds the source to the limits on nodes and constants.
    fn count(&mut self, kind: &Tree, span: Span) -> Result<()> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            let problem = format!("the condition has more than {} parts, the limit `nodes`", self.limits.nodes);
            return self.fail(span, problem);
        }
        self.literals += usize::from(kind.constant().is_some());
        if self.literals > self.limits.literals {
            let most = self.limits.literals;
            return self.fail(span, format!("the condition has more than {most} constants, the limit `literals`"));
        }
        Ok(())
    }

    pub(super) fn within_nesting(&self, height: usize, span: Span) -> Result<()> {
        let most = self.limits.nesting.min(MAX_NESTING);
        if height <= most {
            return Ok(());
        }
        self.fail(span, format!("the condition nests more than {most} levels deep, the limit `nesting`"))
    }

    /// `or`, or `condition ? value : expression`.
    pub(super) fn expression(&mut self) -> Result<Parsed> {
        self.depth += 1;
        self.within_nesting(self.depth, self.token.span)?;
        let first = self.binary(Level::Or)?;
        let parsed = if self.token.kind == Kind::Question { self.conditional(first)? } else { first };
        self.depth -= 1;
        Ok(parsed)
    }

    fn conditional(&mut self, first: Parsed) -> Result<Parsed> {
        let start = first.node.span;
        let mut height = 0;
        let mut arms = Vec::new();
        let mut condition = first;
        while self.take(Kind::Question)? {
            let value = self.binary(Level::Or)?;
            if self.token.kind == Kind::Question {
                return self.fail(self.token.span, "put the inner `? :` between parentheses");
            }
            self.expect(Kind::Colon, "`:` and the value otherwise")?;
            height = height.max(condition.height).max(value.height);
            arms.push((condition.node, value.node));
            condition = self.binary(Level::Or)?;
        }
        let span = start.to(condition.node.span);
        let height = height.max(condition.height);
        self.node(Tree::Conditional(arms.into(), Box::new(condition.node)), span, height)
    }

    fn binary(&mut self, loosest: Level) -> Result<Parsed> {
        let mut left = self.unary()?;
        while let Some(level) = Level::of(self.token.kind).filter(|level| *level >= loosest) {
            left = match level {
                Level::Or | Level::And => self.logic(left, level)?,
                Level::Relation => self.relation(left)?,
                Level::Sum | Level::Product | Level::Unary => self.arithmetic(left, level)?,
            };
        }
        Ok(left)
    }

    /// `left && …` or `left || …`, as one node.
    fn logic(&mut self, left: Parsed, level: Level) -> Result<Parsed> {
        let operator = self.token.kind;
        let start = left.node.span;
        let mut height = left.height;
        let mut operands: SmallVec<[Node; 8]> = smallvec![left.node];
        while self.take(operator)? {
            let right = self.binary(level.tighter())?;
            height = height.max(right.height);
            operands.push(right.node);
        }
        let operands = operands.into_boxed_slice();
        let kind = if operator == Kind::And { Tree::All(operands) } else { Tree::Any(operands) };
        self.node(kind, start.to(self.last), height)
    }

    fn relation(&mut self, left: Parsed) -> Result<Parsed> {
        let relation = match self.advance()?.kind {
            Kind::Equal => Relation::Equal,
            Kind::NotEqual => Relation::NotEqual,
            Kind::Less => Relation::Compares(Comparison::Less),
            Kind::LessOrEqual => Relation::Compares(Comparison::LessOrEqual),
            Kind::Greater => Relation::Compares(Comparison::Greater),
            Kind::GreaterOrEqual => Relation::Compares(Comparison::GreaterOrEqual),
            _ => Relation::In,
        };
        let right = self.binary(Level::Relation.tighter())?;
        if relation == Relation::In && self.token.kind == Kind::Comma && self.depth == 1 {
            return self.fail(self.last, "a list is written between brackets: in [1, 2]");
        }
        let (span, height) = (left.node.span.to(self.last), left.height.max(right.height));
        self.node(Tree::Relation(relation, Box::new((left.node, right.node))), span, height)
    }

    /// A chain of `+` and `-`, or of `*`, `/` and `%`, as one node.
    fn arithmetic(&mut self, left: Parsed, level: Level) -> Result<Parsed> {
        let start = left.node.span;
        let mut height = left.height;
        let mut rest = Vec::new();
        while Level::of(self.token.kind) == Some(level) {
            let operator = match self.advance()?.kind {
                Kind::Plus => Arithmetic::Add,
                Kind::Minus => Arithmetic::Subtract,
                Kind::Star => Arithmetic::Multiply,
                Kind::Slash => Arithmetic::Divide,
                _ => Arithmetic::Remainder,
            };
            let right = self.binary(level.tighter())?;
            height = height.max(right.height);
            rest.push((operator, right.node));
        }
        let kind = Tree::Arithmetic(Box::new(left.node), rest.into());
        self.node(kind, start.to(self.last), height)
    }

    /// A member after any number of `!`, or of `-`.
    fn unary(&mut self) -> Result<Parsed> {
        let operator = self.token;
        if !matches!(operator.kind, Kind::Not | Kind::Minus) {
            return self.member();
        }
        let mut count = 0_usize;
        while self.take(operator.kind)? {
            count += 1;
        }
        if matches!(self.token.kind, Kind::Not | Kind::Minus) {
            return self.fail(self.token.span, "put what follows the sign between parentheses");
        }
        // The sign of a number belongs to it: -9223372036854775808 has no positive counterpart.
        let negative = operator.kind == Kind::Minus && matches!(self.token.kind, Kind::Int | Kind::Double);
        let mut parsed = if negative {
            count -= 1;
            let first = self.number(true)?;
            self.postfix(first)?
        } else {
            self.member()?
        };
        // Two operators change nothing but that the operand must have the right type.
        for _ in 0..if count > 2 { 2 - count % 2 } else { count } {
            let operand = Box::new(parsed.node);
            let kind = if operator.kind == Kind::Not { Tree::Not(operand) } else { Tree::Negate(operand) };
            parsed = self.node(kind, operator.span.to(self.last), parsed.height)?;
        }
        Ok(parsed)
    }

    fn member(&mut self) -> Result<Parsed> {
        let first = match self.token.kind {
            Kind::Identifier => return self.name(false),
            Kind::Dot => {
                self.advance()?;
                if self.token.kind != Kind::Identifier {
                    return Err(self.unexpected("a name after the `.`"));
                }
                return self.name(true);
            }
            Kind::Int | Kind::Double => self.number(false)?,
            Kind::Uint => {
                let token = self.advance()?;
                let value = literal::uint(self.source, token.span)?;
                self.constant(value, token.span)?
            }
            Kind::Text => {
                let token = self.advance()?;
                let text = literal::text(self.source, token.span)?;
                self.constant(Value::Text(Text::Shared(text)), token.span)?
            }
            Kind::Bytes => {
                let token = self.advance()?;
                let bytes = literal::bytes(self.source, token.span)?;
                self.constant(Value::Bytes(bytes), token.span)?
            }
            Kind::OpenParenthesis => {
                self.advance()?;
                let mut inner = self.expression()?;
                if self.token.kind == Kind::Comma {
                    return self.fail(self.token.span, "a list is written between brackets: [1, 2]");
                }
                self.expect(Kind::CloseParenthesis, "`)`")?;
                inner.selected = false;
                inner
            }
            Kind::OpenBracket => self.list()?,
            Kind::OpenBrace => self.map()?,
            _ => return Err(self.unexpected("a value")),
        };
        self.postfix(first)
    }

    fn number(&mut self, negative: bool) -> Result<Parsed> {
        let token = self.advance()?;
        let value = match token.kind {
            Kind::Double => literal::double(self.source, token.span, negative)?,
            _ => literal::int(self.source, token.span, negative)?,
        };
        self.constant(value, token.span)
    }

    pub(super) fn constant(&mut self, value: Value<'static>, span: Span) -> Result<Parsed> {
        self.leaf(Tree::Constant(value), span)
    }

    fn list(&mut self) -> Result<Parsed> {
        let open = self.advance()?.span;
        let (mut items, mut height) = (Vec::new(), 0);
        while self.token.kind != Kind::CloseBracket {
            self.no_optional()?;
            let item = self.expression()?;
            height = height.max(item.height);
            items.push(item.node);
            if !self.take(Kind::Comma)? {
                break;
            }
        }
        self.expect(Kind::CloseBracket, "`,` or `]`")?;
        self.node(Tree::List(items.into()), open.to(self.last), height)
    }

    fn map(&mut self) -> Result<Parsed> {
        let open = self.advance()?.span;
        let (mut entries, mut height) = (Vec::new(), 0);
        while self.token.kind != Kind::CloseBrace {
            self.no_optional()?;
            let key = self.expression()?;
            self.expect(Kind::Colon, "`:` and the key's value")?;
            let value = self.expression()?;
            height = height.max(key.height).max(value.height);
            entries.push((key.node, value.node));
            if !self.take(Kind::Comma)? {
                break;
            }
        }
        self.expect(Kind::CloseBrace, "`,` or `}`")?;
        self.node(Tree::Map(entries.into()), open.to(self.last), height)
    }

    pub(super) fn no_optional(&self) -> Result<()> {
        if self.token.kind == Kind::Question {
            return self.fail(self.token.span, "there are no optional values: test the field with has(…)");
        }
        Ok(())
    }
}
