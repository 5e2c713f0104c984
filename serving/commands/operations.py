"""`sluice operations`: long work, what it is doing, and its end on request."""

from typing import Annotated

import typer

from serving.commands.common import AsJson, Config, Url, models_at, print_json

app = typer.Typer(help="Show and cancel long work.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the operation.")]


@app.command("list")
def list_(
    model: Annotated[str | None, typer.Argument(help="Of this model only.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many at most.")] = 20,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List long work, newest first."""
    with models_at(url, config) as models:
        answer = models.operations(model, limit)
    if as_json:
        print_json({**answer})
        return
    from serving.tables import show_operations  # noqa: PLC0415 - slow to import, as all below

    show_operations(answer)


@app.command()
def show(operation: Id, *, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show what one is doing, what it has done, and how it ended."""
    with models_at(url, config) as models:
        answer = models.operation(operation)
    if as_json:
        print_json({**answer})
        return
    from serving.tables import show_operation  # noqa: PLC0415

    show_operation(answer)


@app.command()
def cancel(operation: Id, *, url: Url = None, config: Config = None) -> None:
    """Ask for its end; what it has done is taken back where that can be."""
    from serving.tables import show_operation  # noqa: PLC0415

    with models_at(url, config) as models:
        show_operation(models.cancel(operation))
