"""What the commands on rollouts share: how one is named, how its answer is read, and waiting for an outcome."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from serving.commands.common import client, print_json
from serving.errors import ControlError

if TYPE_CHECKING:
    from serving.control.rollouts_client import RolloutAnswer, RolloutChangeAnswer, RolloutsClient
    from serving.rollout_standing import Outcome, Standing

TIMED_OUT = 3
"""The exit code of waiting in vain."""

_LOOK_S = 1.0
_SILENT = frozenset({None, 503})

Rollout = Annotated[
    str, typer.Argument(metavar="MODEL", help="The model, for its newest rollout; or the id of any rollout (ro_…).")
]
Timeout = Annotated[str | None, typer.Option(help="How long to wait at most, such as 30m. (default: for ever)")]

_Value = TypeVar("_Value")


@contextmanager
def rollouts_at(url: str | None, config: Path | None) -> "Iterator[RolloutsClient]":
    """The rollouts of that control API, or of the one that runs here."""
    from serving.control.rollouts_client import RolloutsClient  # noqa: PLC0415 - brings httpx

    with client(url, config) as control:
        yield RolloutsClient(control)


def read(option: str, text: str, how: Callable[[str], _Value]) -> _Value:
    """What it reads.

    Raises:
        BadParameter: it is none; names the option.
    """
    try:
        return how(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}" if option else str(error)) from error


def seconds(option: str, text: str | None) -> int | None:
    """A time that was typed, None where none was."""
    from serving.amounts import seconds_of  # noqa: PLC0415 - brings the router

    return None if text is None else read(option, text, seconds_of)


def standing_in(answer: Mapping[str, Any]) -> "Standing":
    """Where a rollout stands.

    Raises:
        ControlError: the API says it in a way that this release cannot read.
    """
    from serving.rollout_standing import standing_from  # noqa: PLC0415 - as above

    try:
        return standing_from(answer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ControlError(
            "the control API speaks of rollouts in a way that this command cannot read",
            "use the command of the release that runs there, or --json",
        ) from error


def show_change(answer: "RolloutChangeAnswer", *, as_json: bool) -> None:
    """What a change made of a rollout."""
    if as_json:
        print_json({**answer})
        return
    from serving.rollout_tables import show_rollout_change  # noqa: PLC0415 - slow to import

    show_rollout_change(answer, standing_in(answer["rollout"]))


def ended(
    rollouts: "RolloutsClient", rollout_id: str, outcome: "Outcome", within_s: float | None, *, as_json: bool
) -> int:
    """The exit code of waiting: 0 there, 1 ended otherwise, 3 not within the time. Says where it stands.

    A control room that is away for a while is waited for as well.

    Args:
        rollouts: the API.
        rollout_id: which.
        outcome: what for.
        within_s: how long at most, seconds; None for ever.
        as_json: whether to print the rollout and nothing else.
    """
    from serving.rollout_standing import reached  # noqa: PLC0415

    until_s = None if within_s is None else time.monotonic() + within_s
    last: RolloutAnswer | None = None
    silence = ""
    try:
        while True:
            now, silence = _looked_at(rollouts, rollout_id, silence)
            last = now or last
            found = reached(standing_in(last), outcome) if last else None
            late = until_s is not None and time.monotonic() >= until_s
            if found is not None or late:
                _tell(last, outcome, found, as_json=as_json)
                return TIMED_OUT if found is None else int(not found)
            time.sleep(_LOOK_S if until_s is None else max(0.0, min(_LOOK_S, until_s - time.monotonic())))
    except KeyboardInterrupt:
        hint = f"look at it with `sluice rollout status {rollout_id}`"
        raise ControlError("nobody waits any more, and the rollout goes on", hint) from None


def _looked_at(rollouts: "RolloutsClient", rollout_id: str, silence: str) -> "tuple[RolloutAnswer | None, str]":
    """The rollout, or why nobody says anything, which is told where it is news."""
    try:
        return rollouts.rollout(rollout_id), ""
    except ControlError as error:
        if error.status not in _SILENT:
            raise
        if error.sentence != silence:
            typer.echo(f"waiting for the control room ({error.sentence})", err=True)
        return None, error.sentence


def _tell(last: "RolloutAnswer | None", outcome: "Outcome", found: bool | None, *, as_json: bool) -> None:  # noqa: FBT001 - as reached() has it
    if as_json and last:
        print_json({**last})
    elif last:
        from serving.watching.lines import place_words  # noqa: PLC0415

        typer.echo(f"{last['model']}: {place_words(standing_in(last))}")
    if not found:
        why = "is over" if found is False else "is not there in time"
        typer.echo(f"error: waited for {outcome}, and it {why}", err=True)
