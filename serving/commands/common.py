"""What all commands share: their common options, the way to the control API, and how JSON is printed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.errors import ControlError

if TYPE_CHECKING:  # each costs more to import than `sluice --help` takes
    from serving.control.client import ControlClient
    from serving.settings import Settings

Config = Annotated[
    Path | None, typer.Option("--config", envvar="SLUICE_CONFIG", help="The settings file. (default: sluice.yaml)")
]
StateDir = Annotated[Path | None, typer.Option(help="Where this installation keeps its files.")]
Url = Annotated[str | None, typer.Option(envvar="SLUICE_URL", help="The control API. (default: the one started here)")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Model = Annotated[str, typer.Argument(help="The model's name.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the log.")]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="Its number, or an alias of it.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return at once; the work goes on.")]


def settings_from(config: Path | None, state_dir: Path | None, given: Mapping[str, object] | None = None) -> "Settings":
    """The settings, with what the command line says above them."""
    from serving.settings import load_settings  # noqa: PLC0415 - brings pydantic

    # A path on the command line begins where the command is typed, not where the settings file is.
    folder = state_dir.absolute() if state_dir else None
    return load_settings(config, {**(given or {}), "state_dir": folder})


def client(url: str | None, config: Path | None) -> "ControlClient":
    """A connection to the control API that is named, or that runs here."""
    from serving.control.client import ControlClient  # noqa: PLC0415 - brings httpx

    return ControlClient(url or _url_here(config))


def _url_here(config: Path | None) -> str:
    """What runs from this folder says in `run.json` where it is; else it is where the settings would put it."""
    settings = settings_from(config, None)
    note = settings.state_dir / "run.json"
    try:
        return str(json.loads(note.read_text())["control_url"])
    except FileNotFoundError:
        host = f"[{settings.control.host}]" if ":" in settings.control.host else settings.control.host
        return f"http://{host}:{settings.control.port or 8080}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ControlError(f"{note} cannot be read", "name the address with --url") from error


def print_json(answer: Mapping[str, object]) -> None:
    """JSON and nothing else."""
    typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
