"""Header blocks (RFC 7541): decoded with the table of `hpack`, remembered while it stands; encoded without one.

Clients and servers of gRPC send the same few blocks over and over, and a block means the same for as long as nothing
is added to the table that it may refer to. So decoded blocks are remembered by their bytes, and forgotten when a block
changes the table. Our own blocks refer to the static table only: they depend on no connection and may be kept, and the
peer need keep nothing for us.

The table and Huffman's code are the library's; its own walk over a block copies what is left of it for each field,
which a client could make take long.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from hpack import HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from serving.gateway.h2.frames import ConnectionBroken, ErrorCode

if TYPE_CHECKING:
    from serving.gateway.h2.stream import Fields

logging.getLogger("hpack").setLevel(logging.INFO)  # below that it writes every field, keys of clients among them

FORGET_TABLE = b"\x20"
"""In front of the first block of ours: the table is of size 0, whatever size the peer allows."""
_ENTRY = 32  # bytes that a field counts beyond its own (RFC 7541, 4.1)
_REMEMBERED = 32
_LONGEST_REMEMBERED = 1024
_MOST_ENCODED = 1024
_BOMB = 4  # a list so many times too large is not even decoded to its end
_MOST_TABLE: Final = HeaderTable.DEFAULT_SIZE
_MOST_SHIFT = 28  # bits: nothing in a block is that large
_WHOLE = {(name, value): index for index, (name, value) in reversed([*enumerate(HeaderTable.STATIC_TABLE, 1)]) if value}
_NAMES = {name: index for index, (name, _) in reversed([*enumerate(HeaderTable.STATIC_TABLE, 1)])}
_SECRET = frozenset((b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"))
_FOR_ONE_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_REQUEST = frozenset((b":method", b":scheme", b":path", b":authority"))
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_BAD_VALUE = re.compile(rb"[\0\r\n]").search
"""Spaces at the ends are malformed, too, but gRPC lets them pass: some of Triton's sentences end with one."""
_STATUS = re.compile(rb"[1-5][0-9][0-9]").fullmatch
_LENGTH = re.compile(rb"[0-9]{1,18}").fullmatch


class Kind(Enum):
    """What a list of fields may stand for."""

    REQUEST = "request"
    ANSWER = "answer"
    INTERIM = "interim answer"
    TRAILERS = "trailers"
    MALFORMED = "malformed"
    TOO_LARGE = "too large"


@dataclass(frozen=True, slots=True)
class Block:
    """A decoded block.

    Attributes:
        fields: in the peer's order.
        kind: what they may stand for.
        length: of the body in bytes, where they say so.
    """

    fields: Fields
    kind: Kind
    length: int | None = None


class BlockDecoder:
    """Of one connection, for a table belongs to one.

    Args:
        header_list: the largest list of fields in bytes, counted as RFC 9113 (6.5.2) does.

    Attributes:
        known: what blocks stand for that came before, as long as it is true.
    """

    __slots__ = ("_header_list", "_table", "known")

    def __init__(self, header_list: int) -> None:
        self._header_list = header_list
        self._table = _WatchedTable()
        self.known: dict[bytes, Block] = {}

    def decode(self, raw: bytes) -> Block:
        """What the peer says with this block.

        Raises:
            ConnectionBroken: where that cannot be known, and thus not of any later block either.
        """
        known = self.known.get(raw)
        if known is not None:
            return known
        changes = self._table.changes
        try:
            fields = self._fields(raw)
        except (HPACKError, IndexError) as error:
            raise ConnectionBroken(ErrorCode.COMPRESSION_ERROR, "a header block that cannot be decoded") from error
        block = understood(fields, self._header_list)
        if self._table.changes != changes:
            self.known.clear()
        elif len(raw) <= _LONGEST_REMEMBERED:
            if len(self.known) >= _REMEMBERED:
                self.known.clear()
            self.known[raw] = block
        return block

    def _fields(self, raw: bytes) -> Fields:
        fields: list[tuple[bytes, bytes]] = []
        table, at, left = self._table, 0, _BOMB * self._header_list
        while at < len(raw):
            first = raw[at]
            if first & 0x80:
                index, at = _integer(raw, at, 0x7F)
                field = table.get_by_index(index)
            elif first & 0xE0 == 0x20:  # noqa: PLR2004 (three bits that say: a size)
                at = self._resize(raw, at, first=not fields)
                continue
            else:
                field, at = self._literal(raw, at, first & 0x40)
            left -= len(field[0]) + len(field[1]) + _ENTRY
            if left < 0:
                raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "a head that is far too large")
            fields.append(field)
        return tuple(fields)

    def _literal(self, raw: bytes, at: int, kept: int) -> tuple[tuple[bytes, bytes], int]:
        index, at = _integer(raw, at, 0x3F if kept else 0x0F)
        if index:
            name = self._table.get_by_index(index)[0]
        else:
            name, at = _string(raw, at)
        value, at = _string(raw, at)
        if kept:
            self._table.add(name, value)
        return (name, value), at

    def _resize(self, raw: bytes, at: int, *, first: bool) -> int:
        size, at = _integer(raw, at, 0x1F)
        if size > _MOST_TABLE or not first:
            raise HPACKError("a size that is not allowed, or not here")
        self._table.maxsize = size
        return at


def _integer(raw: bytes, at: int, mask: int) -> tuple[int, int]:
    """An integer (RFC 7541, 5.1) that begins in the bits of the mask, and where it ends."""
    value = raw[at] & mask
    at += 1
    if value != mask:
        return value, at
    shift = 0
    while True:
        octet = raw[at]
        at += 1
        value += (octet & 127) << shift
        if octet < 128:  # noqa: PLR2004 (the bit that says: more)
            return value, at
        shift += 7
        if shift > _MOST_SHIFT:
            raise HPACKError("an integer that is too long")


def _string(raw: bytes, at: int) -> tuple[bytes, int]:
    """A string (RFC 7541, 5.2), and where it ends."""
    coded = raw[at] & 0x80
    length, at = _integer(raw, at, 0x7F)
    end = at + length
    if end > len(raw):
        raise HPACKError("a string that does not end")
    return (decode_huffman(raw[at:end]) if coded else raw[at:end]), end


class _WatchedTable(HeaderTable):
    """A table that counts its changes."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        """One more entry, which moves all others."""
        self.changes += 1
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        """In bytes, as RFC 7541 (4.1) counts them."""
        return self._maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self.changes += 1
        self._maxsize = newmax
        self._shrink()


def understood(fields: Fields, header_list: int) -> Block:
    """What these fields may stand for (RFC 9113, section 8)."""
    if sum([len(name) + len(value) + _ENTRY for name, value in fields]) > header_list:
        return Block(fields, Kind.TOO_LARGE)
    pseudo = dict(field for field in fields if field[0].startswith(b":"))
    regular = fields[len(pseudo) :]
    kind = _kind(pseudo)
    lengths = {value for name, value in regular if name == b"content-length"}
    if kind is Kind.MALFORMED or not all(_is_sound(*field) for field in regular) or len(lengths) > 1:
        return Block(fields, Kind.MALFORMED)
    if any(_BAD_VALUE(value) for value in pseudo.values()) or not all(map(_LENGTH, lengths)):
        return Block(fields, Kind.MALFORMED)
    return Block(fields, kind, int(lengths.pop()) if lengths else None)


def _kind(pseudo: dict[bytes, bytes]) -> Kind:
    if not pseudo:
        return Kind.TRAILERS
    status = pseudo.get(b":status")
    if status is not None:
        if len(pseudo) > 1 or not _STATUS(status):
            return Kind.MALFORMED
        return Kind.INTERIM if status.startswith(b"1") else Kind.ANSWER
    whole = pseudo.get(b":method") and pseudo.get(b":scheme") and pseudo.get(b":path")
    return Kind.REQUEST if whole and pseudo.keys() <= _REQUEST else Kind.MALFORMED


def _is_sound(name: bytes, value: bytes) -> bool:
    """Whether a field may be there after the pseudo-fields, of which a second one, or a late one, has no sound name."""
    if not _NAME(name) or _BAD_VALUE(value) or name in _FOR_ONE_HOP:
        return False
    return name != b"te" or value == b"trailers"


class _Remembered(dict[object, bytes]):
    """What was made of something before; bounded."""

    def put(self, key: object, made: bytes) -> bytes:
        if len(made) <= _LONGEST_REMEMBERED:
            if len(self) >= _MOST_ENCODED:
                self.clear()
            self[key] = made
        return made


_encoded = _Remembered()
_beginnings = _Remembered()


def encode(fields: Fields) -> bytes:
    """A block that means the same on every connection: blocks may be kept, shared and concatenated."""
    block = _encoded.get(fields)
    return block or _encoded.put(fields, b"".join([encode_field(name, value) for name, value in fields]))


def encode_field(name: bytes, value: bytes) -> bytes:
    """A block of one field: for what is new each time, and thus not worth being remembered."""
    index = _WHOLE.get((name, value))
    if index:
        return bytes((0x80 | index,))
    size = len(value)
    beginning = _beginnings.get(name) or _beginnings.put(name, _begin(name))
    return b"%b%c%b" % (beginning, size, value) if size < 127 else b"%b%b%b" % (beginning, _number(size, 7), value)  # noqa: PLR2004


def _begin(name: bytes) -> bytes:
    """The beginning of a field that nobody is to put into a table, a secret one not even further on."""
    first = 0x10 if name in _SECRET else 0
    index = _NAMES.get(name)
    return _number(index, 4, first) if index else b"%c%b%b" % (first, _number(len(name), 7), name)


def _number(value: int, bits: int, first: int = 0) -> bytes:
    """An integer (RFC 7541, 5.1) in the last bits of the first byte and in as many more as it takes."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    octets = [first | most]
    value -= most
    while value > 127:  # noqa: PLR2004 (what seven bits hold)
        octets.append(128 | value & 127)
        value >>= 7
    return bytes((*octets, value))
