"""`sluice drift webhooks`: deliveries that wait or were given up, one more try, and a test; `sluice drift window`."""

from pathlib import Path
from typing import Annotated

import typer

from serving.commands.common import AsJson, Config, Url, Why, client, print_json
from serving.errors import ControlError

app = typer.Typer(help="See what webhooks were told, tell it once more, and test them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="A delivery's webhook-id, as `list` shows it.")]


def add_to(drift: typer.Typer) -> None:
    """Adds these to `sluice drift`."""
    drift.add_typer(app, name="webhooks")
    drift.command()(window)


@app.command("list")
def list_(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many of each at most.")] = 20,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the webhooks of the settings, what waits, dead letters, and the last attempts."""
    from serving.control.webhooks_client import WebhooksClient  # noqa: PLC0415 - brings httpx, as all below

    with client(url, config) as control:
        seen = WebhooksClient(control).seen(limit)
    if as_json:
        print_json({**seen})
        return
    from serving.webhook_tables import show_deliveries  # noqa: PLC0415 - slow to import, as all below

    show_deliveries(seen)


@app.command()
def show(message: Id, *, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show one delivery: how it stands, its attempts, and the message."""
    from serving.control.webhooks_client import WebhooksClient  # noqa: PLC0415

    with client(url, config) as control:
        found = WebhooksClient(control).delivery(message)
    if as_json:
        print_json({**found})
        return
    from serving.webhook_tables import show_delivery  # noqa: PLC0415

    show_delivery(found)


@app.command()
def replay(
    message: Annotated[str | None, typer.Argument(metavar="ID", help="A delivery's webhook-id.")] = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="Every dead letter.")] = False,
    why: Why = "",
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Tell something once more, under the same webhook-id: a dead letter, or what was told or waits already."""
    if (message is None) is not all_:
        raise typer.BadParameter("name one delivery, or --all for every dead letter")
    from serving.control.webhooks_client import WebhooksClient  # noqa: PLC0415

    with client(url, config) as control:
        became = WebhooksClient(control).replay(message, why)
    if as_json:
        print_json({"became": became})
        return
    for one, what in became.items():
        typer.echo(f"{one}: {what}")
    if not became:
        typer.echo("There are no dead letters.")


@app.command("test")
def try_out(
    to: Annotated[str, typer.Argument(metavar="NAME|URL", help="One webhook of the settings. (default: all)")] = "",
    *,
    wait_s: Annotated[float, typer.Option(min=0, max=600, help="How long to wait for what comes of it.")] = 15.0,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Tell webhooks of the settings a test, and say what came of it: exit code 1 where one did not arrive."""
    from serving.control.webhooks_client import WebhooksClient  # noqa: PLC0415

    with client(url, config) as control:
        webhooks = WebhooksClient(control)
        found = webhooks.outcomes(webhooks.test(to), wait_s)
    if as_json:
        print_json({"outcomes": {**found}})
    else:
        from serving.webhook_tables import show_outcomes  # noqa: PLC0415

        show_outcomes(found)
    if any(one is None or one["failed"] for one in found.values()):
        raise typer.Exit(1)


def window(
    episode: Annotated[str, typer.Argument(metavar="EPISODE", help="Of a model's drift.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
    *,
    url: Url = None,
    config: Config = None,
) -> None:
    """Fetch the rows that an episode rests on, as Parquet: what clients sent, and were answered."""
    from serving.control.webhooks_client import WebhooksClient  # noqa: PLC0415

    with client(url, config) as control:
        rows = WebhooksClient(control).window(episode)
    try:
        file.touch(mode=0o600)
        file.write_bytes(rows)
    except OSError as error:
        raise ControlError(f"{file} cannot be written: {error.strerror}", "name another file") from error
    typer.echo(f"{len(rows):,} bytes written to {file}")
