"""YAML text -> :class:`~.source.Node` tree, with a line and column for every key and value.

PyYAML is used for its event stream only (the libyaml parser where it is built in): it is in nearly every Python
environment already, its events carry marks, and *no* constructor ever runs, so no tag can make an object. What an
event means is decided here, by the core schema of YAML 1.2: ``true`` and ``false`` are the only booleans (``no``,
``off`` and ``yes`` are text), ``017`` is seventeen, dates are text. Merge keys (``<<``) are understood.

Bounds: nesting, and the nodes that aliases expand to ("billion laughs"); both stop reading at once. The parsers'
own nesting is a stack of states on the heap, so the first event that is too deep comes before any overflow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from .source import MAX_DIGITS, Node, Place, Reading, Source, append, mapping, put, sequence

MAX_ALIASED = 100_000
"""Nodes that all aliases of a text may stand for together."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_IMPLIED_TAGS = frozenset({None, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_CONSTANTS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def read_yaml(text: str, file: str) -> Source:
    """Reads one YAML document; ``text`` is within :data:`~.source.MAX_BYTES` and holds no NUL.

    Raises:
        ConfigError: not YAML, no document or several, or beyond a bound.
    """
    return _Reader(text, file).read()


class _Reader(Reading):
    def __init__(self, text: str, file: str) -> None:
        super().__init__(file)
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=_LOADER))
        self.anchors: dict[str, Node] = {}
        self.aliased = 0

    def read(self) -> Source:
        try:
            next(self.events)  # the start of the stream
            if isinstance(next(self.events), yaml.StreamEndEvent):
                raise self.stop((1, 1), "empty; `turnout init` writes a file to start from")
            root = self.node(next(self.events), 1)
            next(self.events)  # the end of the document
            more = next(self.events)
            if not isinstance(more, yaml.StreamEndEvent):
                raise self.stop(_place(more), "a second document; a configuration is one")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            about = ": ".join(part for part in (error.context, error.problem) if part)
            failure = self.stop(place, f"not YAML: {about}")
        except yaml.reader.ReaderError as error:
            failure = self.stop((1, 1), f"not YAML: {error.reason} (character {error.position})")
        else:
            return Source(self.file, root, self.problems, self.sound)
        raise failure  # outside of the handler: the parser's error would quote the file's text

    def node(self, event: Any, depth: int) -> Node:
        place = _place(event)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, place, depth)
        if isinstance(event, yaml.ScalarEvent):
            node = Node(place, self.scalar(event, place))
        else:
            self.check_depth(place, depth)
            if event.tag not in _IMPLIED_TAGS:
                self.note(place, "a tag is not allowed; remove it, or quote it if it is text")
            is_map = isinstance(event, yaml.MappingStartEvent)
            node = self.mapping(place, depth) if is_map else self.sequence(place, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def alias(self, event: Any, place: Place, depth: int) -> Node:
        node = self.anchors.get(event.anchor)
        if node is None:
            self.note(place, "an alias that names no value completed above it; quote it if it is text")
            return Node(place, None)
        self.aliased += node.size
        if self.aliased > MAX_ALIASED:
            raise self.stop(place, f"aliases stand for more than {MAX_ALIASED} values; write fewer")
        if node.children:
            self.check_depth(place, depth + node.depth - 1)
        return node

    def sequence(self, place: Place, depth: int) -> Node:
        node = sequence(place)
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            self.path.append(len(node.children))
            append(node, self.node(event, depth + 1))
            self.path.pop()
        return node

    def mapping(self, place: Place, depth: int) -> Node:
        node, merged = mapping(place), []
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key, key_place = self.key(event, depth), _place(event)
            self.path.append(key if key is not None else "?")
            child = self.node(next(self.events), depth + 1)
            self.path.pop()
            if key == "<<" and not event.style:
                merged += self.merge_sources(child, key_place)
            elif key is not None and key in node.keys:
                self.duplicate(key_place, key, node.keys[key])
            elif key is not None:
                put(node, key, key_place, child)
        for other in merged:
            for name, child in other.children.items():
                if isinstance(name, str) and name not in node.keys:
                    put(node, name, other.keys[name], child)
        return node

    def merge_sources(self, node: Node, place: Place) -> list[Node]:
        sources = list(node.children.values()) if isinstance(node.data, list) else [node]
        if all(isinstance(source.data, dict) for source in sources):
            return sources
        self.note(place, "'<<' merges a mapping or a list of mappings, such as '<<: *defaults'")
        return []

    def key(self, event: Any, depth: int) -> str | None:
        """The key's text; None, with the problem noted, if it is not text."""
        place = _place(event)
        if not isinstance(event, yaml.ScalarEvent):
            self.node(event, depth + 1)
            self.note(place, "a key is text, not a list, mapping or alias")
            return None
        value = self.scalar(event, place)
        if not isinstance(value, str):
            self.note(place, f'a key is text; write it in quotes: "{event.value[:40]}"')
            return None
        return value

    def scalar(self, event: Any, place: Place) -> object:
        text: str = event.value
        if event.tag in _TEXT_TAGS or (event.tag is None and event.style):
            return text
        if event.tag is not None:
            self.note(place, "a tag is not allowed; remove it, or quote it if it is text")
            return None
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if len(text) > MAX_DIGITS and _FLOAT.fullmatch(text):
            self.note(place, f"a number of more than {MAX_DIGITS} characters; quote it if it is text")
            return None
        if _INTEGER.fullmatch(text):
            return int(text)
        if _BASED.fullmatch(text):
            return int(text, 0)
        if _NOT_FINITE.fullmatch(text) or (_FLOAT.fullmatch(text) and not math.isfinite(float(text))):
            self.note(place, "not a finite number; quote it if it is text")
            return None
        return float(text) if _FLOAT.fullmatch(text) else text


def _place(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1
