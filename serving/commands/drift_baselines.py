"""`sluice drift baseline` and `forget`: computed here, from files that only whoever types this can read, and sent."""

import time as clock
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.commands.common import AsJson, Config, Model, Url, Why, client, print_json, settings_from
from serving.commands.drift_encoders import Typed
from serving.errors import ControlError, SluiceError

if TYPE_CHECKING:
    from drift.baseline import Baseline, Order
    from drift.encoding import Embedding
    from drift.schema import Declared
    from drift.tables import Table
    from registry.signature import Signature
    from serving.control.client import ControlClient
    from serving.control.drift_client import BaselineAnswer

Number = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="Its number.")]
Names = list[str] | None

_NOT_FOUND = 404
_UNCHECKED = (
    "It is declared in the settings and not registered, so nobody looked whether these are its tensors: a column that "
    "requests do not have is a broken schema."
)


def add_to(app: typer.Typer) -> None:
    """Adds these commands to `sluice drift`."""
    app.command()(baseline)
    app.command()(forget)


def baseline(
    model: Model,
    version: Number,
    *,
    data: Annotated[
        Path, typer.Option("--data", help="The rows that it was trained on: .parquet, .arrow, .feather, .csv or .npz.")
    ],
    predictions: Annotated[
        Path | None, typer.Option(help="Its answers to rows that it was NOT trained on, in such a file.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="When each row was: calm windows are cut from neighbours.")
    ] = None,
    strata: Annotated[
        bool | None,
        typer.Option(
            "--strata/--no-strata",
            help="Compare windows with the same hours of other days; by default where they differ.",
        ),
    ] = None,
    time_zone: Annotated[str, typer.Option(metavar="ZONE", help="Whose clock says which hours are the same.")] = "UTC",
    wide: Annotated[Names, typer.Option(metavar="NAME", help="A tensor to be taken as a whole (an embedding).")] = None,
    level: Annotated[Names, typer.Option(metavar="NAME", help="Numbers that are names of things (codes).")] = None,
    ignore: Annotated[Names, typer.Option(metavar="NAME", help="A column that says nothing (a row number).")] = None,
    elements: Annotated[
        Names, typer.Option(metavar="TENSOR=NAME,NAME…", help="Columns that are the elements of one tensor.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME[:VERSION]", help="A model that makes an embedding of an input.")
    ] = None,
    encode: Annotated[str | None, typer.Option(metavar="TENSOR", help="That input. (default: the only one)")] = None,
    encoder_input: Annotated[
        str | None, typer.Option(metavar="TENSOR", help="What the encoder takes it as. (default: its only input)")
    ] = None,
    encoder_output: Annotated[
        str | None, typer.Option(metavar="TENSOR", help="The embedding. (default: its only output)")
    ] = None,
    encoder_server: Annotated[
        str, typer.Option(metavar="NAME", help="Where it is, of drift.encoders. (default: the gateway)")
    ] = "",
    gateway: Annotated[str | None, typer.Option(help="A prediction port. (default: the one started here)")] = None,
    window_rows: Annotated[int, typer.Option(min=2, max=1_000_000, help="Rows of a window.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep a copy of its bytes here.")] = None,
    why: Why = "",
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Compute what live data of a version is to be compared with, and bring it to the registry.

    The training rows are read here and do not leave this machine, but for a bounded sample of them.
    """
    from drift.baseline import Order  # noqa: PLC0415 - brings numpy
    from registry.models import ModelName, VersionNumber  # noqa: PLC0415
    from serving.control.drift_client import DriftClient  # noqa: PLC0415 - brings httpx

    declared = _declared(wide, level, ignore, elements)
    typed = _typed(encoder, encode, encoder_input, encoder_output, encoder_server, gateway)
    with client(url, config) as control:
        signature = _signature_of(control, model, version)
        with _refused_in_a_sentence():
            order = Order(
                ModelName(model), VersionNumber(version), signature, declared, window_rows=window_rows, seed=seed,
                strata=strata, zone=time_zone,
            )  # fmt: skip
            made = _made(order, _Files(data, predictions, time), typed, config)
        if out is not None:
            _write(out, made.blob)
        kept = DriftClient(control).keep(model, version, made.blob, why)
    _show(kept, made.notes if signature else (*made.notes, _UNCHECKED), as_json=as_json)


def forget(model: Model, version: Number, *, why: Why = "", url: Url = None, config: Config = None) -> None:
    """Forget what a version is held against, so that it is no longer watched."""
    from serving.control.drift_client import DriftClient  # noqa: PLC0415

    with client(url, config) as control:
        DriftClient(control).drop(model, version, why)
    typer.echo(f"{model} version {version} has no baseline any more")


def _declared(wide: Names, level: Names, ignore: Names, elements: Names) -> "Declared":
    from drift.schema import Declared  # noqa: PLC0415
    from serving.commands.given import pairs  # noqa: PLC0415

    named = pairs("--elements", elements or (), lambda said: tuple(said.split(",")))
    return Declared(frozenset(wide or ()), frozenset(level or ()), frozenset(ignore or ()), named)


def _typed(  # noqa: PLR0917 - as they are typed
    encoder: str | None, of: str | None, takes: str | None, gives: str | None, server: str, gateway: str | None
) -> Typed | None:
    """What was typed of an encoder; None where nothing was."""
    if encoder is not None:
        return Typed(encoder, of, takes, gives, server, gateway)
    if of or takes or gives or server:
        raise typer.BadParameter("an input is encoded by a model: name it as --encoder")
    return None


@contextmanager
def _refused_in_a_sentence() -> Iterator[None]:
    """What drift and the registry refuse is refused as by any command."""
    from drift.errors import DriftError  # noqa: PLC0415
    from registry.errors import RegistryError  # noqa: PLC0415

    try:
        yield
    except (DriftError, RegistryError) as error:
        raise SluiceError(error.sentence, error.hint) from error


@dataclass(frozen=True, slots=True)
class _Files:
    """Where the rows are.

    Attributes:
        data: that it was trained on.
        predictions: its answers to others; None for none.
        time: the column that says when each was; None for none.
    """

    data: Path
    predictions: Path | None
    time: str | None


def _made(order: "Order", files: _Files, typed: Typed | None, config: Path | None) -> "Baseline":
    """The baseline of these rows, which fits into the registry."""
    from drift.baseline import made  # noqa: PLC0415
    from registry.baselines import check_size  # noqa: PLC0415

    inputs, outputs = _read(files)
    embedded: Mapping[str, Embedding] = {}
    if typed is not None:
        from serving.commands.drift_encoders import encoded  # noqa: PLC0415

        encoder, embedded = encoded(typed, inputs, order.declared, settings_from(config, None))
        order = replace(order, encoders=(encoder,))
    found = made(order, inputs, outputs, clock.time(), embedded=embedded)
    check_size(len(found.blob))
    return found


def _read(files: _Files) -> "tuple[Table, Table | None]":
    """Inputs and outputs."""
    from drift import tables  # noqa: PLC0415

    inputs = tables.read(files.data, files.time)
    if files.predictions is None:
        return inputs, None
    outputs = tables.read(files.predictions)
    if files.time is not None and files.time in outputs.columns:
        outputs = outputs.by_time(files.time)
    return inputs, outputs


def _signature_of(control: "ControlClient", model: str, version: int) -> "Signature | None":
    """What the version takes and gives; None of one that is not registered, but declared in the settings."""
    from registry.codec import signature_from_dict  # noqa: PLC0415
    from serving.control.models_client import ModelsClient  # noqa: PLC0415

    try:
        said = ModelsClient(control).version(model, str(version))["signature"]
    except ControlError as error:
        if error.status != _NOT_FOUND:
            raise
        return None
    return signature_from_dict(said)


def _write(file: Path, blob: bytes) -> None:
    try:
        file.write_bytes(blob)
    except OSError as error:
        raise ControlError(f"{file} cannot be written: {error.strerror}", "name another file") from error


def _show(kept: "BaselineAnswer", notes: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print_json({**kept, "notes": list(notes)})
        return
    from serving.drift_tables import show_baseline  # noqa: PLC0415 - slow to import

    show_baseline(kept)
    for note in notes:
        typer.echo(f"note: {note}")
