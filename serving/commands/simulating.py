"""`sluice simulate`: a rollout's rules on traffic that is described, or on blocks that were recorded."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from serving.commands.common import AsJson, Config, Url, client, print_json
from serving.commands.planning import Errors, Rps, Seed, Whose
from serving.commands.rollout_common import read, seconds
from serving.commands.rollout_described import plan_asked, traffic_known
from serving.commands.rollout_options import with_options
from serving.commands.rollout_starting import File

if TYPE_CHECKING:
    from router.plan import Plan
    from router.verdicts.described import Described
    from router.verdicts.guardrails import Terms
    from router.verdicts.replaying import Replay
    from serving.rollout_typed import Typed

_MOST_RUNS = 10_000
_TRAFFIC, _RECORDED = "The traffic", "Recorded blocks"


class _Record(NamedTuple):
    """What is to be replayed: a file, or a rollout's, and of which version where it has several candidates."""

    file: str | None
    rollout: str | None
    version: int | None


class _Draws(NamedTuple):
    """How many rollouts are walked, from which seed, and how long one is followed at most, in seconds."""

    runs: int
    seed: int
    longest_s: float


def _traffic(metavar: str, help_: str) -> Any:  # noqa: ANN401 - typer's own
    return typer.Option(metavar=metavar, help=help_, rich_help_panel=_TRAFFIC)


@with_options
def simulate(
    model: Whose = None,
    *,
    file: File = None,
    typed: "Typed",
    rps: Rps = None,
    errors: Errors = None,
    candidate_errors: Annotated[str | None, _traffic("SHARE", "Its errors. (default: 5 times stable's)")] = None,
    slower: Annotated[str | None, _traffic("TIMES", "How many times as long it takes, such as 1.25.")] = None,
    onset: Annotated[str | None, _traffic("TIME", "From when on it is as bad as that; until then it is good.")] = None,
    latency: Annotated[
        str | None, _traffic("TIME", "Stable's median, such as 20ms. (default: the model's now)")
    ] = None,
    p99: Annotated[str | None, _traffic("TIME", "Stable's 99th percentile.")] = None,
    replicas: Annotated[str | None, _traffic("C,S", "How many the candidate and stable have. (default: 1,1)")] = None,
    bursts: Annotated[float | None, _traffic("N", "Bursts of errors an hour, of each replica of either.")] = None,
    incident: Annotated[str | None, _traffic("SHARE,AT,FOR", "Both fail for a while, such as 5%,10m,3m.")] = None,
    runs: Annotated[int, typer.Option(min=1, max=_MOST_RUNS, help="Rollouts with each candidate.")] = 200,
    seed: Seed = 1,
    at_most: Annotated[str, typer.Option(metavar="TIME", help="When a rollout is given up.")] = "30d",
    blocks: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Replay these blocks; - is standard input.", rich_help_panel=_RECORDED),
    ] = None,
    rollout: Annotated[
        str | None, typer.Option(metavar="ID", help="Replay the blocks of that rollout.", rich_help_panel=_RECORDED)
    ] = None,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Walk a rollout through described traffic, many times over: how often it goes back, and how soon.

    Once with the candidate that is described, once with one that is as good as stable; the rollout is said as in
    `sluice rollout start`. With --blocks or --rollout, recorded blocks are judged again, by these rules.
    """
    if blocks is not None or rollout is not None:
        plan = None if file is None and typed.empty else plan_asked(typed, file, model, url, config)[1]
        replay = _recorded(_Record(blocks, rollout, typed.candidate), plan, url, config)
        _show(replay, as_json=as_json)
        return
    from serving.traffic_typed import Typed as TypedTraffic  # noqa: PLC0415 - brings numpy
    from serving.traffic_typed import described  # noqa: PLC0415

    words = TypedTraffic(rps, errors, candidate_errors, latency, p99, slower, replicas, bursts, incident, onset)
    longest_s = seconds("--at-most", at_most)
    if not longest_s:
        raise typer.BadParameter("--at-most: a rollout takes more than no time, such as 7d")
    whose, asked = plan_asked(typed, file, model, url, config)
    known, notes = traffic_known(words, whose, url, config)
    traffic = read("", "", lambda _: described(words, known))
    _foretell(asked, _Draws(runs, seed, longest_s), traffic, notes, as_json=as_json)


def _foretell(asked: "Plan", draws: _Draws, traffic: "Described", notes: tuple[str, ...], *, as_json: bool) -> None:
    """Walks the plan with the candidate that is described, and with one as good as stable, and shows both."""
    from router.evidence.judge import rule_for  # noqa: PLC0415 - slow to import
    from router.verdicts.simulating import COPIES_LEFT_OUT, leaves_out_copies  # noqa: PLC0415
    from serving.planning_tables import forecast_plain, show_forecasts  # noqa: PLC0415
    from serving.walking import forecasts  # noqa: PLC0415

    runs, seed, longest_s = draws
    bad, good = read("", "", lambda _: forecasts(asked, traffic, runs=runs, seed=seed, longest_s=longest_s))
    rule = asked.judged_by.rule or rule_for(*traffic.replicas)
    notes = (*notes, f"{runs} rollouts with each candidate, seed {seed}, judged by '{rule}'; approvals come at once")
    notes += (COPIES_LEFT_OUT,) if leaves_out_copies(asked) else ()
    if as_json:
        print_json({"candidate": forecast_plain(bad), "as_stable": forecast_plain(good), "notes": list(notes)})
        return
    show_forecasts(traffic, bad, good, notes)


def _show(replay: "Replay", *, as_json: bool) -> None:
    from serving.planning_tables import replay_plain, show_replay  # noqa: PLC0415 - slow to import

    if as_json:
        print_json(replay_plain(replay))
        return
    show_replay(replay)


def _recorded(record: _Record, plan: "Plan | None", url: str | None, config: Path | None) -> "Replay":
    """The blocks, judged by this plan's terms; by the rollout's own, or the usual ones, where there is none."""
    if record.file is not None and record.rollout is not None:
        raise typer.BadParameter("--blocks and --rollout are both there: replay one of them")
    if record.file is not None:
        from router.verdicts.guardrails import USUAL  # noqa: PLC0415

        with _lines(record.file) as lines:
            return _judged(lines, USUAL if plan is None else plan.judged_by)
    from router.plan_form import plan_from  # noqa: PLC0415
    from serving.control.rates_client import blocks_at  # noqa: PLC0415 - brings httpx
    from serving.control.rollouts_client import RolloutsClient  # noqa: PLC0415

    with client(url, config) as control:
        found = RolloutsClient(control).find(str(record.rollout))
        told = blocks_at(control, found["id"], record.version)
    return _judged(iter(told), (plan or read("", "", lambda _: plan_from(found["plan"]))).judged_by)


def _judged(lines: Iterator[str | bytes], terms: "Terms") -> "Replay":
    from router.verdicts.replaying import recorded, replayed  # noqa: PLC0415

    return read("", "", lambda _: replayed(recorded(lines), terms))


@contextmanager
def _lines(blocks: str) -> Iterator[Iterator[bytes]]:
    if blocks == "-":
        yield iter(sys.stdin.buffer)
        return
    try:
        with Path(blocks).open("rb") as file:
            yield iter(file)
    except OSError as error:
        raise typer.BadParameter(f"{blocks} cannot be read: {error.strerror}") from error
