"""`sluice drift`: what versions are held against, how they are watched, and what was found."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.commands import drift_baselines, drift_episodes, drift_webhooks
from serving.commands.common import AsJson, Config, Url, client, print_json
from serving.errors import ControlError

if TYPE_CHECKING:
    from serving.control.drift_client import FindingAnswer

app = typer.Typer(help="See whether live data is still what models were trained on.", no_args_is_help=True)
drift_baselines.add_to(app)
drift_episodes.add_to(app)
drift_webhooks.add_to(app)

OfModel = Annotated[str | None, typer.Argument(metavar="MODEL", help="Of one model only.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]


@app.command()
def status(model: OfModel = None, *, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show how each version is watched: rows, windows, evidence, and whether it drifts."""
    from serving.control.drift_client import DriftClient  # noqa: PLC0415 - brings httpx

    with client(url, config) as control:
        drift = DriftClient(control)
        found = [one for one in drift.statuses()["versions"] if model in (None, one["model"])]
        kept = [one for one in drift.baselines()["baselines"] if model in (None, one["model"])]
    if as_json:
        print_json({"versions": found, "baselines": kept})
        return
    from serving.drift_tables import show_statuses  # noqa: PLC0415 - slow to import, as all below

    show_statuses(found, kept)


@app.command()
def findings(
    model: OfModel = None, *, limit: Limit = 20, url: Url = None, config: Config = None, as_json: AsJson = False
) -> None:
    """List what was found, the newest first."""
    from serving.control.drift_client import DriftClient  # noqa: PLC0415

    with client(url, config) as control:
        answer = DriftClient(control).findings(model, limit)
    if as_json:
        print_json({**answer})
        return
    from serving.drift_tables import show_findings  # noqa: PLC0415

    show_findings(answer["findings"])


@app.command()
def watch(model: OfModel = None, *, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Print findings as they come, a line each, until Ctrl-C."""
    import time  # noqa: PLC0415

    from serving.control.drift_client import DriftClient  # noqa: PLC0415

    with client(url, config) as control:
        try:
            for one in DriftClient(control).coming(model, time.sleep):
                _print_line(one, as_json=as_json)
        except KeyboardInterrupt:
            return


@app.command()
def explain(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Whose version.")] = None,
    version: Annotated[int | None, typer.Argument(metavar="VERSION", min=1, help="Its number.")] = None,
    *,
    finding: Annotated[str | None, typer.Option(help="One finding, by its id.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report of the version with histograms.")
    ] = None,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Say what moved, by how much, since when and where: of a version's newest finding, or of the one named."""
    if (finding is None) == (model is None or version is None) or (finding is not None and html is not None):
        raise typer.BadParameter("name MODEL and VERSION, or one finding with --finding; --html goes with a version")
    from serving.control.drift_client import DriftClient  # noqa: PLC0415

    with client(url, config) as control:
        drift = DriftClient(control)
        if finding is not None:
            _tell_finding(drift.finding(finding), as_json=as_json)
            return
        seen = drift.seen(str(model), version or 1, 20 if html else 5)
    if html is not None:
        from serving.drift_report import page  # noqa: PLC0415

        _write(html, page(seen))
    if as_json:
        print_json({**seen})
    elif html is not None:
        typer.echo(f"written to {html}")
    else:
        from serving.drift_tables import show_seen  # noqa: PLC0415

        show_seen(seen)


def _tell_finding(one: "FindingAnswer", *, as_json: bool) -> None:
    if as_json:
        print_json({**one})
        return
    from serving.drift_tables import show_finding  # noqa: PLC0415

    show_finding(one)


def _print_line(one: "FindingAnswer", *, as_json: bool) -> None:
    if as_json:
        import json  # noqa: PLC0415

        typer.echo(json.dumps(one))
        return
    from serving.drift_tables import line_of  # noqa: PLC0415

    typer.echo(line_of(one))


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ControlError(f"{file} cannot be written: {error.strerror}", "name another file") from error
