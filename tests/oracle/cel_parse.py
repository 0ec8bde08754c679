"""CEL text -> syntax tree, by recursive descent.

Grammar and lexical rules: the CEL language definition (github.com/google/cel-spec, doc/langdef.md, "Syntax").
Left out: protocol-buffer message construction (`Type{...}`) and optional syntax (`?.`). Macros stay ordinary calls
here; the evaluator gives them their meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .cel_values import INT_MAX, INT_MIN, UINT_MAX, CelError, Uint


@dataclass(frozen=True)
class Node:
    """Base of the syntax tree."""


@dataclass(frozen=True)
class Literal(Node):
    value: Any


@dataclass(frozen=True)
class Ident(Node):
    name: str
    absolute: bool = False


@dataclass(frozen=True)
class Select(Node):
    operand: Node
    field: str


@dataclass(frozen=True)
class Index(Node):
    operand: Node
    key: Node


@dataclass(frozen=True)
class Call(Node):
    """`name(args)` or, with a target, `target.name(args)`."""

    target: Node | None
    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True)
class ListNode(Node):
    items: tuple[Node, ...]


@dataclass(frozen=True)
class MapNode(Node):
    entries: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True)
class Unary(Node):
    op: str
    operand: Node


@dataclass(frozen=True)
class Binary(Node):
    op: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Ternary(Node):
    condition: Node
    then: Node
    otherwise: Node


RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package"}
    | {"namespace", "return", "var", "void", "while"}
)
KEYWORDS = frozenset({"true", "false", "null", "in"})

TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f]+|//[^\n]*)
  | (?P<text>(?:[rR][bB]?|[bB][rR]?)?(?:\"{3}|'{3}|"|'))
  | (?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
  | (?P<int>(?:0x[0-9a-fA-F]+|[0-9]+)[uU]?)
  | (?P<ident>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<quoted>`[a-zA-Z0-9_.\-/ ]+`)
  | (?P<op>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
SIMPLE_ESCAPES = dict(zip("abfnrtv\\?\"'`", "\a\b\f\n\r\t\v\\?\"'`", strict=True))
HEX = "[0-9a-fA-F]"
# Mark of a numeric escape -> characters before its digits, form of the digits, base; without a mark it is octal.
ESCAPES = {mark: (1, f"{HEX}{{{digits}}}", 16) for mark, digits in (("x", 2), ("X", 2), ("u", 4), ("U", 8))}


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    value: Any = None


def tokenize(source: str) -> list[Token]:
    """All tokens of the text, closed by one of kind `end`."""
    tokens = []
    at = 0
    while at < len(source):
        found = TOKEN.match(source, at)
        if found is None:
            raise CelError(f"unexpected character {source[at]!r} at {at}")
        kind = found.lastgroup or ""
        at = found.end()
        if kind == "text":
            value, at = read_text(source, at, found.group())
            tokens.append(Token("literal", source[found.start() : at], value))
        elif kind != "space":
            tokens.append(Token(kind, found.group()))
    tokens.append(Token("end", ""))
    return tokens


def read_text(source: str, at: int, opening: str) -> tuple[str | bytes, int]:
    """The value of a string or bytes literal whose opening (prefix and quotes) ends at `at`, and where it ends."""
    quote = opening.lstrip("rRbB")
    prefix = opening[: len(opening) - len(quote)].lower()
    octets = "b" in prefix
    out = bytearray()
    while not source.startswith(quote, at):
        if at >= len(source) or (len(quote) == 1 and source[at] in "\r\n"):
            raise CelError("unterminated string literal")
        if source[at] == "\\" and "r" not in prefix:
            code, at, numeric = read_escape(source, at + 1, octets)
            # In a bytes literal \xff and \377 are octets, not code points.
            out += bytes([code]) if octets and numeric else chr(code).encode()
        else:
            out += source[at].encode()
            at += 1
    return (bytes(out) if octets else out.decode()), at + len(quote)


def read_escape(source: str, at: int, octets: bool) -> tuple[int, int, bool]:
    """The code of the escape after a backslash, where it ends, and whether it was written as a number."""
    mark = source[at : at + 1]
    if mark in SIMPLE_ESCAPES:
        return ord(SIMPLE_ESCAPES[mark]), at + 1, False
    skip, form, base = ESCAPES.get(mark, (0, r"[0-3][0-7]{2}", 8))
    found = re.compile(form).match(source, at + skip)
    code = int(found.group(), base) if found else -1
    forbidden = mark in ("u", "U") if octets else 0xD800 <= code <= 0xDFFF
    if found is None or forbidden or code > 0x10FFFF:
        raise CelError(f"bad escape \\{mark}")
    return code, found.end(), True


class Parser:
    """One method per production of the grammar, from the loosest binding to the tightest."""

    def __init__(self, source: str) -> None:
        self.tokens = tokenize(source)
        self.at = 0

    def peek(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def accept(self, *texts: str) -> str | None:
        token = self.peek()
        if token.text in texts and token.kind in ("op", "ident"):
            self.at += 1
            return token.text
        return None

    def expect(self, text: str) -> None:
        if self.accept(text) is None:
            raise CelError(f"expected {text!r}, found {self.peek().text!r}")

    def whole(self) -> Node:
        tree = self.expression()
        if self.peek().kind != "end":
            raise CelError(f"unexpected {self.peek().text!r}")
        return tree

    def expression(self) -> Node:
        condition = self.left_associative(self.conjunction, "||")
        if self.accept("?") is None:
            return condition
        then = self.left_associative(self.conjunction, "||")
        self.expect(":")
        return Ternary(condition, then, self.expression())

    def conjunction(self) -> Node:
        return self.left_associative(self.relation, "&&")

    def relation(self) -> Node:
        return self.left_associative(self.addition, "<", "<=", ">", ">=", "==", "!=", "in")

    def addition(self) -> Node:
        return self.left_associative(self.multiplication, "+", "-")

    def multiplication(self) -> Node:
        return self.left_associative(self.unary, "*", "/", "%")

    def left_associative(self, operand: Any, *ops: str) -> Node:
        tree: Node = operand()
        while (op := self.accept(*ops)) is not None:
            tree = Binary(op, tree, operand())
        return tree

    def unary(self) -> Node:
        marks = ""
        while self.peek().kind == "op" and self.peek().text in ("!", "-"):
            marks += self.take().text
        if len(set(marks)) > 1:
            raise CelError("! and - do not mix")  # Unary = Member | "!" {"!"} Member | "-" {"-"} Member
        if marks.endswith("-") and self.peek().kind in ("int", "float"):
            tree = self.member(negative=True)  # the sign belongs to the literal: -9223372036854775808 is an int
            marks = marks[:-1]
        else:
            tree = self.member()
        for mark in reversed(marks):
            tree = Unary(mark, tree)
        return tree

    def member(self, negative: bool = False) -> Node:
        tree = self.primary(negative)
        while True:
            if self.accept("."):
                token = self.take()
                if token.kind not in ("ident", "quoted") or token.text in KEYWORDS:
                    raise CelError(f"expected a field name, found {token.text!r}")
                name = token.text.strip("`")
                if token.kind == "ident" and self.accept("("):
                    tree = Call(tree, name, self.items(")"))
                else:
                    tree = Select(tree, name)
            elif self.accept("["):
                key = self.expression()
                self.expect("]")
                tree = Index(tree, key)
            else:
                return tree

    def items(self, closing: str) -> tuple[Node, ...]:
        """Comma-separated expressions up to the closing mark; a list may end in a comma, arguments may not."""
        found: list[Node] = []
        while self.accept(closing) is None:
            if found:
                self.expect(",")
                if closing == "]" and self.accept(closing):
                    break
            found.append(self.expression())
        return tuple(found)

    def entries(self) -> tuple[tuple[Node, Node], ...]:
        found: list[tuple[Node, Node]] = []
        while self.accept("}") is None:
            if found:
                self.expect(",")
                if self.accept("}"):
                    break
            key = self.expression()
            self.expect(":")
            found.append((key, self.expression()))
        return tuple(found)

    def primary(self, negative: bool) -> Node:
        token = self.take()
        if token.kind in ("literal", "float", "int"):
            return Literal(literal(token, negative))
        if token.text == "(" and token.kind == "op":
            tree = self.expression()
            self.expect(")")
            return tree
        if token.text == "[" and token.kind == "op":
            return ListNode(self.items("]"))
        if token.text == "{" and token.kind == "op":
            return MapNode(self.entries())
        return self.name(token)

    def name(self, token: Token) -> Node:
        """A constant, a variable or a call of a function, from its first token on."""
        absolute = token.text == "."
        if absolute:
            token = self.take()
        if token.kind != "ident" or token.text == "in":
            raise CelError(f"unexpected {token.text!r}")
        if token.text in KEYWORDS and not absolute:
            return Literal({"true": True, "false": False, "null": None}[token.text])
        if token.text in RESERVED:
            raise CelError(f"{token.text!r} is a reserved word")
        if self.accept("("):
            return Call(None, token.text, self.items(")"))
        return Ident(token.text, absolute)


def literal(token: Token, negative: bool) -> Any:
    """The value of a literal's token."""
    if token.kind == "int":
        return integer(token.text, negative)
    if token.kind == "float":
        return -float(token.text) if negative else float(token.text)
    return token.value


def integer(text: str, negative: bool) -> int | Uint:
    """The value of an int or uint literal; out of range is an error."""
    unsigned = text[-1] in "uU"
    body = text[:-1] if unsigned else text
    value = int(body, 16 if body.startswith("0x") else 10)
    value = -value if negative else value
    if not (0 <= value <= UINT_MAX if unsigned else INT_MIN <= value <= INT_MAX):
        raise CelError(f"literal out of range: {text}")
    return Uint(value) if unsigned else value


def parse(source: str) -> Node:
    """The syntax tree of a CEL expression. Raises CelError where the text is no CEL."""
    return Parser(source).whole()
