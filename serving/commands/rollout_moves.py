"""`sluice rollout set`, `pause`, `resume`, `approve`, `promote`, `rollback` and `retry`: what is asked of a rollout.

What depends on how it stood when the command was typed goes with the revision that was read, and is refused where it
has moved since. Pausing and going back are meant whatever has happened.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.commands.common import AsJson, Config, Url, Why
from serving.commands.rollout_common import Rollout, read, rollouts_at, show_change, standing_in

if TYPE_CHECKING:
    from serving.control.rollouts_client import RolloutsClient
    from serving.rollout_standing import Standing


Force = Annotated[bool, typer.Option("--force", help="Past what its servers are known to carry.")]


def add_to(app: typer.Typer) -> None:
    """Adds these commands to a group."""
    for command in (pause, resume, approve, promote, rollback, retry):
        app.command()(command)
    app.command("set")(set_)


def set_(
    rollout: Rollout,
    shares: Annotated[
        list[str], typer.Argument(metavar="SHARE...", help="Such as 12.5% for the candidate, or 2=12.5% and 3=1/8.")
    ],
    *,
    force: Force = False,
    why: Why = "",
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Give versions another share; those not named keep theirs."""
    from serving.rollout_typed import shares_of  # noqa: PLC0415 - brings the router

    words = ",".join(shares)
    read("", words, lambda text: shares_of([text], 1))  # before anybody is asked
    with rollouts_at(url, config) as rollouts:
        there = rollouts.find(rollout)
        alone = _alone(standing_in(there))
        body = {"shares": read("", words, lambda text: shares_of([text], alone)), "why": why}
        show_change(rollouts.set_shares(there["id"], body, there["revision"], force=force), as_json=as_json)


def pause(rollout: Rollout, *, why: Why = "", url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Leave traffic as it is, and stop the clock of the stage."""
    _ask(rollout, "pause", {"why": why}, url, config, seen=False, as_json=as_json)


def resume(rollout: Rollout, *, why: Why = "", url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Go on where the pause found it."""
    _ask(rollout, "resume", {"why": why}, url, config, as_json=as_json)


def approve(
    rollout: Rollout,
    *,
    stage: Annotated[
        str | None, typer.Option(help="Its name, its number from 1, or end; refused if another one waits.")
    ] = None,
    force: Force = False,
    why: Why = "",
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Let it into the stage that waits for an approval."""
    with rollouts_at(url, config) as rollouts:
        there = rollouts.find(rollout)
        number = None if stage is None else _stage(standing_in(there), stage)
        body = {"why": why, **({} if number is None else {"stage": number})}
        show_change(rollouts.ask(there["id"], "approve", body, there["revision"], force=force), as_json=as_json)


def promote(
    rollout: Rollout,
    *,
    to_end: Annotated[bool, typer.Option("--to-end", help="Past all stages that need no approval.")] = False,
    version: Annotated[int | None, typer.Option(min=1, help="The winner, where the plan has none yet.")] = None,
    force: Force = False,
    why: Why = "",
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Go on to the next stage without waiting for its time or evidence."""
    body = {"to_end": to_end, "version": version, "why": why}
    _ask(rollout, "promote", body, url, config, force=force, as_json=as_json)


def rollback(
    rollout: Rollout,
    *,
    reason: Annotated[str, typer.Option("--reason", "--why", help="Why, for whoever reads the ledger.")],
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Go back to the policy from before, at once, whatever else is going on."""
    if not reason.strip():
        raise typer.BadParameter("--reason is empty: say why, for whoever reads the ledger")
    _ask(rollout, "rollback", {"why": reason}, url, config, seen=False, as_json=as_json)


def retry(
    rollout: Rollout,
    *,
    again: Annotated[bool, typer.Option("--again", help="Even though it was rolled back.")] = False,
    why: Why = "",
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Begin a rollout that failed, or with --again one that was rolled back, from its first stage."""
    _ask(rollout, "retry", {"again": again, "why": why}, url, config, as_json=as_json)


def _ask(
    rollout: str,
    what: str,
    body: dict[str, Any],
    url: str | None,
    config: Any,  # noqa: ANN401 - a path, as every command has it
    *,
    seen: bool = True,
    force: bool = False,
    as_json: bool,
) -> None:
    with rollouts_at(url, config) as rollouts:
        rollout_id, revision = _found(rollouts, rollout, seen=seen)
        show_change(rollouts.ask(rollout_id, what, body, revision, force=force), as_json=as_json)


def _found(rollouts: "RolloutsClient", name: str, *, seen: bool) -> tuple[str, int | None]:
    """Its id, and the revision that was seen, None where that does not matter."""
    if not seen:
        return rollouts.named(name), None
    there = rollouts.find(name)
    return there["id"], there["revision"]


def _alone(standing: "Standing") -> int | None:
    """The version that a share without one is for: the candidate, or the only arm that there is."""
    arms = [version for version in standing.shares if version != standing.stable]
    return standing.candidate or (arms[0] if len(arms) == 1 else None)


def _stage(standing: "Standing", text: str) -> int:
    from serving.rollout_standing import stage_named  # noqa: PLC0415

    return read("--stage", text, lambda said: stage_named(standing, said))
