"""The trainer as a process: `python -m serving.trainer`, or `sluice trainer`, which finds the addresses by itself.

SIGTERM and SIGINT end it after the step that it is at; killed or not, what is left goes on with the next start.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from pathlib import Path

import structlog
import uvicorn

from drift.errors import DriftError
from drift.signing import secrets_in
from serving.control.client import ControlClient
from serving.control.credentials import from_environment
from serving.errors import SettingsError, SluiceError
from serving.sockets import open_listener, url_of
from serving.trainer.app import HOOK, Secrets, create_app
from serving.trainer.asking import answers_of
from serving.trainer.diary import Diary
from serving.trainer.setup import Setup
from serving.trainer.steps import Steps
from serving.trainer.worker import Worker

_log = structlog.get_logger(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Runs until it is told to end."""
    told = _parser().parse_args(arguments)
    _configure_log()
    try:
        _serve(told)
    except (SluiceError, OSError) as error:
        sys.exit(f"the trainer cannot run: {error}")


def _serve(told: argparse.Namespace) -> None:
    secrets = _secrets(told.secret_file)
    secrets()
    credentials = from_environment(os.environ, _log.warning).trusting(told.certificate)
    setup = Setup(
        told.model, told.folder, told.training, told.held, told.labels, told.fewest, told.window_rows, told.hold,
        told.trial, told.patience_s,
    )  # fmt: skip
    diary = Diary(setup.folder)
    listener = _listener(told)
    with ControlClient(told.control, credentials=credentials) as control:
        steps = Steps(
            control,
            setup,
            diary,
            lambda version, rows: answers_of(told.gateway, setup.model, version, rows, credentials),
        )
        app = create_app(Worker(diary, steps), setup.model, secrets)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="on"))
        _log.info("listening for webhooks", url=f"{url_of(listener, tls=False)}{HOOK}", model=setup.model)
        server.run(sockets=[listener])


def _listener(told: argparse.Namespace) -> socket.socket:
    """The socket that was handed over, or one of its own."""
    if told.socket is not None:
        return socket.socket(fileno=told.socket)
    return open_listener("127.0.0.1", told.port, "the trainer", "--port")


def _secrets(file: Path) -> Secrets:
    """Reads them anew each time, so that a secret is replaced while it runs."""

    def read() -> tuple[str, ...]:
        try:
            return secrets_in(file.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise SettingsError(f"{file} cannot be read: {why}.", "Name the file that `sluice.yaml` names.") from error
        except DriftError as error:
            raise SettingsError(f"{file}: {error.sentence}", error.hint) from error

    return read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sluice trainer",
        description="Hears that a model is to be trained anew, trains it, and starts its rollout where it is better.",
        epilog="`sluice trainer` finds --control, --gateway and --certificate by itself; --url, --config and "
        "--state-dir say which installation, as everywhere.",
    )
    add = parser.add_argument
    add("--model", required=True, help="the model whose episodes are heard")
    add("--folder", type=Path, required=True, help="where episodes and new versions lie, below a registry.sources")
    add("--training", type=Path, required=True, help="npz of the rows that the first version was trained on")
    add("--held", type=Path, required=True, help="npz of rows that nothing is ever trained on")
    add("--labels", type=Path, required=True, help="lines of feedback with labels, by request id; may grow")
    add("--secret-file", type=Path, required=True, help="the secrets of the webhook, one a line")
    add("--control", required=True, metavar="URL", help="the control API")
    add("--gateway", required=True, metavar="URL", help="where predictions go")
    add("--certificate", type=Path, help="the certificate of both, where it is their own")
    add("--port", type=int, default=8_090, help="where webhooks are heard here; 0 is any free port [%(default)s]")
    add("--socket", type=int, help=argparse.SUPPRESS)
    add("--fewest", type=int, default=1_000, help="captured rows with labels that it takes [%(default)s]")
    add("--window-rows", type=int, default=500, help="rows of a window, as drift.window.rows has it [%(default)s]")
    add("--patience-s", type=float, default=604_800.0, help="how long labels are waited for [%(default)s]")
    add("--hold", default="10m", help="how long the rollout's first steps take [%(default)s]")
    add("--trial", default="1d", help="how long both versions stand side by side at most [%(default)s]")
    return parser


def _configure_log() -> None:
    """A line of JSON for each event, on stderr."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    main()
