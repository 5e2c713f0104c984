"""What `sluice drift baseline --encoder` does: asks the encoder what it is, and what it makes of the training rows."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from serving.errors import SluiceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from drift.asking import Asked, Encoders
    from drift.encoding import Embedding, Encoder
    from drift.schema import Declared
    from drift.tables import Table
    from drift.wire import Server
    from serving.settings import Settings

_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Before rows are sent again to an encoder that did not answer."""
_AT_ONCE = 1_024
"""Rows between two looks at how far it is."""


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed of an encoder.

    Attributes:
        encoder: its name, with its version behind a colon where one was given.
        of: the input that it is to encode; None for the only one that there is.
        takes: its input; None for its only one.
        gives: its output; likewise.
        server: a name among `drift.encoders`; empty for the gateway.
        gateway: the gateway's address; None for the one that runs here.
    """

    encoder: str
    of: str | None = None
    takes: str | None = None
    gives: str | None = None
    server: str = ""
    gateway: str | None = None


def encoded(
    typed: Typed, inputs: "Table", declared: "Declared", settings: "Settings"
) -> "tuple[Encoder, Mapping[str, Embedding]]":
    """The encoder as it is, and what it makes of these rows, by the embedding's column.

    Raises:
        DriftError: it does not answer, though it was asked several times; or it is none for such rows.
        SluiceError: nobody knows where it is, or which input is meant.
    """
    asked = _asked(typed, inputs, declared)
    servers = {typed.server: _server(typed, settings)}
    return asyncio.run(_encoded(asked, inputs, servers, settings.drift.sidecar.encoder_timeout_s))


async def _encoded(
    asked: "Asked", inputs: "Table", servers: "Mapping[str, Server]", timeout_s: float
) -> "tuple[Encoder, Mapping[str, Embedding]]":
    import numpy as np  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415 - slow to import

    from drift.asking import Encoders  # noqa: PLC0415 - brings httpx
    from drift.encoding import broken  # noqa: PLC0415
    from drift.errors import Unfit  # noqa: PLC0415

    console = Console(stderr=True, highlight=False, emoji=False, markup=False)
    async with Encoders(servers, timeout_s=timeout_s) as encoders:
        encoder = await encoders.described(asked)
        if (said := broken(encoder, inputs)) is not None:
            raise Unfit(f"{encoder} takes {encoder.datatype}: {said.sentence}")
        values, made = inputs.columns[asked.of], []
        with console.status("encoding …") as status:
            for at in range(0, inputs.rows, _AT_ONCE):
                status.update(f"encoding: {at:,} of {inputs.rows:,} rows …")
                made.append(await _patiently(encoders, encoder, values[at : at + _AT_ONCE]))
    return encoder, {encoder.column: np.concatenate(made)}


async def _patiently(encoders: "Encoders", encoder: "Encoder", rows: "NDArray[Any]") -> "Embedding":
    """What it makes of these rows, asked again where it does not answer."""
    from drift.errors import Unencoded  # noqa: PLC0415

    for pause_s in _PAUSES_S:
        try:
            return await encoders.rows(encoder, rows)
        except Unencoded as error:
            typer.echo(f"warning: {error}", err=True)
            await asyncio.sleep(pause_s)
    return await encoders.rows(encoder, rows)


def _asked(typed: Typed, inputs: "Table", declared: "Declared") -> "Asked":
    from drift.asking import Asked  # noqa: PLC0415

    name, _, number = typed.encoder.partition(":")
    if not name or (number and not (number.isascii() and number.isdigit() and int(number[:10]) > 0)):
        raise typer.BadParameter(f"--encoder {typed.encoder!r}: it is NAME or NAME:VERSION")
    of = typed.of or _only(inputs, declared)
    if of not in inputs.columns:
        raise SluiceError(f"There is no column {of} to encode.", f"There are {', '.join(list(inputs.columns)[:20])}.")
    shape = tuple(int(size) for size in inputs.columns[of].shape[1:])
    return Asked(of, shape, name, int(number) if number else None, typed.server, typed.takes, typed.gives)


def _only(inputs: "Table", declared: "Declared") -> str:
    named = [name for name in inputs.columns if name not in declared.ignored and name not in declared.elements]
    if len(named) != 1:
        raise SluiceError(f"There are the columns {', '.join(named[:20])}.", "Name the one to encode, as --encode.")
    return named[0]


def _server(typed: Typed, settings: "Settings") -> "Server":
    """Where it is, and what is shown there."""
    from drift.wire import Server  # noqa: PLC0415 - brings httpx

    if typed.server:
        found = next((one for one in settings.drift.encoders if one.name == typed.server), None)
        if found is None:
            raise SluiceError(
                f"drift.encoders names no server {typed.server}.", "Name it in the settings, with its url."
            )
        return Server(found.url, _key_in(found.key_file), ca_file=found.ca_file or "")
    from serving.commands.replaying import predictions_here  # noqa: PLC0415
    from serving.control.credentials import from_environment  # noqa: PLC0415 - brings ssl

    shown = from_environment(os.environ, lambda words: typer.echo(f"warning: {words}", err=True))
    url = typed.gateway
    if url is None:
        url, shown = predictions_here(settings), shown.trusting(settings.tls.certificate)
    shown.headers_for(url)  # refuses to send a key in the clear to another machine
    return Server(url, shown.key, _text(shown.certificate), _text(shown.ca_file), is_ours=True)


def _key_in(file: str | None) -> str:
    if file is None:
        return ""
    try:
        return Path(file).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise SluiceError(f"{file} holds no key that can be read: {error}.") from error


def _text(file: Path | None) -> str:
    return "" if file is None else str(file)
