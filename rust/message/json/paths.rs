//! The fields that rules name, as a tree of keys: what the scanner walks along a message.

use std::sync::Arc;

use crate::message::path::{FieldId, FieldTable, Path};

/// A node's number; nodes are numbered so that all below a node follow it.
pub(super) type Node = usize;

/// The fields of one variable as a tree. Built when the rules change, shared by all messages.
///
/// Cost: building sorts the paths; a key is found among its siblings by binary search.
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
    /// Sorted by key.
    children: Vec<(Arc<str>, Node)>,
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
                nodes.push(Inner { parent, end: 0, depth: way.len(), children: Vec::new() });
                nodes[parent].children.push((Arc::clone(segment), node));
                way.push(node);
            }
            fields[field].node = way.last().copied();
            before = Some(path);
        }
        for node in (0..nodes.len()).rev() {
            nodes[node].end = nodes[node].children.last().map_or(node + 1, |&(_, child)| nodes[child].end);
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

    pub(super) fn child(&self, node: Node, key: &str) -> Option<Node> {
        let children = &self.nodes[node].children;
        // Few siblings are the rule, and then the length alone tells most keys apart.
        if children.len() <= 8 {
            return children.iter().find(|(child, _)| **child == *key).map(|&(_, node)| node);
        }
        children.binary_search_by(|(child, _)| (**child).cmp(key)).ok().map(|position| children[position].1)
    }
}
