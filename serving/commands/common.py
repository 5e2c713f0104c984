"""What all commands share: their common options, the way to the control API, and how JSON is printed."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from serving.errors import ControlError

if TYPE_CHECKING:  # each costs more to import than `sluice --help` takes
    from serving.control.client import ControlClient
    from serving.control.models_client import ModelsClient
    from serving.settings import Settings

_REACHED = MappingProxyType({"0.0.0.0": "127.0.0.1", "::": "::1"})  # noqa: S104 - what listens on all is reached here

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
    """A connection to the control API that is named, or that runs here, with the credentials of the environment."""
    from serving.control.client import ControlClient  # noqa: PLC0415 - brings httpx
    from serving.control.credentials import from_environment  # noqa: PLC0415 - brings ssl

    credentials = from_environment(os.environ, lambda words: typer.echo(f"warning: {words}", err=True))
    if url:
        return ControlClient(url, credentials=credentials)
    settings = settings_from(config, None)
    return ControlClient(_url_here(settings), credentials=credentials.trusting(settings.tls.certificate))


@contextmanager
def models_at(url: str | None, config: Path | None) -> "Iterator[ModelsClient]":
    """The models, versions and long work of that control API, or of the one that runs here."""
    from serving.control.models_client import ModelsClient  # noqa: PLC0415 - brings httpx

    with client(url, config) as control:
        yield ModelsClient(control)


def _url_here(settings: "Settings") -> str:
    """What runs from this folder says in `run.json` where it is; else it is where the settings would put it."""
    note = settings.state_dir / "run.json"
    try:
        return str(json.loads(note.read_text())["control_url"])
    except FileNotFoundError:
        return _address_in(settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ControlError(f"{note} cannot be read", "name the address with --url") from error


def _address_in(settings: "Settings") -> str:
    """Where the settings put the control API, as this machine reaches it."""
    host = _REACHED.get(settings.control.host, settings.control.host)
    scheme = "https" if settings.tls.on else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.control.port or 8080}"


def print_json(answer: Mapping[str, object]) -> None:
    """JSON and nothing else."""
    typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
