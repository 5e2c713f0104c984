"""`sluice plan`: how many requests and how much time a rollout's verdicts will take, before it is started."""

from typing import TYPE_CHECKING, Annotated

import typer

from serving.commands.common import AsJson, Config, Url, print_json
from serving.commands.rollout_common import read
from serving.commands.rollout_described import plan_asked, traffic_known
from serving.commands.rollout_options import with_options
from serving.commands.rollout_starting import File

if TYPE_CHECKING:
    from serving.rollout_typed import Typed

Whose = Annotated[str | None, typer.Argument(metavar="MODEL", help="The model. (default: the file's)")]
Rps = Annotated[float | None, typer.Option(help="Requests per second, of all versions. (default: the model's now)")]
Errors = Annotated[
    str | None, typer.Option(metavar="SHARE", help="Stable's errors, such as 0.5%. (default: the model's now)")
]
Seed = Annotated[int, typer.Option(min=0, help="What is drawn by; the same one gives the same answer.")]


@with_options
def plan(
    model: Whose = None,
    *,
    file: File = None,
    typed: "Typed",
    worse: Annotated[
        list[str] | None, typer.Option(metavar="TIMES", help="How many times stable's errors. (default: 2x, 5x, 20x)")
    ] = None,
    rps: Rps = None,
    errors: Errors = None,
    seed: Seed = 1,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show how many requests, and how much time, it takes to find harm or to certify a good candidate.

    For each step of a rollout, which is said as in `sluice rollout start`; at the model's present rate, or another one.
    `sluice rollout plan` shows the stages themselves.
    """
    from router.errors import RouterError  # noqa: PLC0415 - brings numpy, as all below
    from router.verdicts.prospects import TIMES_WORSE, prospects  # noqa: PLC0415
    from router.verdicts.simulating import COPIES_LEFT_OUT, leaves_out_copies  # noqa: PLC0415
    from serving.planning_tables import prospects_plain, show_prospects  # noqa: PLC0415
    from serving.traffic_typed import Typed as Described  # noqa: PLC0415
    from serving.traffic_typed import times_of  # noqa: PLC0415

    times = [read("--worse", text, times_of) for text in worse or ()] or list(TIMES_WORSE)
    whose, wanted = plan_asked(typed, file, model, url, config)
    known, notes = traffic_known(Described(rps=rps, errors=errors), whose, url, config)
    try:
        steps = prospects(wanted, rps=known.rps, errors=known.errors, worse=times, seed=seed)
    except RouterError as error:
        raise typer.BadParameter(str(error)) from error
    notes = (
        *notes,
        f"requests that come by themselves, seed {seed}: real ones come in bursts, so take these as the least",
        *((COPIES_LEFT_OUT,) if leaves_out_copies(wanted) else ()),
    )
    if as_json:
        print_json(prospects_plain(steps, known, notes))
        return
    show_prospects(steps, known, notes)
