"""`sluice drain`: a machine is about to go, and its gateways are to finish what they have."""

from typing import Annotated

import typer

from serving.commands.common import Config, StateDir, settings_from

_GRACE_S = 5.0
"""Beyond the drain's own limits, for a loaded machine."""


def drain(
    *,
    local: Annotated[bool, typer.Option("--local", help="The gateways of this machine; there is no other choice.")],
    config: Config = None,
    state_dir: StateDir = None,
) -> None:
    """Have the gateways of this machine finish what they have, and return when they have. For a pod's preStop hook."""
    if not local:
        raise typer.BadParameter("a gateway is drained from its own machine: give --local")
    from serving.draining import drain_local  # noqa: PLC0415 - brings asyncio's streams

    settings = settings_from(config, state_dir)
    within_s = settings.gateway.drain_delay_s + settings.gateway.drain_limit_s + _GRACE_S
    count = drain_local(settings.state_dir, within_s)
    found = f"{count} gateway{'s' if count > 1 else ''} drained" if count else "no gateway runs"
    typer.echo(f"{found} here ({settings.state_dir})")
