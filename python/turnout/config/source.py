"""A configuration's text as a tree that remembers the line and column of every key and value.

Readers (:mod:`.yaml_source`, :mod:`.json_source`) build :class:`Node` trees of plain data only: mappings with text
keys, lists, text, numbers, booleans and null. Cost: one node a value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import cast

from ..errors import ConfigError, Problem

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of one configuration text."""
MAX_DEPTH = 64
"""Levels of nested mappings and lists; also what the rules' patterns may nest."""
MAX_DIGITS = 400
"""Characters of one number: more than the largest double has, and far below Python's own limit of 4300."""

Place = tuple[int, int]
"""Line and column, both from 1; the column counts characters."""
KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top."""

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Node:
    """One value and where it stands."""

    place: Place
    data: object
    children: dict[str | int, Node] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)
    size: int = 1
    depth: int = 1


def mapping(place: Place) -> Node:
    """An empty mapping, to be filled with :func:`put`."""
    return Node(place, {})


def sequence(place: Place) -> Node:
    """An empty list, to be filled with :func:`append`."""
    return Node(place, [])


def put(node: Node, key: str, place: Place, child: Node) -> None:
    """Sets a key of a mapping made by :func:`mapping`."""
    cast("dict[str, object]", node.data)[key] = child.data
    node.keys[key] = place
    _adopt(node, key, child)


def append(node: Node, child: Node) -> None:
    """Adds an item to a list made by :func:`sequence`."""
    cast("list[object]", node.data).append(child.data)
    _adopt(node, len(node.children), child)


def _adopt(node: Node, key: str | int, child: Node) -> None:
    node.children[key] = child
    node.size += child.size
    node.depth = max(node.depth, child.depth + 1)


@dataclass(slots=True)
class Source:
    """A read text: its tree, and the problems found while reading it."""

    file: str
    root: Node
    problems: list[Problem]
    sound: bool
    """Whether the tree can be checked further; False if a part of it could not be read."""

    def place(self, path: KeyPath, *, key: bool = False) -> Place:
        """Where ``path`` stands: its value, or its key if ``key``; of what is absent, the nearest parent's place."""
        node, place = self.root, self.root.place
        for depth, part in enumerate(path):
            child = node.children.get(part)
            if child is None:
                break
            place = child.place
            if key and depth == len(path) - 1 and isinstance(part, str):
                place = node.keys[part]
            node = child
        return place

    def has(self, path: KeyPath) -> bool:
        """Whether the text holds a value at ``path``."""
        node: Node | None = self.root
        for part in path:
            node = node.children.get(part) if node else None
        return node is not None

    def problem(self, path: KeyPath, message: str, *, key: bool = False) -> Problem:
        """A problem at ``path``, with the file, line and column."""
        return Problem(path, message, self.file, *self.place(path, key=key))


class Reading:
    """What the readers share: collected problems, and the ways to report one."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.sound = True
        self.path: list[str | int] = []

    def note(self, place: Place, message: str) -> None:
        """Records a problem at the current path; the tree is no longer complete."""
        self.sound = False
        self.problems.append(Problem(tuple(self.path), message, self.file, *place))

    def duplicate(self, place: Place, key: str, first: Place) -> None:
        """Records a key given twice; the first is kept, so checking can go on."""
        path = (*self.path, key)
        self.problems.append(Problem(path, f"duplicate key; first given on line {first[0]}", self.file, *place))

    def stop(self, place: Place, message: str) -> ConfigError:
        """The error for a text that cannot be read further."""
        return ConfigError([*self.problems, Problem((), message, self.file, *place)])

    def check_depth(self, place: Place, depth: int) -> None:
        """Bounds nesting, before it can exhaust the stack."""
        if depth > MAX_DEPTH:
            raise self.stop(place, f"nested deeper than {MAX_DEPTH} levels")


def has_surrogate(text: str) -> bool:
    """Whether ``text`` holds half of a surrogate pair, which is no Unicode text."""
    return _SURROGATE.search(text) is not None
