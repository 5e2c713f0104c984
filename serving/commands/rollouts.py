"""`sluice rollout`: looking at rollouts. Starting them is `rollout_starting`, moving them `rollout_moves`."""

import sys
from typing import Annotated

import typer

from serving.commands import rollout_moves, rollout_starting
from serving.commands.common import AsJson, Config, Url, client, print_json
from serving.commands.rollout_common import Rollout, Timeout, ended, read, rollouts_at, seconds, standing_in

app = typer.Typer(help="Start, move and watch rollouts.", no_args_is_help=True)
rollout_starting.add_to(app)
rollout_moves.add_to(app)


@app.command()
def status(rollout: Rollout, *, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show where a rollout stands, and what keeps it there."""
    with rollouts_at(url, config) as rollouts:
        answer = rollouts.find(rollout)
    if as_json:
        print_json({**answer})
        return
    from serving.rollout_tables import show_rollout  # noqa: PLC0415 - slow to import, as all below

    show_rollout(standing_in(answer))


@app.command("list")
def list_(
    model: Annotated[str | None, typer.Argument(help="Of this model only, those that have ended among them.")] = None,
    *,
    ended: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many at most.")] = 20,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the rollouts that are under way, or those of a model, newest first."""
    with rollouts_at(url, config) as rollouts:
        answer = rollouts.every(limit, ended=ended) if model is None else rollouts.rollouts(model, limit)
    if as_json:
        print_json({**answer})
        return
    from serving.rollout_tables import show_rollouts  # noqa: PLC0415

    show_rollouts(answer)


@app.command()
def why(rollout: Rollout, *, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Tell what happened to a rollout: who or what moved it, when, why, and on which numbers."""
    with rollouts_at(url, config) as rollouts:
        answer = rollouts.why(rollouts.named(rollout))
    if as_json:
        print_json({**answer})
        return
    from serving.rollout_tables import show_story  # noqa: PLC0415

    show_story(answer)


@app.command()
def results(rollout: Rollout, *, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show what feedback says of a rollout: each metric's effect, and what it would take to decide."""
    from serving.control.feedback_client import results_of  # noqa: PLC0415
    from serving.control.rollouts_client import RolloutsClient  # noqa: PLC0415

    with client(url, config) as control:
        answer = results_of(control, RolloutsClient(control).named(rollout))
    if as_json:
        print_json({**answer})
        return
    from serving.feedback_tables import show_results  # noqa: PLC0415

    show_results(answer)


@app.command()
def diff(
    rollout: Rollout,
    *,
    worst: Annotated[int, typer.Option(min=0, max=100, help="How many of the worst pairs are shown.")] = 3,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show how the answers to its copies differ from those that clients got: how often, where, and the worst."""
    from serving.control.diff_client import diff_of  # noqa: PLC0415
    from serving.control.rollouts_client import RolloutsClient  # noqa: PLC0415

    with client(url, config) as control:
        answer = diff_of(control, RolloutsClient(control).named(rollout), worst)
    if as_json:
        print_json({**answer})
        return
    from serving.diff_tables import show_diff  # noqa: PLC0415

    show_diff(answer)


@app.command()
def watch(rollout: Rollout, *, url: Url = None, config: Config = None) -> None:
    """Watch a rollout live; without a terminal, a line for each change until it is over. q quits."""
    from serving.control.rollouts_client import RolloutsClient  # noqa: PLC0415
    from serving.tables import console  # noqa: PLC0415
    from serving.watching.asking import ask  # noqa: PLC0415
    from serving.watching.screen import print_lines, show  # noqa: PLC0415

    with client(url, config) as control:
        rollout_id = RolloutsClient(control).named(rollout)
        out = console()
        try:
            if sys.stdout.isatty() and not out.is_dumb_terminal:
                show(lambda now_s: ask(control, rollout_id, now_s), out)
            else:
                print_lines(lambda now_s: ask(control, rollout_id, now_s), typer.echo)
        except KeyboardInterrupt:
            return


@app.command()
def wait(
    rollout: Rollout,
    *,
    outcome: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="OUTCOME",
            help="promoted, rolled-back, failed, over (any of these), running, baking, watching, waiting or paused.",
        ),
    ] = "promoted",
    timeout: Timeout = None,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Wait until a rollout is there: exit code 0 there, 1 ended otherwise, 3 not within the time."""
    from serving.rollout_standing import outcome_named  # noqa: PLC0415 - brings the router

    wanted = read("--for", outcome, outcome_named)
    within_s = seconds("--timeout", timeout)
    with rollouts_at(url, config) as rollouts:
        raise typer.Exit(ended(rollouts, rollouts.named(rollout), wanted, within_s, as_json=as_json))
