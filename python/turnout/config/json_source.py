"""JSON text -> :class:`~.source.Node` tree, with a line and column for every key and value.

Strict RFC 8259, from the standard library's scalar scanner; containers are walked here, because the standard
decoder keeps neither positions nor duplicate keys. YAML's reader cannot stand in: JSON allows tabs as space.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right

from .source import MAX_DIGITS, Node, Place, Reading, Source, append, has_surrogate, mapping, put, sequence

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_LITERALS: dict[str, object] = {"true": True, "false": False, "null": None}
_LITERAL = re.compile("|".join(_LITERALS))
_DECODER = json.JSONDecoder()


def read_json(text: str, file: str) -> Source:
    """Reads one JSON text; ``text`` is within :data:`~.source.MAX_BYTES`.

    Raises:
        ConfigError: not JSON, or nested too deep.
    """
    return _Reader(text, file).read()


class _Reader(Reading):
    def __init__(self, text: str, file: str) -> None:
        super().__init__(file)
        self.text = text
        self.at = 0
        self.lines = [0, *(match.end() for match in re.finditer("\n", text))]

    def read(self) -> Source:
        self.skip()
        if self.at == len(self.text):
            raise self.stop((1, 1), "empty; `turnout init` writes a file to start from")
        root = self.node(1)
        self.skip()
        if self.at < len(self.text):
            raise self.fail("something follows the end of the value")
        return Source(self.file, root, self.problems, self.sound)

    def place(self) -> Place:
        line = bisect_right(self.lines, self.at)
        return line, self.at - self.lines[line - 1] + 1

    def fail(self, message: str) -> Exception:
        return self.stop(self.place(), f"not JSON: {message}")

    def skip(self) -> None:
        space = _SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at

    def take(self, character: str) -> bool:
        """Whether ``character`` comes next, after space; if so, it is passed."""
        self.skip()
        if not self.text.startswith(character, self.at):
            return False
        self.at += 1
        self.skip()
        return True

    def node(self, depth: int) -> Node:
        place = self.place()
        start = self.text[self.at : self.at + 1]
        if start in ("{", "["):
            self.check_depth(place, depth)
            return self.mapping(place, depth) if start == "{" else self.sequence(place, depth)
        if start == '"':
            return Node(place, self.string())
        if literal := _LITERAL.match(self.text, self.at):
            self.at = literal.end()
            return Node(place, _LITERALS[literal.group()])
        if number := _NUMBER.match(self.text, self.at):
            self.at = number.end()
            return Node(place, self.number(number.group(), place))
        raise self.fail("expected a value" if start else "it ends too early")

    def mapping(self, place: Place, depth: int) -> Node:
        node = mapping(place)
        self.take("{")
        if self.take("}"):
            return node
        while True:
            key_place = self.place()
            if not self.text.startswith('"', self.at):
                raise self.fail("expected a key in double quotes")
            key = self.string()
            if not self.take(":"):
                raise self.fail("expected ':' after the key")
            self.path.append(key)
            child = self.node(depth + 1)
            self.path.pop()
            if key in node.keys:
                self.duplicate(key_place, key, node.keys[key])
            else:
                put(node, key, key_place, child)
            if self.take("}"):
                return node
            if not self.take(","):
                raise self.fail("expected ',' or '}'")

    def sequence(self, place: Place, depth: int) -> Node:
        node = sequence(place)
        self.take("[")
        if self.take("]"):
            return node
        while True:
            self.path.append(len(node.children))
            append(node, self.node(depth + 1))
            self.path.pop()
            if self.take("]"):
                return node
            if not self.take(","):
                raise self.fail("expected ',' or ']'")

    def string(self) -> str:
        place = self.place()
        try:
            text, end = _DECODER.raw_decode(self.text, self.at)
        except json.JSONDecodeError as error:
            self.at = error.pos
            failure = self.fail(f"a string with {error.msg[0].lower()}{error.msg[1:]}")
        else:
            self.at = end
            if has_surrogate(text):
                self.note(place, "half of a surrogate pair; text is Unicode")
                return ""
            return str(text)
        raise failure  # outside of the handler: the decoder's error would quote the whole text

    def number(self, text: str, place: Place) -> object:
        if len(text) > MAX_DIGITS or not math.isfinite(float(text)):
            self.note(place, "not a finite number; quote it if it is text")
            return None
        return float(text) if set(text) & set(".eE") else int(text)
