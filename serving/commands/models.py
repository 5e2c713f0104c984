"""`sluice models`: which versions there are, what they are made of, and what they are called."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.commands import deployments
from serving.commands.common import AsJson, Config, Model, Url, Version, Why, models_at, print_json
from serving.commands.given import figure, json_file, pairs, place, scalar, setting
from serving.commands.watching import waiting

if TYPE_CHECKING:
    from serving.commands.watching import Begins
    from serving.control.models_client import ModelsAnswer, VersionsAnswer

app = typer.Typer(help="Register models, and say which versions serve.", no_args_is_help=True)
deployments.add_to(app)

Number = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="Its number.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="How it is run, such as max_batch_size=0.")
]
Force = Annotated[bool, typer.Option("--force", help="Even if the stable version's clients cannot be served.")]


@app.command()
@waiting
def register(
    model: Model,
    path: Annotated[str, typer.Argument(help="A folder or file, or an address, below one of registry.sources.")],
    *,
    number: Annotated[int | None, typer.Option(min=1, help="What it is to be called. (default: the next)")] = None,
    kind: Annotated[str | None, typer.Option(help="What it is. (default: told from the files)")] = None,
    signature: Annotated[Path | None, typer.Option(help="JSON of what it takes and gives.")] = None,
    example: Annotated[Path | None, typer.Option(help="JSON of a request that it answers.")] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", metavar="NAME=NUMBER")] = None,
    param: Annotated[list[str] | None, typer.Option("--param", metavar="NAME=VALUE")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="NAME=TEXT")] = None,
    parent: Annotated[int | None, typer.Option(min=1, help="The version that it was made from.")] = None,
    data_fingerprint: Annotated[str | None, typer.Option(help="Of what it was trained on.")] = None,
    data_rows: Annotated[int | None, typer.Option(min=0, help="How many rows those were.")] = None,
    code_revision: Annotated[str, typer.Option(help="Of the code that made it, such as a commit.")] = "",
    baseline_digest: Annotated[str | None, typer.Option(help="SHA-256 of what drift is measured against.")] = None,
    expected_digest: Annotated[
        str | None, typer.Option(help="SHA-256 that the artifact must have, or it is refused.")
    ] = None,
    serves: Annotated[
        int | None, typer.Option(min=1, help="The version whose clients it must serve. (default: the stable one)")
    ] = None,
    force: Force = False,
    option: Options = None,
    why: Why = "",
) -> "Begins":
    """Register a version: copy it in, try it on a real server, and record it.

    TorchScript files and Triton directories run their author's code when they are tried.
    """
    if (data_fingerprint is None) != (data_rows is None):
        raise typer.BadParameter("--data-fingerprint and --data-rows go together")
    body: dict[str, Any] = {
        "source": place(path),
        "number": number,
        "kind": kind,
        "digest": expected_digest,
        "signature": json_file("--signature", signature),
        "example": json_file("--example", example),
        "metrics": pairs("--metric", metric or (), figure),
        "parameters": pairs("--param", param or (), scalar),
        "tags": pairs("--tag", tag or (), str),
        "parent": parent,
        "data": None if data_fingerprint is None else {"fingerprint": data_fingerprint, "rows": data_rows},
        "code_revision": code_revision,
        "baseline_digest": baseline_digest,
        "serves": serves,
        "force": force,
        "options": pairs("--option", option or (), setting),
        "why": why,
    }
    return lambda models: models.register(model, body)


@app.command("import")
@waiting
def import_(
    words: Annotated[list[str], typer.Argument(metavar="[MODEL] mlflow:/NAME/VERSION", help="What to bring over.")],
    *,
    number: Annotated[
        int | None, typer.Option(min=1, help="What it is to be called. (default: its number there)")
    ] = None,
    force: Force = False,
    why: Why = "",
) -> "Begins":
    """Register a version from the MLflow server that the settings name (registry.mlflow_uri).

    Without MODEL it keeps the name that it has there, without --number the number.
    """
    *named, source = words
    if len(named) > 1 or not source.startswith("mlflow:/"):
        raise typer.BadParameter(f"{' '.join(words)!r} is not of the form [MODEL] mlflow:/NAME/VERSION")
    model = named[0] if named else source.removeprefix("mlflow:/").strip("/").partition("/")[0].partition("@")[0]
    body = {"source": source, "number": number, "force": force, "why": why}
    return lambda models: models.bring_over(model, body)


@app.command("list")
def list_(
    model: Annotated[str | None, typer.Argument(help="Whose versions. (default: the models themselves)")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the models, or a model's versions, the newest first."""
    with models_at(url, config) as models:
        if model is None:
            _list_models(models.models(limit), as_json=as_json)
        else:
            _list_versions(models.versions(model, limit), as_json=as_json)


@app.command()
def show(
    model: Model,
    version: Version,
    *,
    as_config: Annotated[bool, typer.Option("--config-pbtxt", help="Print what Triton is told instead.")] = False,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show what a version is made of, or with --config-pbtxt the configuration that it is served with.

    One that nobody has deployed is shown with the defaults. --config names the settings file, as everywhere.
    """
    with models_at(url, config) as models:
        if as_config:
            typer.echo(models.config(model, version), nl=False)
            return
        answer = models.version(model, version)
    if as_json:
        print_json({**answer})
        return
    from serving.model_tables import show_version  # noqa: PLC0415

    show_version(answer)


@app.command()
def diff(
    model: Model,
    before: Annotated[str, typer.Argument(help="A number, or an alias.")],
    after: Annotated[str, typer.Argument(help="A number, or an alias.")],
    *,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions, and whether the second can serve the first one's clients."""
    with models_at(url, config) as models:
        answer = models.diff(model, before, after)
    if as_json:
        print_json({**answer})
        return
    from serving.model_tables import show_diff  # noqa: PLC0415

    show_diff(answer)


@app.command()
@waiting
def verify(model: Model, version: Version, *, option: Options = None, why: Why = "") -> "Begins":
    """Read a version's artifact again and try it; one that was restored is verified after it."""
    body = {"options": pairs("--option", option or (), setting), "why": why}
    return lambda models: models.verify(model, models.number(model, version), body)


@app.command()
def alias(
    model: Model,
    name: Annotated[str, typer.Argument(help="The alias.")],
    version: Annotated[int | None, typer.Argument(min=1, help="What it is to stand for.")] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Take it away.")] = False,
    why: Why = "",
    url: Url = None,
    config: Config = None,
) -> None:
    """Put an alias on a version, wherever it was before, or take it away."""
    if (version is None) != remove:
        raise typer.BadParameter("give the version that it is to stand for, or --remove")
    with models_at(url, config) as models:
        if version is None:
            models.unpoint(model, name, why)
            typer.echo(f"{model} has no alias {name} any more")
        else:
            models.point(model, name, version, why)
            typer.echo(f"{name} of {model} is version {version}")


@app.command()
def archive(model: Model, version: Number, *, why: Why = "", url: Url = None, config: Config = None) -> None:
    """Put a version away; refused while anybody uses it."""
    _move(model, version, "archive", why, url, config)


@app.command()
def restore(model: Model, version: Number, *, why: Why = "", url: Url = None, config: Config = None) -> None:
    """Take a version back that was put away; verify it before it serves."""
    _move(model, version, "restore", why, url, config)


@app.command()
def delete(model: Model, version: Number, *, why: Why = "", url: Url = None, config: Config = None) -> None:
    """Delete a version that was put away; its number is never used again."""
    with models_at(url, config) as models:
        models.delete(model, version, why)
    typer.echo(f"{model} version {version} is gone")


def _list_models(answer: "ModelsAnswer", *, as_json: bool) -> None:
    if as_json:
        print_json({**answer})
        return
    from serving.model_tables import show_models  # noqa: PLC0415 - slow to import, as all below

    show_models(answer)


def _list_versions(answer: "VersionsAnswer", *, as_json: bool) -> None:
    if as_json:
        print_json({**answer})
        return
    from serving.model_tables import show_versions  # noqa: PLC0415

    show_versions(answer)


def _move(model: str, version: int, event: str, why: str, url: str | None, config: Path | None) -> None:  # noqa: PLR0917
    with models_at(url, config) as models:
        state = models.move(model, version, event, why)["state"]
    typer.echo(f"{model} version {version} is {state}")
