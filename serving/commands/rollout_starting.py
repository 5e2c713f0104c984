"""`sluice rollout start`, `plan` and `lint`, and `sluice apply`: rollouts as options or as a file."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.commands.common import AsJson, Config, Url, Why, client, print_json
from serving.commands.rollout_common import Timeout, ended, read, rollouts_at, seconds, show_change, standing_in
from serving.commands.rollout_files import checked, read_rollout
from serving.commands.rollout_options import with_options
from serving.errors import SluiceError

if TYPE_CHECKING:
    from serving.control.rolling.document import Document
    from serving.control.rollouts_client import RolloutsClient
    from serving.rollout_typed import Typed

File = Annotated[
    Path | None, typer.Option("-f", "--file", help="A rollout.yaml in place of the options; - is standard input.")
]


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


@with_options
def start(
    model: Annotated[str | None, typer.Argument(help="The model. (default: the file's)")] = None,
    *,
    file: File = None,
    typed: "Typed",
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
    within_s = _patience(timeout, wait=wait)
    if file is not None and not typed.empty:
        raise typer.BadParameter("with -f the file says how it is to go: leave the other options out, or the file")
    said = read_rollout(file) if file else document_typed(typed, model, url, config)
    wish = _wish(said, model, str(file) if file else "this", why=why, again=again)
    if stable is not None:
        _show_offline(wish, stable, as_json=as_json)
        return
    with rollouts_at(url, config) as rollouts:
        if dry_run:
            _show_online(rollouts, wish, as_json=as_json)
            return
        _begin(rollouts, wish, within_s, wait=wait, as_json=as_json)


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


def _begin(rollouts: "RolloutsClient", wish: _Wish, within_s: int | None, *, wait: bool, as_json: bool) -> None:
    """Starts it, says by what it is judged, and waits for its end where that is wanted."""
    begun = rollouts.start(wish.model, wish.body)
    show_change(begun, as_json=as_json and not wait)
    if not as_json:
        from serving.rollout_tables import show_terms  # noqa: PLC0415 - slow to import

        show_terms(standing_in(begun["rollout"]))
    if wait:
        _wait_for(rollouts, begun["rollout"]["id"], within_s, as_json=as_json)


def document_typed(typed: "Typed", model: str | None, url: str | None, config: Path | None) -> dict[str, Any]:
    """The document of the options; an alias of the candidate is looked up last, when all the rest is sound."""
    from dataclasses import replace  # noqa: PLC0415

    from serving.rollout_typed import document_of  # noqa: PLC0415

    alias = typed.alias
    document = read("", "", lambda _: document_of(replace(typed, candidate=1, alias=None) if alias else typed))
    if alias is None:
        return document
    if model is None:
        raise typer.BadParameter("say whose alias that is: name the model")
    from serving.control.models_client import ModelsClient  # noqa: PLC0415

    with client(url, config) as control:
        found = ModelsClient(control).number(model, alias)
    return document_of(replace(typed, candidate=found, alias=None))


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

    show_stages(wish.model, answer["stages"], [*_judged_by(wish), *answer["notes"]])


def _judged_by(wish: _Wish) -> list[str]:
    from serving.rollout_terms import terms_lines  # noqa: PLC0415 - brings the router

    plan = wish.document.plan
    return list(terms_lines(plan.judged_by, [stage.name for stage in plan.stages if stage.needs == "verdict"]))


def _show_offline(wish: _Wish, stable: int, *, as_json: bool) -> None:
    from serving.rollout_stages import stages_on  # noqa: PLC0415 - brings the router

    stages = stages_on(wish.document.plan, stable)
    if as_json:
        print_json({"stages": stages})
        return
    from serving.rollout_tables import show_stages  # noqa: PLC0415

    notes = [*_judged_by(wish), f"on version {stable} alone: nobody was asked what runs"]
    if not wish.document.plan.salt:
        notes.append("a rollout that splits draws a salt of its own when it starts, unless --salt names one")
    show_stages(wish.model, stages, notes)
