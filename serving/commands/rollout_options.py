"""The options that say how a rollout is to go: declared here once, and handed to a command as one value."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

Several = list[str] | None
_canary = functools.partial(typer.Option, rich_help_panel="Canary")
_shadow = functools.partial(typer.Option, rich_help_panel="Shadow")
_ab = functools.partial(typer.Option, rich_help_panel="A/B test")
_blue_green = functools.partial(typer.Option, rich_help_panel="Blue-green")
_judged = functools.partial(typer.Option, rich_help_panel="What it is judged by")


class Options:
    """Every option with its default; the names are those of `serving.rollout_typed.Typed`."""

    candidate: Annotated[str | None, typer.Option(help="The new version: its number, or an alias.")] = None
    canary: Annotated[str | None, _canary(metavar="SHARES", help="Its shares in turn, such as 1,5,25,50,100.")] = None
    hold: Annotated[str | None, _canary(metavar="TIME", help="How long each share stays. (default: 10m)")] = None
    min_requests: Annotated[
        int | None, _canary(min=0, help="Requests that each share needs. (default: 100; 0 with --needs)")
    ] = None
    needs: Annotated[
        str | None,
        _canary(
            metavar="minima|verdict|either",
            help="What each share needs beside those. (default: a verdict before the candidate gets everything)",
        ),
    ] = None
    approve: Annotated[Several, _canary(metavar="SHARES", help="Shares, or end, that need an approval.")] = None
    watch: Annotated[str | None, _canary(metavar="TIME", help="How long the old version stays warm after.")] = None
    shadow: Annotated[str | None, _shadow(metavar="SHARE", help="Copy this share of requests first.")] = None
    shadow_for: Annotated[str | None, _shadow(metavar="TIME", help="For how long.")] = None
    shadow_max_per_s: Annotated[int | None, _shadow(min=1, help="Copies per second and gateway.")] = None
    noise: Annotated[str | None, _shadow(metavar="SHARE", help="Ask stable again for this share of the copies.")] = None
    compare: Annotated[
        Several,
        _shadow(
            metavar="OUTPUT=HOW[:TOLERANCE]",
            help="How an output is compared: exact, close:0.01, argmax, top_k:5, cosine:0.01, edit:0.1, ignore.",
        ),
    ] = None
    segment: Annotated[Several, _shadow(metavar="HEADER", help="Break disagreement down by this header.")] = None
    redact: Annotated[Several, _shadow(metavar="NAME", help="Never keep the values of this input or output.")] = None
    ab: Annotated[Several, _ab(metavar="VERSION=SHARE", help="Side by side, such as 2=25%,3=25%.")] = None
    lasts: Annotated[str | None, _ab("--for", metavar="TIME", help="How long the A/B test takes.")] = None
    sample_size: Annotated[int | None, _ab(min=0, help="Requests that each arm of it needs.")] = None
    decide: Annotated[str | None, _ab(metavar="best|first|hand", help="How it is decided.")] = None
    undecided: Annotated[str | None, _ab(metavar="restore|keep", help="What is left where nothing won.")] = None
    by: Annotated[
        str | None, _ab(metavar="METRIC[:lower]", help="Decide it by this metric of feedback, not by errors.")
    ] = None
    blue_green: Annotated[bool, _blue_green("--blue-green", help="All traffic at once, after a look.")] = False
    preview: Annotated[Several, _blue_green(metavar="HEADER=VALUE", help="Who sees it before the flip.")] = None
    bake: Annotated[str | None, _blue_green(metavar="TIME", help="The look. (default: 10m)")] = None
    no_approval: Annotated[bool, _blue_green("--no-approval", help="Flip without anybody's approval.")] = False
    keep_warm: Annotated[str | None, _blue_green(metavar="TIME", help="The old version. (default: 1h)")] = None
    tolerate: Annotated[
        Several, _judged(metavar="GUARDRAIL=RATIO", help="Up to how many times stable's odds, such as latency=1.5.")
    ] = None
    guardrail: Annotated[
        Several,
        _judged(
            metavar="WATCHES[:KEY=VALUE,...]",
            help="One more, or another form of a usual one: timeouts, errors:margin=3, predictions:output=label.",
        ),
    ] = None
    harm: Annotated[
        str | None, _judged(metavar="CHANCE", help="Of taking back one that is no worse. (default: 0.01)")
    ] = None
    promotion: Annotated[
        str | None, _judged(metavar="CHANCE", help="Of certifying one that is too bad. (default: 0.05)")
    ] = None
    rule: Annotated[
        str | None,
        _judged(metavar="fast|burst_proof", help="(default: burst_proof where both versions have two replicas)"),
    ] = None
    warm_up: Annotated[
        str | None, _judged(metavar="TIME", help="In which a new version's latencies are left out. (default: 10s)")
    ] = None
    on_incident: Annotated[
        str | None, _judged(metavar="pause|hold", help="What becomes of it while both fail alike. (default: pause)")
    ] = None
    automation: Annotated[
        str | None, typer.Option(metavar="alone|approve|recommend|observe", help="How much it does by itself.")
    ] = None
    freeze: Annotated[
        Several, typer.Option(metavar="FROM/TO", help="When no share grows: 'fri 16:00/mon 08:00 +01:00'.")
    ] = None
    deadline: Annotated[str | None, typer.Option(metavar="TIME", help="How late a stage may be.")] = None
    on_deadline: Annotated[str | None, typer.Option(metavar="pause|fail", help="What becomes of it then.")] = None
    salt: Annotated[str | None, typer.Option(help="What units are drawn by. (default: its own)")] = None


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with all of these options, which it gets as one value, `typed`."""
    own = dict(inspect.signature(command).parameters)
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(name, keyword, default=getattr(Options, name), annotation=kind)
        for name, kind in Options.__annotations__.items()
    ]

    @functools.wraps(command)
    def with_typed(*args: Any, **said: Any) -> None:  # noqa: ANN401 - whatever was typed
        typed = {name: said.pop(name, getattr(Options, name)) for name in Options.__annotations__}
        command(*args, **said, typed=_typed(typed))

    parameters = [*(one for name, one in own.items() if name != "typed"), *shared]
    parameters.sort(key=lambda one: one.kind)
    vars(with_typed)["__signature__"] = inspect.Signature(parameters)  # where typer looks for it
    with_typed.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_typed


def _typed(said: dict[str, Any]) -> Any:  # noqa: ANN401 - a Typed, whose module brings the router
    """What followed the options; a candidate that is no number is an alias."""
    from serving.rollout_typed import Typed  # noqa: PLC0415

    candidate = said.pop("candidate")
    number = int(candidate) if candidate and candidate.isascii() and candidate.isdigit() and int(candidate) else None
    several = {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
    rest = {name: value for name, value in said.items() if value is not None}
    return Typed(**{**rest, **several}, candidate=number, alias=None if number else candidate)
