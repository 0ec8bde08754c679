//! The fields that rules name, as a tree of keys: what the scanner walks along a message.

use std::sync::Arc;

use crate::message::path::{FieldId, FieldTable, Path};

/// A node's number; nodes are numbered so that all below a node follow it.
pub(super) type Node = usize;

/// The fields of one variable as a tree. Built when the rules change, shared by all messages.
///
/// Cost: building sorts the paths. A key that is none of a node's is mostly told by one bit; of those that may be, few
/// have that bit, and where they are many it is found among them by binary search.
#[derive(Debug, Clone)]
pub struct Paths {
    nodes: Vec<Inner>,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    parent: Node,
    /// The first number that is not below this node.
    end: Node,
    depth: usize,
    /// Sorted by the marks of their keys, then by key.
    children: Vec<(Arc<str>, Node)>,
    /// The marks of the children's keys: what has another mark is none of them.
    marks: u64,
    /// For each bit of `marks`, lowest first, where its children end.
    groups: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Field {
    /// `None`: the field is not of this variable.
    node: Option<Node>,
    path: Arc<Path>,
}

impl Paths {
    /// The tree of the fields of `table` that start at the variable `root`, such as `message`.
    pub fn new(table: &FieldTable, root: &str) -> Self {
        let mut fields: Vec<Field> =
            table.paths().iter().map(|path| Field { node: None, path: Arc::clone(path) }).collect();
        let mut order: Vec<usize> = (0..fields.len()).filter(|&field| *fields[field].path.root == *root).collect();
        order.sort_by(|&a, &b| fields[a].path.segments.cmp(&fields[b].path.segments));

        let mut nodes = vec![Inner::default()];
        // Sorted, all fields below a node come one after another: nodes are made in the order of a walk, children
        // sorted, none twice. `way` leads to the field before, and is shared as far as the keys are.
        let mut way: Vec<Node> = vec![0];
        let mut before: Option<Arc<Path>> = None;
        for field in order {
            let path = Arc::clone(&fields[field].path);
            let shared = before.map_or(0, |before| {
                before.segments.iter().zip(&path.segments).take_while(|(old, new)| old == new).count()
            });
            way.truncate(shared + 1);
            for segment in &path.segments[shared..] {
                let parent = way.last().copied().unwrap_or(0);
                let node = nodes.len();
                nodes.push(Inner { parent, depth: way.len(), ..Inner::default() });
                nodes[parent].children.push((Arc::clone(segment), node));
                way.push(node);
            }
            fields[field].node = way.last().copied();
            before = Some(path);
        }
        for node in (0..nodes.len()).rev() {
            nodes[node].end = nodes[node].children.last().map_or(node + 1, |&(_, child)| nodes[child].end);
            nodes[node].group();
        }
        Self { nodes, fields }
    }

    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn node(&self, field: FieldId) -> Option<Node> {
        self.fields.get(field.index())?.node
    }

    pub(super) fn name(&self, field: FieldId) -> String {
        self.fields.get(field.index()).map_or_else(String::new, |field| field.path.to_string())
    }

    pub(super) fn parent(&self, node: Node) -> Node {
        self.nodes[node].parent
    }

    pub(super) fn depth(&self, node: Node) -> usize {
        self.nodes[node].depth
    }

    /// The numbers of the node and all below it.
    pub(super) fn below(&self, node: Node) -> std::ops::Range<Node> {
        node..self.nodes[node].end
    }

    pub(super) fn is_leaf(&self, node: Node) -> bool {
        self.nodes[node].children.is_empty()
    }

    /// The node below `node` that `key` leads to.
    #[inline(always)]
    pub(super) fn child(&self, node: Node, key: &[u8]) -> Option<Node> {
        let node = &self.nodes[node];
        let mark = mark(key);
        if node.marks & mark == 0 { None } else { node.find(mark, key) }
    }
}

impl Inner {
    /// Sorts the children by their marks, and notes where those of each end.
    fn group(&mut self) {
        // Stable: by key within a group.
        self.children.sort_by_key(|(key, _)| mark(key.as_bytes()));
        for (place, (key, _)) in self.children.iter().enumerate() {
            let mark = mark(key.as_bytes());
            if self.marks & mark == 0 {
                self.marks |= mark;
                self.groups.push(0);
            }
            if let Some(end) = self.groups.last_mut() {
                *end = place as u32 + 1;
            }
        }
    }

    fn find(&self, mark: u64, key: &[u8]) -> Option<Node> {
        let group = (self.marks & (mark - 1)).count_ones() as usize;
        let end = self.groups[group] as usize;
        let start = group.checked_sub(1).map_or(0, |before| self.groups[before] as usize);
        let children = &self.children[start..end];
        // Mostly there is one, and its length alone tells most keys apart from it.
        if children.len() <= 8 {
            return children.iter().find(|(child, _)| child.as_bytes() == key).map(|&(_, node)| node);
        }
        let found = children.binary_search_by(|(child, _)| child.as_bytes().cmp(key));
        found.ok().map(|position| children[position].1)
    }
}

/// One bit of 64, by the length of a key and the bytes at its ends: what tells most keys of one message apart, and costs
/// less than any hash of all bytes.
#[inline(always)]
fn mark(key: &[u8]) -> u64 {
    let ends = match key {
        [first, .., last] => usize::from(*first) * 7 + usize::from(*last) * 3,
        _ => 0,
    };
    1 << ((ends + key.len()) % 64)
}
