"""`sluice payloads`: what the payload log on this machine holds.

It reads the files themselves, and asks no gateway: who may read them may read this.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.commands.common import AsJson, Config, StateDir, settings_from
from serving.errors import SluiceError

if TYPE_CHECKING:
    from serving.payloads.reading import KeptRow
    from serving.settings import Settings

app = typer.Typer(help="Look at the requests and answers that were kept.", no_args_is_help=True)

Folder = Annotated[
    Path | None, typer.Option("--folder", help="The log's folder. (default: payloads.folder of the settings)")
]
_USUAL_ROWS = 5
_MOST_ROWS = 10_000


@app.command("list")
def list_files(
    model: Annotated[str | None, typer.Argument(help="One model's files only.")] = None,
    *,
    files: Annotated[bool, typer.Option("--files", help="Name every file.")] = False,
    folder: Folder = None,
    config: Config = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Show which files there are: rows, sizes, from when to when; and what was dropped."""
    settings = settings_from(config, state_dir)
    from serving.payload_tables import listed, show_listed  # noqa: PLC0415 - brings pyarrow
    from serving.payloads.counts import read_counts  # noqa: PLC0415
    from serving.payloads.reading import told_in  # noqa: PLC0415

    place = folder_of(folder, settings)
    said = listed(told_in(place, model), read_counts(place), place)
    if as_json:
        print_rows({**said, "enabled": settings.payloads.enabled})
        return
    show_listed(said, enabled=settings.payloads.enabled, every=files)


@app.command()
def show(
    file: Annotated[Path | None, typer.Argument(help="A file, as `sluice payloads list --files` names it.")] = None,
    *,
    request_id: Annotated[str | None, typer.Option(help="The rows of this request, wherever they are.")] = None,
    rows: Annotated[int, typer.Option(min=1, max=_MOST_ROWS, help="How many at most.")] = _USUAL_ROWS,
    folder: Folder = None,
    config: Config = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Show rows: what a request held and what was answered. They are what clients sent."""
    if (file is None) == (request_id is None):
        raise typer.BadParameter("give a file, or the id of a request with --request-id")
    from itertools import islice  # noqa: PLC0415

    from serving.payload_tables import row_plain, show_row  # noqa: PLC0415 - brings pyarrow
    from serving.payloads.reading import NoPayloads, rows_in, rows_with  # noqa: PLC0415

    if file is not None:
        found: list[KeptRow] = list(islice(rows_in([file]), rows))
    else:
        place = folder_of(folder, settings_from(config, state_dir))
        found = list(islice(rows_with(str(request_id), place), rows))
        if not found:
            hint = "Most requests are not kept: all failures and disagreements are, and a share of the rest."
            raise NoPayloads(f"No file in {place} has this request.", hint)
    if as_json:
        print_rows({"rows": [row_plain(row) for row in found]})
        return
    for row in found:
        show_row(row)


def folder_of(folder: Path | None, settings: "Settings") -> Path:
    """The log's folder: the one that was typed, else that of the settings.

    Raises:
        SluiceError: this user may not read it; it would look empty.
    """
    place = folder.absolute() if folder else settings.payloads.folder_in(settings.state_dir)
    try:
        readable = not place.exists() or os.access(place, os.R_OK | os.X_OK)
    except PermissionError:
        readable = False
    if not readable:
        raise SluiceError(f"{place} may not be read by this user.", "It belongs to the user that the gateway runs as.")
    return place


def print_rows(said: dict[str, object]) -> None:
    """JSON in ASCII alone: values are what strangers sent, and terminals obey some of it."""
    import json  # noqa: PLC0415

    typer.echo(json.dumps(said, indent=2, allow_nan=False))
