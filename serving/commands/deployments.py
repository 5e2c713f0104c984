"""`sluice models deploy`, `promote` and `remove`: versions get servers and traffic, and lose them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.commands.common import Model, Version, Why
from serving.commands.given import pairs, setting
from serving.commands.watching import waiting

if TYPE_CHECKING:
    from serving.commands.watching import Begins

Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="How it is run, such as replicas=2 or device=gpu."),
]


def add_to(app: typer.Typer) -> None:
    """Adds these commands to a group."""
    app.command()(deploy)
    app.command()(promote)
    app.command()(remove)


@waiting
def deploy(model: Model, version: Version, *, option: Options = None, why: Why = "") -> "Begins":
    """Start servers for a version, or change how they run; it gets no traffic by this."""
    body = {"options": pairs("--option", option or (), setting), "why": why}
    return lambda models: models.deploy(model, models.number(model, version), body)


@waiting
def promote(
    model: Model,
    version: Version,
    *,
    option: Options = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the servers of versions that lose their traffic.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Past what its servers are known to carry.")] = False,
    why: Why = "",
) -> "Begins":
    """Give a version all of the traffic, without dropping a request."""
    body: dict[str, Any] = {"keep": keep, "force": force, "why": why}
    if option:
        body["options"] = pairs("--option", option, setting)
    return lambda models: models.promote(model, {**body, "version": models.number(model, version)})


@waiting
def remove(model: Model, version: Version, *, why: Why = "") -> "Begins":
    """Drain a version's servers and take them away; refused while it gets traffic."""
    return lambda models: models.remove(model, models.number(model, version), {"why": why})
