"""`sluice rollout start`, `plan` and `lint`, and `sluice apply`: rollouts as options or as a file."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.commands.common import AsJson, Config, Url, Why, client, print_json
from serving.commands.rollout_common import Timeout, ended, read, rollouts_at, seconds, show_change
from serving.commands.rollout_files import checked, read_rollout
from serving.errors import SluiceError

if TYPE_CHECKING:
    from serving.control.rolling.document import Document
    from serving.control.rollouts_client import RolloutsClient
    from serving.rollout_typed import Typed

File = Annotated[
    Path | None, typer.Option("-f", "--file", help="A rollout.yaml in place of the options; - is standard input.")
]
Several = list[str] | None
_canary = functools.partial(typer.Option, rich_help_panel="Canary")
_shadow = functools.partial(typer.Option, rich_help_panel="Shadow")
_ab = functools.partial(typer.Option, rich_help_panel="A/B test")
_blue_green = functools.partial(typer.Option, rich_help_panel="Blue-green")


def add_to(app: typer.Typer) -> None:
    """Adds these commands to a group."""
    app.command("start")(start)
    app.command("plan", help="Show every stage and its policy, and start nothing: as `start --dry-run`.")(plan)
    app.command("lint")(lint)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to be started: whose, the body of the call, and what it means."""

    model: str
    body: dict[str, Any]
    document: "Document"


def start(
    model: Annotated[str | None, typer.Argument(help="The model. (default: the file's)")] = None,
    *,
    file: File = None,
    candidate: Annotated[str | None, typer.Option(help="The new version: its number, or an alias.")] = None,
    canary: Annotated[str | None, _canary(metavar="SHARES", help="Its shares in turn, such as 1,5,25,50,100.")] = None,
    hold: Annotated[str | None, _canary(metavar="TIME", help="How long each share stays. (default: 10m)")] = None,
    min_requests: Annotated[int | None, _canary(min=0, help="Requests that each share needs.")] = None,
    approve: Annotated[Several, _canary(metavar="SHARES", help="Shares, or end, that need an approval.")] = None,
    watch: Annotated[str | None, _canary(metavar="TIME", help="How long the old version stays warm after.")] = None,
    shadow: Annotated[str | None, _shadow(metavar="SHARE", help="Copy this share of requests first.")] = None,
    shadow_for: Annotated[str | None, _shadow(metavar="TIME", help="For how long.")] = None,
    shadow_max_per_s: Annotated[int | None, _shadow(min=1, help="Copies per second and gateway.")] = None,
    ab: Annotated[Several, _ab(metavar="VERSION=SHARE", help="Side by side, such as 2=25%,3=25%.")] = None,
    lasts: Annotated[str | None, _ab("--for", metavar="TIME", help="How long the A/B test takes.")] = None,
    sample_size: Annotated[int | None, _ab(min=0, help="Requests that each arm of it needs.")] = None,
    decide: Annotated[str | None, _ab(metavar="best|first|hand", help="How it is decided.")] = None,
    undecided: Annotated[str | None, _ab(metavar="restore|keep", help="What is left where nothing won.")] = None,
    blue_green: Annotated[bool, _blue_green("--blue-green", help="All traffic at once, after a look.")] = False,
    preview: Annotated[Several, _blue_green(metavar="HEADER=VALUE", help="Who sees it before the flip.")] = None,
    bake: Annotated[str | None, _blue_green(metavar="TIME", help="The look. (default: 10m)")] = None,
    no_approval: Annotated[bool, _blue_green("--no-approval", help="Flip without anybody's approval.")] = False,
    keep_warm: Annotated[str | None, _blue_green(metavar="TIME", help="The old version. (default: 1h)")] = None,
    automation: Annotated[
        str | None, typer.Option(metavar="alone|approve|recommend|observe", help="How much it does by itself.")
    ] = None,
    freeze: Annotated[
        Several, typer.Option(metavar="FROM/TO", help="When no share grows: 'fri 16:00/mon 08:00 +01:00'.")
    ] = None,
    deadline: Annotated[str | None, typer.Option(metavar="TIME", help="How late a stage may be.")] = None,
    on_deadline: Annotated[str | None, typer.Option(metavar="pause|fail", help="What becomes of it then.")] = None,
    salt: Annotated[str | None, typer.Option(help="What units are drawn by. (default: its own)")] = None,
    why: Why = "",
    again: Annotated[bool, typer.Option("--again", help="Even if this version was rolled back.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every stage and its policy; start nothing.")] = False,
    stable: Annotated[int | None, typer.Option(min=1, help="Show the stages on this version, asking nobody.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is over: exit code 0 promoted, 1 not.")] = False,
    timeout: Timeout = None,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Start a rollout: shadow, canary, A/B test or blue-green, several together, or a file.

    Steps of a canary are percentages; every other share has its unit, like 10%, and every time, like 90s or 1h30m.
    """
    from serving.rollout_typed import Typed  # noqa: PLC0415 - brings the router

    typed = Typed(
        canary=canary, hold=hold, min_requests=min_requests, approve=tuple(approve or ()), watch=watch, shadow=shadow,
        shadow_for=shadow_for, shadow_max_per_s=shadow_max_per_s, ab=tuple(ab or ()), lasts=lasts,
        sample_size=sample_size, decide=decide, undecided=undecided, blue_green=blue_green,
        preview=tuple(preview or ()), bake=bake, no_approval=no_approval, keep_warm=keep_warm, automation=automation,
        freeze=tuple(freeze or ()), deadline=deadline, on_deadline=on_deadline, salt=salt,
    )  # fmt: skip
    within_s = _patience(timeout, wait=wait)
    if file is not None and (candidate is not None or not typed.empty):
        raise typer.BadParameter("with -f the file says how it is to go: leave the other options out, or the file")
    said = read_rollout(file) if file else _typed(typed, candidate, model, url, config)
    wish = _wish(said, model, str(file) if file else "this", why=why, again=again)
    if stable is not None:
        _show_offline(wish, stable, as_json=as_json)
        return
    with rollouts_at(url, config) as rollouts:
        if dry_run:
            _show_online(rollouts, wish, as_json=as_json)
            return
        begun = rollouts.start(wish.model, wish.body)
        show_change(begun, as_json=as_json and not wait)
        if wait:
            _wait_for(rollouts, begun["rollout"]["id"], within_s, as_json=as_json)


@functools.wraps(start)  # whence its options
def plan(**options: Any) -> None:  # noqa: ANN401 - those of `start`
    """As `start --dry-run`."""
    start(**{**options, "dry_run": True, "wait": False})


def lint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A rollout.yaml; - is standard input.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say whether a file can be used, with every mistake and its place; asks nobody."""
    try:
        document = checked(read_rollout(file), str(file))
    except SluiceError as error:
        if not as_json:
            raise
        print_json({"valid": False, "mistakes": list(getattr(error, "mistakes", ())) or [error.sentence]})
        raise typer.Exit(1) from error
    if as_json:
        print_json({"valid": True, "mistakes": []})
        return
    count = len(document.plan.stages)
    whose = f" of {document.model}" if document.model else ""
    typer.echo(f"{file} is sound: a {document.plan.kind} rollout{whose} with {count} stage{'s' * (count > 1)}")


def apply(
    file: Annotated[Path, typer.Option("-f", "--file", help="A rollout.yaml; - is standard input.")],
    *,
    model: Annotated[str | None, typer.Option(help="Whose. (default: the file's)")] = None,
    why: Why = "",
    again: Annotated[bool, typer.Option("--again", help="Even if this version was rolled back.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is over: exit code 0 promoted, 1 not.")] = False,
    timeout: Timeout = None,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Start a file's rollout, unless it is under way or over already: the same file again changes nothing.

    While another rollout of the model is under way, this is refused (exit code 1).
    """
    within_s = _patience(timeout, wait=wait)
    wish = _wish(read_rollout(file), model, str(file), why=why, again=again)
    with rollouts_at(url, config) as rollouts:
        from serving.commands.rollout_applying import applied  # noqa: PLC0415 - brings httpx

        rollout_id = applied(
            rollouts, wish.model, wish.body, wish.document, insists=again, as_json=as_json and not wait
        )
        if wait:
            _wait_for(rollouts, rollout_id, within_s, as_json=as_json)


def _patience(timeout: str | None, *, wait: bool) -> int | None:
    if timeout is not None and not wait:
        raise typer.BadParameter("--timeout goes with --wait, which is not there")
    return seconds("--timeout", timeout)


def _wait_for(rollouts: "RolloutsClient", rollout_id: str, within_s: int | None, *, as_json: bool) -> None:
    from serving.rollout_standing import Outcome  # noqa: PLC0415 - brings the router

    raise typer.Exit(ended(rollouts, rollout_id, Outcome.PROMOTED, within_s, as_json=as_json))


def _typed(
    typed: "Typed", candidate: str | None, model: str | None, url: str | None, config: Path | None
) -> dict[str, Any]:
    """The document of the options; an alias of the candidate is looked up last, when all the rest is sound."""
    from dataclasses import replace  # noqa: PLC0415

    from serving.rollout_typed import document_of  # noqa: PLC0415

    number = _number(candidate)
    document = read("", "", lambda _: document_of(replace(typed, candidate=1 if candidate and not number else number)))
    if candidate is None or number is not None:
        return document
    if model is None:
        raise typer.BadParameter("say whose alias that is: name the model")
    from serving.control.models_client import ModelsClient  # noqa: PLC0415

    with client(url, config) as control:
        found = ModelsClient(control).number(model, candidate)
    return document_of(replace(typed, candidate=found))


def _number(text: str | None) -> int | None:
    """A version's number, None where it is an alias."""
    return int(text) if text and text.isascii() and text.isdigit() and int(text) else None


def _wish(said: dict[str, Any], model: str | None, where: str, *, why: str, again: bool) -> _Wish:
    """What is to be started; what the command line says of it wins over the file."""
    body = {**said, **({"why": why} if why else {}), **({"again": True} if again else {})}
    document = checked(body, where)
    if model and document.model and model != document.model:
        raise typer.BadParameter(f"{where} is about the model {document.model}, and {model} was typed")
    whose = model or document.model
    if not whose:
        raise typer.BadParameter("say which model: as the first word, or as `model:` in the file")
    return _Wish(whose, {name: value for name, value in body.items() if name != "model"}, document)


def _show_online(rollouts: "RolloutsClient", wish: _Wish, *, as_json: bool) -> None:
    answer = rollouts.stages(wish.model, wish.body)
    if as_json:
        print_json({**answer})
        return
    from serving.rollout_tables import show_stages  # noqa: PLC0415 - slow to import

    show_stages(wish.model, answer["stages"], answer["notes"])


def _show_offline(wish: _Wish, stable: int, *, as_json: bool) -> None:
    from serving.rollout_stages import stages_on  # noqa: PLC0415 - brings the router

    stages = stages_on(wish.document.plan, stable)
    if as_json:
        print_json({"stages": stages})
        return
    from serving.rollout_tables import show_stages  # noqa: PLC0415

    notes = [f"on version {stable} alone: nobody was asked what runs"]
    if not wish.document.plan.salt:
        notes.append("a rollout that splits draws a salt of its own when it starts, unless --salt names one")
    show_stages(wish.model, stages, notes)
