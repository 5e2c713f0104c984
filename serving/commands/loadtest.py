"""`sluice loadtest`: load on a model, with a report.

It finds out where everything is and what is to be shown there, and starts `python -m loadtests.load` with the rest of
what was typed: the load comes from processes in which sockets are gevent's, and none of that may get into this one.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.commands.common import Config, StateDir, Url, client, settings_from

if TYPE_CHECKING:
    from serving.settings import Settings

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""What is typed is read over there, --help too."""

_MODULE = "loadtests.load"
_USUAL_GRPC_PORT = 8001


def loadtest(
    context: typer.Context,
    *,
    gateway: Annotated[str | None, typer.Option(help="A prediction port. (default: the one started here)")] = None,
    grpc: Annotated[str | None, typer.Option(help="The same for gRPC, host and port.")] = None,
    url: Url = None,
    config: Config = None,
    state_dir: StateDir = None,
) -> None:
    """Put load on a model, and see what it does: a report, and whether objectives were kept.

    `sluice loadtest capacity MODEL` finds the highest rate that keeps them. `sluice loadtest --help` shows everything.
    """
    asked = context.args
    place = {} if {"-h", "--help"} & set(asked) else _place(gateway, grpc, url, config, state_dir)
    given = ["--place-from-stdin"] if place else []
    process = subprocess.Popen([sys.executable, "-m", _MODULE, *asked, *given], stdin=subprocess.PIPE)
    if process.stdin:
        process.stdin.write(json.dumps(place).encode())  # over a pipe: everybody may read arguments
        process.stdin.close()
    raise typer.Exit(_waited(process))


def _waited(process: "subprocess.Popen[bytes]") -> int:
    """Its exit code. Ctrl-C reaches it by itself, and it has to take back what it began."""
    passed_on = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
    finally:
        signal.signal(signal.SIGTERM, passed_on)


def _place(
    gateway: str | None, grpc: str | None, url: str | None, config: Path | None, state_dir: Path | None
) -> dict[str, str]:
    """Where everything answers, and what is shown there.

    Raises:
        ControlError: the key would go over plain http to another machine, or a file cannot be used.
    """
    from serving.commands.replaying import predictions_here  # noqa: PLC0415
    from serving.control.credentials import from_environment  # noqa: PLC0415 - brings ssl

    settings = settings_from(config, state_dir)
    credentials = from_environment(os.environ, lambda words: typer.echo(f"warning: {words}", err=True))
    if gateway is None:
        credentials = credentials.trusting(settings.tls.certificate)
    with client(url, config) as control:
        control_url = control.url
    place = {
        "http_url": (gateway or predictions_here(settings)).rstrip("/"),
        "grpc": grpc or _grpc_here(settings),
        "control_url": control_url,
    }
    for address in (place["http_url"], control_url):
        credentials.headers_for(address)
    files = {"ca_file": credentials.ca_file, "certificate": credentials.certificate}
    return {**place, "key": credentials.key, **{name: str(file or "") for name, file in files.items()}}


def _grpc_here(settings: "Settings") -> str:
    """Where what runs from this folder takes predictions over gRPC; else where the settings would put it."""
    from serving.run_folder import read_run_file  # noqa: PLC0415

    run = read_run_file(settings.state_dir)
    if run and isinstance(run.get("grpc_url"), str) and run["grpc_url"]:
        return str(run["grpc_url"])
    return f"127.0.0.1:{settings.listen.grpc_port or _USUAL_GRPC_PORT}"
