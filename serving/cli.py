"""The `sluice` command: what a person types, and nothing else.

Each command reads its arguments, asks one other module to do the work, and shows what came of it. Exit codes: 0 done,
1 refused or failed (a sentence and a hint on stderr), 2 wrong usage. Whatever is slow to import is imported by the
command that needs it, so that `sluice --help` is there at once.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.errors import ControlError, SluiceError

if TYPE_CHECKING:  # each costs more to import than `sluice --help` takes
    from serving.control.client import ControlClient
    from serving.settings import Settings

app = typer.Typer(
    help="A model-serving gateway with a traffic-splitting router.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
traffic = typer.Typer(help="Show and set how a model's traffic is split.", no_args_is_help=True)
app.add_typer(traffic, name="traffic")

Config = Annotated[
    Path | None, typer.Option("--config", envvar="SLUICE_CONFIG", help="The settings file. [default: sluice.yaml]")
]
StateDir = Annotated[Path | None, typer.Option(help="Where this installation keeps its files.")]
Url = Annotated[str | None, typer.Option(envvar="SLUICE_URL", help="The control API. [default: the one started here]")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Model = Annotated[str, typer.Argument(help="The model's name.")]


def main() -> None:
    """The entry point: runs the command, and turns our own errors into a sentence, a hint and exit code 1."""
    try:
        app(prog_name="sluice")
    except SluiceError as error:
        typer.echo(f"error: {error.sentence}", err=True)
        if error.hint:
            typer.echo(f"hint: {error.hint}", err=True)
        sys.exit(1)


@app.command()
def up(
    *,
    config: Config = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return once everything is ready.")] = False,
    http_port: Annotated[int | None, typer.Option(help="Port for predictions; 0 is any free one.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the control API; 0 is any free one.")] = None,
    state_dir: StateDir = None,
) -> None:
    """Start everything on this machine, and stay until Ctrl-C."""
    given = {"listen.http_port": http_port, "control.port": port}
    settings = _settings(config, state_dir, given)
    from serving import local  # noqa: PLC0415 - brings Ray

    local.up(settings, detach=detach)


@app.command()
def down(*, config: Config = None, state_dir: StateDir = None) -> None:
    """Stop what `up` has started from this folder."""
    settings = _settings(config, state_dir)
    from serving import local  # noqa: PLC0415 - brings Ray

    local.down(settings)


@app.command()
def demo(
    *, once: Annotated[bool, typer.Option("--once", help="Stop after the table instead of staying up.")] = False
) -> None:
    """Train two versions of a model, serve them, and send requests through the split."""
    from serving.demo import show  # noqa: PLC0415 - brings torch

    show.run(once=once)


@app.command()
def status(*, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show models, gateways and what they run."""
    with _client(url, config) as client:
        answer = client.status()
    if as_json:
        _print_json(answer)
        return
    from serving.tables import show_status  # noqa: PLC0415 - slow to import, as all below

    show_status(answer)


@traffic.command("show")
def traffic_show(model: Model, *, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show how a model's traffic is split."""
    with _client(url, config) as client:
        answer = client.policy(model)
    if as_json:
        _print_json(answer)
        return
    from serving.tables import show_policy  # noqa: PLC0415

    show_policy(answer)


@traffic.command("set")
def traffic_set(
    model: Model,
    shares: Annotated[list[str], typer.Argument(metavar="VERSION=SHARE...", help="Such as 2=50% or 3=0.01%.")],
    *,
    url: Url = None,
    config: Config = None,
    wait_s: Annotated[float, typer.Option(min=0, max=30, help="How long to wait for the gateways, seconds.")] = 2.0,
) -> None:
    """Set how a model's traffic is split. Versions not named get nothing; the stable one takes the rest."""
    from serving.shares import check_known, named, read_pair, with_shares  # noqa: PLC0415
    from serving.tables import show_change  # noqa: PLC0415

    try:
        pairs = [read_pair(text) for text in shares]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    wanted = named(pairs)
    with _client(url, config) as client:
        now = client.policy(model)
        known = _versions(client, model)
        if known:
            check_known(model, wanted, known)
        change = client.set_policy(model, with_shares(now["policy"], wanted), revision=now["revision"], wait_s=wait_s)
    show_change(change)


@app.command()
def explain(
    model: Model,
    *,
    unit: Annotated[str | None, typer.Option(help="Who asks: what the unit header would say.")] = None,
    header: Annotated[list[str] | None, typer.Option("-H", "--header", metavar="NAME:VALUE")] = None,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Say which version a request would reach, and why."""
    headers = [_header(text) for text in header or ()]
    with _client(url, config) as client:
        answer = client.explain(model, unit=unit, headers=headers)
    if as_json:
        _print_json(answer)
        return
    from serving.tables import show_explanation  # noqa: PLC0415

    show_explanation(model, answer)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed  # noqa: PLC0415

    typer.echo(installed("sluice-gateway"))


def _settings(config: Path | None, state_dir: Path | None, given: Mapping[str, object] | None = None) -> "Settings":
    from serving.settings import load_settings  # noqa: PLC0415 - brings pydantic

    # A path on the command line begins where the command is typed, not where the settings file is.
    folder = state_dir.absolute() if state_dir else None
    return load_settings(config, {**(given or {}), "state_dir": folder})


def _client(url: str | None, config: Path | None) -> "ControlClient":
    from serving.control.client import ControlClient  # noqa: PLC0415 - brings httpx

    return ControlClient(url or _url_here(config))


def _url_here(config: Path | None) -> str:
    """What runs from this folder says in `run.json` where it is; else it is where the settings would put it."""
    settings = _settings(config, None)
    note = settings.state_dir / "run.json"
    try:
        return str(json.loads(note.read_text())["control_url"])
    except FileNotFoundError:
        host = f"[{settings.control.host}]" if ":" in settings.control.host else settings.control.host
        return f"http://{host}:{settings.control.port or 8080}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ControlError(f"{note} cannot be read", "name the address with --url") from error


def _versions(client: "ControlClient", model: str) -> set[int]:
    """The model's versions, so that a typing error is told before anything is changed; none where nobody knows."""
    models = {one["name"]: one for one in client.status()["models"]}
    return {one["version"] for one in models[model]["versions"]} if model in models else set()


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"{text!r} is not of the form NAME:VALUE")
    return name.strip(), value.strip()


def _print_json(answer: Mapping[str, object]) -> None:
    typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
