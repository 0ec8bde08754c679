//! Messages in columns: one value of each field a row, as arrays and data frames hold them.
//!
//! Columns are named by dotted path below the message (`order.total`); together they are a tree whose leaves are
//! columns, and a row of it is a message: `order` is a map of what stands below it. What no column names is not there.
//!
//! Cost: a field that is a column is an array index; any other way is followed by its keys.

use std::sync::Arc;

use crate::error::ReadError;
use crate::message::objects::{self, Listed};
use crate::message::path::{FieldId, FieldTable, Path};
use crate::message::tree::follow;
use crate::message::value::{Key, Map, Text, Value};
use crate::message::{Fields, Read};

/// The values of one column.
#[derive(Debug)]
pub enum Column<'m> {
    /// Booleans, as bytes: 0 is false.
    Bool(Vec<u8>),
    /// Signed integers.
    Int(Vec<i64>),
    /// Unsigned integers; those that fit are ints, as in any other message.
    Uint(Vec<u64>),
    /// Doubles.
    Double(Vec<f64>),
    /// Values of any kind.
    Values(Vec<Value<'m>>),
    /// No rule names it: nothing is read.
    Unread,
}

/// A column, with the rows in which it is null whatever it holds there.
#[derive(Debug)]
pub struct Masked<'m> {
    /// The values.
    pub column: Column<'m>,
    /// By row, whether it is null (other than 0); `None` if it nowhere is.
    pub nulls: Option<Vec<u8>>,
}

impl<'m> Masked<'m> {
    /// The value in this row; `None` for a column that is not read.
    fn value(&self, row: usize) -> Option<Value<'m>> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls[row] != 0) {
            return Some(Value::Null);
        }
        Some(match &self.column {
            Column::Bool(values) => Value::Bool(values[row] != 0),
            Column::Int(values) => Value::Int(values[row]),
            Column::Uint(values) => i64::try_from(values[row]).map_or(Value::Uint(values[row]), Value::Int),
            Column::Double(values) => Value::Double(values[row]),
            Column::Values(values) => values[row].clone(),
            Column::Unread => return None,
        })
    }
}

/// Columns named in a way that is no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?}: {problem}")]
pub struct ColumnError {
    /// The column's name.
    pub path: String,
    /// What is wrong, and what to write instead.
    pub problem: String,
}

/// A column by number, or what stands below a key.
#[derive(Debug, Clone)]
enum Node {
    Column(usize),
    Branch(Vec<(Arc<str>, Node)>),
}

/// The names of columns as a tree, over the fields of a program.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The variable that the columns are fields of.
    root: Arc<str>,
    tree: Node,
    /// By field number: the column that the field is, if it is one.
    direct: Box<[Option<usize>]>,
    /// By column: whether some rule may read it.
    read: Box<[bool]>,
}

impl Layout {
    /// The tree of these names, in which fields of `table` that start at `root` are looked for.
    ///
    /// # Errors
    /// [`ColumnError`] for a name with an empty key, one that comes twice, and one that lies below another.
    pub fn new(names: &[String], table: &FieldTable, root: &str) -> Result<Self, ColumnError> {
        let mut tree = Node::Branch(Vec::new());
        for (number, name) in names.iter().enumerate() {
            insert(&mut tree, name, number)?;
        }
        let in_message = |path: &Path| *path.root == *root;
        let read = names.iter().map(|name| {
            let related = |path: &Arc<Path>| {
                in_message(path) && name.split('.').zip(path.segments.iter()).all(|(key, segment)| *key == **segment)
            };
            table.paths().iter().any(related)
        });
        let read = read.collect();
        let direct = table.paths().iter().map(|path| if in_message(path) { column_at(&tree, path) } else { None });
        Ok(Self { root: root.into(), direct: direct.collect(), read, tree })
    }

    /// Whether some rule may read this column.
    pub fn reads(&self, column: usize) -> bool {
        self.read[column]
    }
}

fn insert(tree: &mut Node, name: &str, number: usize) -> Result<(), ColumnError> {
    let error = |problem: &str| ColumnError { path: name.to_owned(), problem: problem.to_owned() };
    let below = "another column is a part of this path, or this of its; a field is a value or has fields, not both";
    let mut node = tree;
    let mut keys = name.split('.').peekable();
    while let Some(key) = keys.next() {
        if key.is_empty() {
            return Err(error("has an empty key; write keys with dots between, such as order.total"));
        }
        let Node::Branch(children) = node else { return Err(error(below)) };
        let position = children.iter().position(|(child, _)| **child == *key);
        if keys.peek().is_none() {
            if position.is_some() {
                return Err(error(below));
            }
            children.push((key.into(), Node::Column(number)));
            return Ok(());
        }
        let position = position.unwrap_or_else(|| {
            children.push((key.into(), Node::Branch(Vec::new())));
            children.len() - 1
        });
        node = &mut children[position].1;
    }
    Ok(())
}

fn column_at(tree: &Node, path: &Path) -> Option<usize> {
    let found = path.segments.iter().try_fold(tree, |node, segment| match node {
        Node::Branch(children) => children.iter().find(|(key, _)| key == segment).map(|(_, child)| child),
        Node::Column(_) => None,
    });
    match found {
        Some(Node::Column(number)) => Some(*number),
        _ => None,
    }
}

/// Columns of one length as messages.
#[derive(Debug)]
pub struct Columns<'m> {
    /// The names.
    pub layout: Layout,
    /// The values, in the order of the names; all of them have the same length.
    pub columns: Vec<Masked<'m>>,
}

impl<'m> Columns<'m> {
    fn value(&self, column: usize, row: usize) -> Option<Value<'m>> {
        self.columns[column].value(row)
    }

    /// All that stands below a node, as a map.
    fn whole(&self, node: &Node, row: usize) -> Option<Value<'m>> {
        match node {
            Node::Column(column) => self.value(*column, row),
            Node::Branch(children) => {
                let entries = children.iter().filter_map(|(key, child)| {
                    let key = Key::Text(Text::Shared(Arc::clone(key).into()));
                    self.whole(child, row).map(|value| (key, value))
                });
                Some(Value::Map(Arc::new(Map::new(entries.collect()))))
            }
        }
    }

    fn follow(&self, segments: &[Arc<str>], row: usize) -> Read<'m> {
        let mut node = &self.layout.tree;
        for (depth, segment) in segments.iter().enumerate() {
            match node {
                Node::Branch(children) => match children.iter().find(|(key, _)| key == segment) {
                    Some((_, child)) => node = child,
                    None if depth + 1 == segments.len() => return Read::Absent,
                    None => return Read::Broken,
                },
                Node::Column(column) => {
                    let Some(value) = self.value(*column, row) else { return Read::Broken };
                    return match follow(&value, &segments[depth..]) {
                        Read::InList { depth: further } => Read::InList { depth: depth + further },
                        other => other,
                    };
                }
            }
        }
        self.whole(node, row).map_or(Read::Absent, Read::Value)
    }
}

/// One row as a message.
#[derive(Debug, Clone, Copy)]
pub struct Row<'c, 'm> {
    /// The columns.
    pub columns: &'c Columns<'m>,
    /// The fields that the layout was made for.
    pub fields: &'c FieldTable,
    /// The row's number.
    pub row: usize,
}

impl<'m> Fields<'m> for Row<'_, 'm> {
    fn read(&self, field: FieldId) -> Result<Read<'m>, ReadError> {
        let layout = &self.columns.layout;
        if let Some(value) = layout.direct[field.index()].and_then(|column| self.columns.value(column, self.row)) {
            return Ok(Read::Value(value));
        }
        let path = self.fields.path(field);
        if path.root != self.columns.layout.root {
            return Ok(Read::Broken);
        }
        Ok(self.columns.follow(&path.segments, self.row))
    }

    fn objects(&self, field: FieldId) -> Result<Option<Listed<'_, 'm>>, ReadError> {
        Ok(objects::of_read(self.fields, field, &self.read(field)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::limits::Limits;
    use crate::rules::program::{Program, RuleSource};

    fn program(conditions: &[&str]) -> Program {
        let rule = |(number, when): (usize, &&str)| RuleSource {
            id: number.to_string(),
            priority: 0,
            when: Some((*when).to_owned()),
            matches: None,
        };
        Program::build(conditions.iter().enumerate().map(rule).collect(), &["message"], Limits::default()).unwrap()
    }

    fn matches(program: &Program, names: &[&str], columns: Vec<Masked<'_>>, row: usize) -> Vec<usize> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let layout = Layout::new(&names, program.fields(), "message").unwrap();
        let columns = Columns { layout, columns };
        program.all(&Row { columns: &columns, fields: program.fields(), row }).unwrap()
    }

    fn plain(column: Column<'_>) -> Masked<'_> {
        Masked { column, nulls: None }
    }

    #[test]
    fn a_row_is_a_message() {
        let program = program(&[
            "message.n == 7",
            "message.order.total > 1.0",
            "message.flag",
            "message.big == 18446744073709551615u",
            "type(message.small) == int",
            "has(message.order)",
            "has(message.order.discount)",
            "has(message.nothing.below)",
            "message.order == {'total': 2.5, 'note': null}",
            "message.order.note == null",
            "message.tags.size() == 1",
            "message.customer.name == 'ann'",
            "message.n.below == 1",
        ]);
        let names = ["n", "order.total", "flag", "big", "small", "order.note", "tags", "customer"];
        let customer = crate::message::json::value(br#"{"name":"ann"}"#).unwrap();
        let columns = vec![
            plain(Column::Int(vec![0, 7])),
            plain(Column::Double(vec![0.0, 2.5])),
            plain(Column::Bool(vec![0, 1])),
            plain(Column::Uint(vec![0, u64::MAX])),
            plain(Column::Uint(vec![0, 1])),
            Masked { column: Column::Int(vec![0, 5]), nulls: Some(vec![0, 1]) },
            plain(Column::Values(vec![Value::Null, Value::list(vec![Value::Int(1)])])),
            plain(Column::Values(vec![Value::Null, customer])),
        ];
        assert_eq!(matches(&program, &names, columns, 1), [0, 1, 2, 3, 4, 5, 8, 9, 10, 11]);
    }

    #[test]
    fn patterns_try_the_elements_of_lists_in_a_column() {
        let pattern = crate::message::json::value(br#"{"items": {"sku": ["b"]}}"#).unwrap().into_owned();
        let rule = RuleSource { id: "r".to_owned(), priority: 0, when: None, matches: Some(pattern) };
        let program = Program::build(vec![rule], &["message"], Limits::default()).unwrap();
        let items = crate::message::json::value(br#"[{"sku": "a"}, {"sku": "b"}]"#).unwrap();
        for (name, items) in [("items", items.clone()), ("items.sku", Value::text("b"))] {
            assert_eq!(matches(&program, &[name], vec![plain(Column::Values(vec![items]))], 0), [0], "{name}");
        }
    }

    #[test]
    fn only_columns_that_rules_may_read_are_read() {
        let program = program(&["message.a.b == 1", "message.c == {}"]);
        let names = ["a", "a2", "c.d", "c.e", "x"].map(str::to_owned);
        let layout = Layout::new(&names, program.fields(), "message").unwrap();
        let read: Vec<bool> = (0..names.len()).map(|column| layout.reads(column)).collect();
        assert_eq!(read, [true, false, true, true, false]);
    }

    #[test]
    fn names_that_are_no_tree_are_errors() {
        let program = program(&["true"]);
        let table: [(&[&str], &str, &str); 6] = [
            (&[""], "", "empty key"),
            (&["a..b"], "a..b", "empty key"),
            (&["a."], "a.", "empty key"),
            (&["a", "a.b"], "a.b", "another column"),
            (&["a.b", "a"], "a", "another column"),
            (&["a", "a"], "a", "another column"),
        ];
        for (names, path, problem) in table {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let error = Layout::new(&names, program.fields(), "message").unwrap_err();
            assert_eq!(error.path, path);
            assert!(error.problem.contains(problem), "{error}");
        }
    }
}
