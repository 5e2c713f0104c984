"""A rollout that is only asked about: the plan of the options or the file, and the traffic that it would see."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from serving.commands.common import client
from serving.commands.rollout_common import read
from serving.commands.rollout_files import checked, read_rollout
from serving.commands.rollout_starting import document_typed
from serving.errors import SluiceError

if TYPE_CHECKING:
    from router.plan import Plan
    from serving.control.rates_client import RatesAnswer
    from serving.rollout_typed import Typed
    from serving.traffic_typed import Known
    from serving.traffic_typed import Typed as Described


def plan_asked(
    typed: "Typed", file: Path | None, model: str | None, url: str | None, config: Path | None
) -> "tuple[str | None, Plan]":
    """The model, if one is named, and the plan that the options or the file ask for.

    Raises:
        BadParameter: the options cannot be read, or a file was named beside them.
        SluiceError: the file is no rollout; names every mistake.
    """
    if file is not None and not typed.empty:
        raise typer.BadParameter("with -f the file says how it is to go: leave the other options out, or the file")
    said = read_rollout(file) if file else document_typed(typed, model, url, config)
    document = checked(said, str(file) if file else "this")
    if model and document.model and model != document.model:
        raise typer.BadParameter(f"{file} is about the model {document.model}, and {model} was typed")
    return model or document.model or None, document.plan


def traffic_known(
    described: "Described", model: str | None, url: str | None, config: Path | None
) -> "tuple[Known, tuple[str, ...]]":
    """What was typed of the traffic, the rest as the control API has seen it lately; and what is to be said of that.

    Raises:
        BadParameter: nobody says how much traffic there is.
        SluiceError: the control API has seen none.
    """
    from serving.traffic_typed import SELDOM, known_from  # noqa: PLC0415 - brings numpy

    known, notes = (None, ()) if described.complete or not model else _seen(described, model, url, config)
    found = read("", "", lambda _: known_from(described, known))
    if found.errors:
        return found, notes
    note = f"no request failed lately: counted with {SELDOM * 100:g} % errors; name another rate with --errors"
    return found._replace(errors=SELDOM), (*notes, note)


def _seen(described: "Described", model: str, url: str | None, config: Path | None) -> "tuple[Known, tuple[str, ...]]":
    from serving.control.rates_client import rates_at  # noqa: PLC0415 - brings httpx

    with client(url, config) as control:
        answer = rates_at(control, model)
    rps = answer["requests_per_s"]
    if not rps or not answer["versions"]:
        raise SluiceError(
            f"nobody has asked {model} for anything within the last ten seconds",
            "say how much traffic it gets, with --rps and --errors",
        )
    lacks = "rate" if described.rps is None else "rate of errors"
    return _known(answer, rps), (f"the {lacks} is {model}'s within the last ten seconds",)


def _known(answer: "RatesAnswer", rps: float) -> "Known":
    from serving.traffic_typed import Known, known_of  # noqa: PLC0415 - as above

    versions = {
        name: Known(one["requests_per_s"], one["error_share"], one["p50_ms"], one["p99_ms"])
        for name, one in answer["versions"].items()
    }
    return known_of(versions, rps)
