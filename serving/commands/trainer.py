"""`sluice trainer`: finds out where everything is, and becomes `python -m serving.trainer` with the rest of the words.

A key comes from the environment, which the process keeps.
"""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from serving.commands.common import Config, StateDir, Url, client, settings_from

if TYPE_CHECKING:
    from pathlib import Path

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""What is typed is read over there, --help too."""

_MODULE = "serving.trainer"


def trainer(
    context: typer.Context,
    *,
    gateway: Annotated[str | None, typer.Option(help="A prediction port. (default: the one started here)")] = None,
    url: Url = None,
    config: Config = None,
    state_dir: StateDir = None,
) -> None:
    """Run the example trainer: told by webhook, it trains anew and starts a rollout of what is better.

    `sluice trainer --help` shows everything; docs/drift.md says how it is meant.
    """
    asked = context.args
    place = [] if {"-h", "--help"} & set(asked) else _place(gateway, url, config, state_dir)
    os.execv(sys.executable, [sys.executable, "-m", _MODULE, *place, *asked])  # noqa: S606 - our own, without a shell


def _place(gateway: str | None, url: str | None, config: "Path | None", state_dir: "Path | None") -> list[str]:
    from serving.commands.replaying import predictions_here  # noqa: PLC0415

    settings = settings_from(config, state_dir)
    with client(url, config) as control:
        control_url = control.url
    own = [] if gateway or settings.tls.certificate is None else ["--certificate", str(settings.tls.certificate)]
    return ["--control", control_url, "--gateway", gateway or predictions_here(settings), *own]
