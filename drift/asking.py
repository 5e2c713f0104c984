"""Encoders are asked here: rows go out in batches, embeddings come back, and blame for a refusal is laid.

An encoder that does not answer is `Unencoded`, and whoever asked decides when to ask again. One that fails on some rows
is asked about them by halves, until the row is found that it fails on. That row is to blame, and has no embedding, if
the encoder answers another one right then: one that it answered before, or zeros. Where it never answered any, and
refuses zeros too, nobody can tell: it does not answer, until the same row was refused so often that it is counted as
missing, for others wait behind it.

What an encoder is, which input and output it has and how wide that is, is found out here as well, from what its server
says of it. How it is asked is `drift.wire`'s to know.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from drift.encoding import MOST_AT_ONCE, Embedding, Encoder, check_output, sent, zeros
from drift.errors import Unencoded, Unfit
from drift.samples import tensor_of
from drift.wire import AT_ONCE, TIMEOUT_S, Refused, Server, Wire, reading, rows_at_once

_LOG: Final = logging.getLogger(__name__)

MOST_PASSES: Final = 10
"""In which a row may be refused while nothing tells whether it is to blame; some three minutes of `inbox.PAUSES_S`."""

_BINARY: Final = "binary_tensor_data"
_MOST_ENCODERS: Final = 256
_MOST_DOUBTED: Final = 1_024

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to have encoded, before the encoder has been asked what it is.

    Attributes:
        of: the input of the watched model.
        shape: of one row of it.
        model: that encodes.
        version: of it; None for the one that there is.
        server: where, as `Encoder.server`.
        takes: its input; None for the one that there is.
        gives: its output; likewise.
    """

    of: str
    shape: tuple[int, ...]
    model: str
    version: int | None = None
    server: str = ""
    takes: str | None = None
    gives: str | None = None

    def __str__(self) -> str:
        """'embedder at elsewhere'."""
        return f"{self.model}{f' at {self.server}' if self.server else ''}"


@dataclass(slots=True)
class _Pass:
    """One time that rows are encoded.

    Attributes:
        refused: rows that have no embedding though they were sent.
        said: why.
        out: the embeddings so far.
    """

    refused: int = 0
    said: str = ""
    out: Embedding = field(default_factory=lambda: np.empty((0, 0), np.float32))


class Encoders:
    """All that may be asked; an async context manager.

    Args:
        servers: by name; the installation's own gateway under the empty one.
        at_once: requests under way.
        timeout_s: how long one answer may take.
    """

    def __init__(
        self, servers: Mapping[str, Server], *, at_once: int = AT_ONCE, timeout_s: float = TIMEOUT_S
    ) -> None:  # fmt: skip
        self._wire = Wire(servers, at_once=at_once, timeout_s=timeout_s)
        self._answered: dict[Encoder, NDArray[Any]] = {}  # a row of each
        self._doubted: dict[tuple[Encoder, bytes], int] = {}  # passes that failed on a row

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._wire.close()

    async def rows(self, encoder: Encoder, values: NDArray[Any]) -> Embedding:
        """The embeddings of these rows; NaN for those that lack a value or that the encoder refuses.

        Args:
            encoder: that is asked.
            values: shape (rows, *encoder.shape).

        Raises:
            Unencoded: it does not answer, or not as declared. Some may have been encoded; all are asked again then.
        """
        rows, places = sent(encoder, values)
        found = _Pass(out=np.full((len(values), encoder.width), np.nan, np.float32))
        size = rows_at_once(encoder, rows)
        parts = iter([places[at : at + size] for at in range(0, len(places), size)])

        async def take() -> None:
            for at in parts:
                await self._part(encoder, rows, at, found)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(take())
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        if found.refused:
            _LOG.warning("%s refuses %d of %d rows: %s", encoder, found.refused, len(places), found.said)
        return found.out

    async def described(self, asked: Asked) -> Encoder:
        """What that encoder is, as its server describes it.

        Raises:
            Unencoded: there is no such encoder, or its server does not answer.
            Unfit: it is none for such rows, or there are several and none is named.
        """
        who, model = str(asked), f"/v2/models/{quote(asked.model, safe='')}"
        version = asked.version or _only_version(await self._wire.said(asked.server, model, who))
        at = f"{model}/versions/{version}"
        said = await self._wire.said(asked.server, at, who)
        with reading(who):
            extensions = (await self._wire.said(asked.server, "/v2", who)).get("extensions", [])
            takes, gives = _one(said["inputs"], asked.takes, "input"), _one(said["outputs"], asked.gives, "output")
            most = await self._most(asked, f"{at}/config")
            batched, shape = _row_of(takes, asked.shape, most)
            width = _width(gives, batched=batched)
        encoder = Encoder(
            asked.of, asked.shape, asked.model, version, asked.server, takes["name"], takes["datatype"], shape,
            gives["name"], width or 1, max(1, min(most or MOST_AT_ONCE, MOST_AT_ONCE)) if batched else 1, batched,
            _BINARY in extensions,
        )  # fmt: skip
        return encoder if width else await self._measured(encoder)

    async def _measured(self, encoder: Encoder) -> Encoder:
        """With the width that an answer has, where its description leaves that open."""
        try:
            datatype, shape, _ = await self._wire.answer(encoder, zeros(encoder))
        except Refused as error:
            raise Unencoded(f"{encoder} does not say how wide {encoder.gives} is, and refuses zeros: {error}") from None
        made = Encoder(**{**encoder.plain(), "width": math.prod(shape)})
        check_output(made, datatype, shape, 1)
        return made

    async def _most(self, asked: Asked, path: str) -> int | None:
        """Rows that one request may have: Triton's configuration says so, and other servers have none."""
        try:
            return int((await self._wire.said(asked.server, path, str(asked)))["max_batch_size"])
        except (Unencoded, KeyError, TypeError, ValueError):
            return None

    async def _part(self, encoder: Encoder, rows: NDArray[Any], at: NDArray[np.intp], found: _Pass) -> None:
        try:
            datatype, shape, values = await self._wire.answer(encoder, rows[at])
            check_output(encoder, datatype, shape, len(at))
        except Unfit as error:
            raise Unencoded(error.sentence) from error
        except Refused as error:
            if len(at) == 1:
                await self._blame(encoder, rows[at], error)
                found.refused, found.said = found.refused + 1, str(error)
                return
            half = len(at) // 2
            await self._part(encoder, rows, at[:half], found)
            await self._part(encoder, rows, at[half:], found)
            return
        self._know(encoder, rows[at[:1]])
        found.out[at] = values.reshape(len(at), encoder.width)

    async def _blame(self, encoder: Encoder, row: NDArray[Any], refusal: Refused) -> None:
        """Passes where it is the row: a crashed encoder refuses all of them, at any moment, and none is to blame."""
        known = self._answered.get(encoder)
        probe = zeros(encoder) if known is None else known
        try:
            await self._wire.answer(encoder, probe)
        except Refused:
            if known is None and encoder in self._answered:  # meanwhile, some other row
                await self._blame(encoder, row, refusal)
            elif known is not None or not self._is_given_up(encoder, row):
                raise Unencoded(f"{encoder} answers nothing: {refusal}") from None
        else:
            self._know(encoder, probe)

    def _is_given_up(self, encoder: Encoder, row: NDArray[Any]) -> bool:
        """Whether that row was refused often enough, this time counted."""
        doubted = encoder, hashlib.sha256(tensor_of(encoder.takes, encoder.datatype, row).data).digest()
        passes = self._doubted.pop(doubted, 0) + 1
        _put(self._doubted, doubted, passes, _MOST_DOUBTED)
        return passes >= MOST_PASSES

    def _know(self, encoder: Encoder, row: NDArray[Any]) -> None:
        """That it answers this row."""
        self._answered.pop(encoder, None)
        _put(self._answered, encoder, row, _MOST_ENCODERS)


def _put(kept: dict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    """As the newest of so many."""
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]


def _only_version(said: Mapping[str, Any]) -> int:
    found = [str(one) for one in said.get("versions", ())]
    if len(found) == 1 and found[0].isascii() and found[0].isdigit():
        return int(found[0])
    there = f"it has {', '.join(found[:20])}" if found else "it does not say which it has"
    raise Unfit("The encoder's version must be named, for embeddings of two are not alike.", f"Of versions {there}.")


def _one(said: Sequence[Mapping[str, Any]], name: str | None, what: str) -> Mapping[str, Any]:
    """The tensor of that name, or the only one."""
    names = [str(one["name"]) for one in said]
    if name is None and len(names) != 1:
        raise Unfit(f"The encoder has the {what}s {', '.join(names[:20])}.", f"Name one as --encoder-{what}.")
    if name is not None and name not in names:
        raise Unfit(f"The encoder has no {what} {name}.", f"It has {', '.join(names[:20])}.")
    return said[0 if name is None else names.index(name)]


def _row_of(tensor: Mapping[str, Any], shape: tuple[int, ...], most: int | None) -> tuple[bool, tuple[int, ...]]:
    """Whether its first axis is the row, and the shape of one row as it takes it."""
    dims = tuple(map(int, tensor["shape"]))
    batched = (most > 0) if most is not None else dims[:1] == (-1,)
    row = dims[1:] if batched else dims
    if len(row) == len(shape) and all(one in (-1, size) for one, size in zip(row, shape, strict=True)):
        return batched, shape
    if math.prod(row) == math.prod(shape) and min(row, default=1) > 0:
        return batched, row
    if not batched and dims[:1] == (-1,) and len(dims) == len(shape) + 1:  # a model that knows no batches, of rows
        return True, shape
    raise Unfit(f"The encoder takes {tensor['name']} in the shape {list(dims)}, and rows have {list(shape)}.")


def _width(tensor: Mapping[str, Any], *, batched: bool) -> int | None:
    """Numbers of one row of an output; None where its description leaves that open."""
    dims = tuple(map(int, tensor["shape"]))
    row = dims[1:] if batched else dims
    return math.prod(row) if min(row, default=1) > 0 else None
