"""`sluice models deploy`, `promote` and `remove`: versions get servers and traffic, and lose them."""

from typing import Annotated, Any

import typer

from serving.commands.common import AsJson, Config, Model, NoWait, Url, Version, Why, client
from serving.commands.given import pairs, setting
from serving.commands.watching import finish

Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="How it is run, such as replicas=2 or device=gpu."),
]


def add_to(app: typer.Typer) -> None:
    """Adds these commands to a group."""
    app.command()(deploy)
    app.command()(promote)
    app.command()(remove)


def deploy(
    model: Model,
    version: Version,
    *,
    option: Options = None,
    why: Why = "",
    no_wait: NoWait = False,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Start servers for a version, or change how they run; it gets no traffic by this."""
    body = {"options": pairs("--option", option or (), setting), "why": why}
    from serving.control.models_client import ModelsClient  # noqa: PLC0415 - brings httpx, as all below

    with client(url, config) as control:
        models = ModelsClient(control)
        begun = models.deploy(model, models.number(model, version), body)
        finish(models, begun, wait=not no_wait, as_json=as_json)


def promote(
    model: Model,
    version: Version,
    *,
    option: Options = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the servers of versions that lose their traffic.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Past what its servers are known to carry.")] = False,
    why: Why = "",
    no_wait: NoWait = False,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Give a version all of the traffic, without dropping a request."""
    body: dict[str, Any] = {"keep": keep, "force": force, "why": why}
    if option:
        body["options"] = pairs("--option", option, setting)
    from serving.control.models_client import ModelsClient  # noqa: PLC0415

    with client(url, config) as control:
        models = ModelsClient(control)
        begun = models.promote(model, {**body, "version": models.number(model, version)})
        finish(models, begun, wait=not no_wait, as_json=as_json)


def remove(
    model: Model,
    version: Version,
    *,
    why: Why = "",
    no_wait: NoWait = False,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Drain a version's servers and take them away; refused while it gets traffic."""
    from serving.control.models_client import ModelsClient  # noqa: PLC0415

    with client(url, config) as control:
        models = ModelsClient(control)
        begun = models.remove(model, models.number(model, version), {"why": why})
        finish(models, begun, wait=not no_wait, as_json=as_json)
