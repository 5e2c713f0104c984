r"""Regular expressions that cannot be slow: a small language, compiled to a table that reads each byte once.

A rule's pattern runs on every request, on bytes that a stranger sends. A backtracking matcher can be made to take
exponential time by a pattern that looks innocent, and telling such patterns from the others is guesswork. So nothing
here backtracks: a pattern becomes a deterministic automaton (Thompson 1968; subset construction, Rabin and Scott
1959) when the policy is built, and matching is one table look-up per byte. The price is paid once and has a limit: a
pattern whose automaton would need more than `MOST_STATES` states is refused, and so is a pattern longer than
`LONGEST_PATTERN`. A value longer than `LONGEST_VALUE` bytes never matches.

The language, with the meaning it has for bytes in `re.fullmatch`: literals, `.`, `[a-z]`, `[^a-z]`, `\d \w \s` and
their opposites, `\` before a sign, `(…)`, `(?:…)`, `|`, and `* + ? {2} {2,} {2,5}`. A pattern must match the whole
value, so there are no anchors: write `.*` where anything may stand. There is nothing that needs memory or looking
around: no back-references, no `(?=…)`, no `\b`, no lazy or possessive repeats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from router.errors import PolicyError

LONGEST_PATTERN = 256
LONGEST_VALUE = 1_024
MOST_STATES = 256
_MOST_NODES = 1_024
_MOST_REPEATS = 100
_DEEPEST = 16
_DEAD, _START = 0, 1

_Mask = int
"""A set of bytes: bit n stands for byte n."""

_EVERY: Final[_Mask] = (1 << 256) - 1


def _mask(letters: str) -> _Mask:
    return sum(1 << ord(letter) for letter in set(letters))


_DIGITS = _mask("0123456789")
_LETTERS = _mask("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_NAMED: Final = {
    "d": _DIGITS,
    "D": _EVERY & ~_DIGITS,
    "w": _LETTERS | _DIGITS | _mask("_"),
    "W": _EVERY & ~(_LETTERS | _DIGITS | _mask("_")),
    "s": _mask(" \t\n\r\f\v"),
    "S": _EVERY & ~_mask(" \t\n\r\f\v"),
}
_SPECIAL = frozenset("\\.[](){}*+?|^$")


@dataclass(frozen=True, slots=True)
class _Letter:
    mask: _Mask


@dataclass(frozen=True, slots=True)
class _Row:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Either:
    options: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    part: _Node
    least: int
    most: int | None


_Node = _Letter | _Row | _Either | _Repeat


class Pattern:
    """A compiled pattern.

    Args:
        text: the pattern, printable ASCII.

    Raises:
        PolicyError: not in the language above, too long, or too large once compiled.
    """

    __slots__ = ("_accepts", "_kinds", "_rows", "text")

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or len(text) > LONGEST_PATTERN or not (text.isascii() and text.isprintable()):
            raise PolicyError(
                f"{text!r:.80} is no pattern: it is printable ASCII of at most {LONGEST_PATTERN} characters"
            )
        self.text = text
        self._kinds, self._rows, self._accepts = _table(_Graph(_Parser(text).parsed()), text)

    def matches(self, value: bytes) -> bool:
        """Whether the whole value is in the pattern's language; time is linear in its length, always."""
        if len(value) > LONGEST_VALUE:
            return False
        state, rows = _START, self._rows
        for kind in value.translate(self._kinds):
            state = rows[state][kind]
            if state == _DEAD:
                return False
        return state in self._accepts


class _Parser:
    """Reads a pattern by recursive descent: alternatives, rows, repeats, atoms."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def parsed(self) -> _Node:
        node = self._alternatives()
        if self._at < len(self._text):
            raise self._wrong("a closing bracket that opens nowhere")
        return node

    def _alternatives(self) -> _Node:
        options = [self._row()]
        while self._take("|"):
            options.append(self._row())
        return _Either(tuple(options)) if len(options) > 1 else options[0]

    def _row(self) -> _Node:
        parts: list[_Node] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._repeated(self._atom()))
        return _Row(tuple(parts))

    def _repeated(self, part: _Node) -> _Node:
        for sign, least, most in (("*", 0, None), ("+", 1, None), ("?", 0, 1)):
            if self._take(sign):
                return self._once(_Repeat(part, least, most))
        if self._take("{"):
            return self._once(self._counted(part))
        return part

    def _once(self, node: _Node) -> _Node:
        if self._at < len(self._text) and self._text[self._at] in "*+?{":
            raise self._wrong("a repeat of a repeat (lazy and possessive ones included)")
        return node

    def _counted(self, part: _Node) -> _Node:
        inside, closed, _ = self._text[self._at :].partition("}")
        least, comma, most = inside.partition(",")
        if not closed or not _is_count(least) or (most and not _is_count(most)):
            raise self._wrong("a count that is not {2}, {2,} or {2,5}")
        self._at += len(inside) + 1
        upper = int(most) if most else None if comma else int(least)
        if int(least) > _MOST_REPEATS or (upper is not None and not int(least) <= upper <= _MOST_REPEATS):
            raise self._wrong(f"a count over {_MOST_REPEATS}, or one that falls")
        return _Repeat(part, int(least), upper)

    def _atom(self) -> _Node:
        sign = self._text[self._at]
        self._at += 1
        if sign == "(":
            return self._group()
        if sign == "[":
            return _Letter(self._class())
        if sign == ".":
            return _Letter(_EVERY & ~_mask("\n"))
        if sign == "\\":
            return _Letter(self._escaped())
        if sign in _SPECIAL:
            raise self._wrong(f"{sign!r} where a letter should stand (a pattern always matches the whole value)")
        return _Letter(1 << ord(sign))

    def _group(self) -> _Node:
        if self._take("?") and not self._take(":"):
            raise self._wrong("a group of a kind that is not offered: only (…) and (?:…) are")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong(f"groups nested deeper than {_DEEPEST}")
        node = self._alternatives()
        self._depth -= 1
        if not self._take(")"):
            raise self._wrong("a group that is not closed")
        return node

    def _escaped(self) -> _Mask:
        sign = self._next()
        if sign in _NAMED:
            return _NAMED[sign]
        if sign.isalnum():
            raise self._wrong(f"'\\{sign}', which is not offered")
        return 1 << ord(sign)

    def _class(self) -> _Mask:
        opposite = self._take("^")
        found, first = 0, True
        while first or not self._take("]"):
            first = False
            low = self._member()
            if self._text[self._at : self._at + 1] == "-" and self._text[self._at + 1 : self._at + 2] not in {"]", ""}:
                self._at += 1
                low = self._range(low, self._member())
            found |= low
        return _EVERY & ~found if opposite else found

    def _member(self) -> _Mask:
        sign = self._next()
        if sign == "\\":
            return self._escaped()
        if sign == "[":
            raise self._wrong("'[' inside a class: write it as '\\['")
        return 1 << ord(sign)

    def _range(self, low: _Mask, high: _Mask) -> _Mask:
        if low.bit_count() != 1 or high.bit_count() != 1 or low > high:
            raise self._wrong("a range that does not go from one letter up to another")
        return (high << 1) - low

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise self._wrong("an end where something should follow")
        self._at += 1
        return self._text[self._at - 1]

    def _take(self, sign: str) -> bool:
        if self._text[self._at : self._at + 1] != sign:
            return False
        self._at += 1
        return True

    def _wrong(self, what: str) -> PolicyError:
        return PolicyError(f"the pattern {self._text!r} has, up to character {self._at}, {what}")


def _is_count(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= len(str(_MOST_REPEATS))


class _Graph:
    """The pattern as a graph of nodes: some moves read a byte, some are free. It begins at node 0."""

    def __init__(self, node: _Node) -> None:
        self.moves: list[list[tuple[_Mask, int]]] = [[]]
        self.free: list[list[int]] = [[]]
        self.end = self._lay(node, 0)

    def closed(self, nodes: Iterator[int]) -> frozenset[int]:
        """These nodes and all that are reached from them for free."""
        found = set(nodes)
        todo = list(found)
        while todo:
            fresh = [node for node in self.free[todo.pop()] if node not in found]
            found.update(fresh)
            todo.extend(fresh)
        return frozenset(found)

    def _node(self) -> int:
        if len(self.free) >= _MOST_NODES:
            raise PolicyError(f"the pattern unfolds to more than {_MOST_NODES:,} nodes: make its counts smaller")
        self.moves.append([])
        self.free.append([])
        return len(self.free) - 1

    def _lay(self, node: _Node, start: int) -> int:
        """Adds the node from `start` on, and says where it ends. A loop gets a node of its own to return to."""
        if isinstance(node, _Letter):
            end = self._node()
            self.moves[start].append((node.mask, end))
            return end
        if isinstance(node, _Row):
            for part in node.parts:
                start = self._lay(part, start)
            return start
        if isinstance(node, _Either):
            end = self._node()
            for option in node.options:
                self.free[self._lay(option, start)].append(end)
            return end
        return self._lay_repeat(node, start)

    def _lay_repeat(self, node: _Repeat, start: int) -> int:
        for _ in range(node.least):
            start = self._lay(node.part, start)
        end = self._node()
        if node.most is None:
            self.free[start].append(end)
            self.free[self._lay(node.part, end)].append(end)
            return end
        for _ in range(node.most - node.least):
            self.free[start].append(end)
            start = self._lay(node.part, start)
        self.free[start].append(end)
        return end


def _table(graph: _Graph, text: str) -> tuple[bytes, tuple[tuple[int, ...], ...], frozenset[int]]:
    """(kind of each byte, next state by state and kind, states that accept): the automaton of the graph."""
    kinds, samples = _kinds_of(graph)
    begin = graph.closed(iter((0,)))
    numbers: dict[frozenset[int], int] = {frozenset(): _DEAD, begin: _START}
    order = [frozenset[int](), begin]
    rows: list[tuple[int, ...]] = []
    while len(rows) < len(order):
        moves = [move for node in order[len(rows)] for move in graph.moves[node]]
        row: list[int] = []
        for sample in samples:
            reached = graph.closed(target for mask, target in moves if mask >> sample & 1)
            if reached not in numbers:
                if len(numbers) > MOST_STATES:
                    raise PolicyError(
                        f"the pattern {text!r} would need more than {MOST_STATES} states: make its counts smaller, or "
                        "leave out '.*' before them"
                    )
                numbers[reached] = len(order)
                order.append(reached)
            row.append(numbers[reached])
        rows.append(tuple(row))
    return kinds, tuple(rows), frozenset(number for nodes, number in numbers.items() if graph.end in nodes)


def _kinds_of(graph: _Graph) -> tuple[bytes, list[int]]:
    """Bytes that no move tells apart are of one kind: the kind of every byte, and one byte of each kind."""
    masks = {mask for mask, _ in chain.from_iterable(graph.moves)}
    seen: dict[tuple[int, ...], int] = {}
    samples: list[int] = []
    kinds = bytearray()
    for byte in range(256):
        told = tuple(mask >> byte & 1 for mask in masks)
        if told not in seen:
            seen[told] = len(samples)
            samples.append(byte)
        kinds.append(seen[told])
    return bytes(kinds), samples
