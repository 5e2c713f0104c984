"""`sluice replay`: requests that were kept, sent again to any version, and its answers held against those of before."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.commands.common import AsJson, Config, Model, StateDir, settings_from
from serving.commands.given import pairs
from serving.commands.payloads import folder_of, print_rows
from serving.commands.rollout_common import read, seconds
from serving.errors import SluiceError

if TYPE_CHECKING:
    from router.agreement import OutputRule
    from serving.control.credentials import Credentials
    from serving.payloads.reading import KeptRow
    from serving.payloads.replaying import Pace, Summary
    from serving.payloads.sending import Gateway
    from serving.settings import Settings

_TELL_S = 10.0
_REACHED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what listens on all is reached here


def replay(
    model: Model,
    *,
    version: Annotated[int, typer.Option(min=1, help="The version that is to answer, whatever the policy says.")],
    from_: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="PATH", help="Files, or folders of them. (default: the log of this machine)"),
    ] = None,
    since: Annotated[str | None, typer.Option(help="Requests of that last time only, such as 1h.")] = None,
    kept: Annotated[
        list[str] | None, typer.Option(metavar="WHY", help="Only those kept as error, disagreement or sample.")
    ] = None,
    of_version: Annotated[int | None, typer.Option(min=1, help="Only what that version had answered.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Requests at most.")] = None,
    rate: Annotated[float, typer.Option(min=0, help="Requests a second; 0 is as fast as answers come.")] = 50.0,
    at_once: Annotated[int, typer.Option(min=1, max=256, help="Requests on their way at most.")] = 4,
    compare: Annotated[bool, typer.Option("--compare", help="Hold the answers against those that were kept.")] = False,
    rule: Annotated[
        list[str] | None,
        typer.Option(metavar="OUTPUT=HOW[:TOL]", help="How an output is compared. (default: by its type)"),
    ] = None,
    gateway: Annotated[str | None, typer.Option(help="A prediction port. (default: the one started here)")] = None,
    config: Config = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Send kept requests again to a version; exit code 1 where one fails, or is answered otherwise.

    They are marked synthetic, which asks for the right to operate, so that no verdict counts them.
    """
    rules = _rules(rule or [], compare=compare)
    chosen = _Chosen(model, seconds("--since", since), _reasons(kept or []), of_version, limit)
    settings = settings_from(config, state_dir)
    from serving.payloads.replaying import Pace  # noqa: PLC0415 - brings pyarrow

    pace = read("--rate", "", lambda _: Pace(rate, at_once, rules))
    paths = _paths(from_ or [folder_of(None, settings)], model)
    summary, marked = _run(chosen.rows(paths), _gateway(gateway, settings, model, version, at_once), pace)
    if not summary.sent:
        skipped = f" ({summary.rows} cannot be sent: redacted or not readable)" if summary.rows else ""
        raise SluiceError(f"No request of {model} was kept that could be sent{skipped}.", "See `sluice payloads list`.")
    if as_json:
        print_rows({**summary.as_dict(), "marked": marked})
    else:
        from serving.payload_tables import show_summary  # noqa: PLC0415

        show_summary(summary, marked=marked, compared=compare)
    if not summary.good:
        raise typer.Exit(1)


class _Chosen:
    """Which rows are sent."""

    def __init__(
        self, model: str, since_s: int | None, kept: frozenset[str], version: int | None, limit: int | None
    ) -> None:
        self._model = model
        self._from_s = None if since_s is None else time.time() - since_s
        self._kept = kept
        self._version = version
        self._limit = limit

    def rows(self, paths: list[Path]) -> "Iterator[KeptRow]":
        """The rows of these files that are to be sent, each request once."""
        from itertools import islice  # noqa: PLC0415

        from serving.payloads.reading import once_each, rows_in  # noqa: PLC0415 - brings pyarrow

        return islice(filter(self._fits, once_each(rows_in(paths))), self._limit)

    def _fits(self, row: "KeptRow") -> bool:
        about = row.about
        return (
            row.model == self._model
            and (self._from_s is None or about["at"].timestamp() >= self._from_s)
            and (not self._kept or about["kept"] in self._kept)
            and self._version in {None, about["answered"]}
        )


def _reasons(kept: list[str]) -> frozenset[str]:
    from serving.payloads.rules import Kept  # noqa: PLC0415

    if unknown := [one for one in kept if one not in set(Kept)]:
        raise typer.BadParameter(f"--kept {unknown[0]!r}: it is {', '.join(Kept)}")
    return frozenset(kept)


def _rules(typed: list[str], *, compare: bool) -> "dict[str, OutputRule] | None":
    if not compare:
        if typed:
            raise typer.BadParameter("--rule says how to compare: it goes with --compare")
        return None
    from router.agreement import rule_typed  # noqa: PLC0415

    return pairs("--rule", typed, rule_typed)


def _paths(given: list[Path], model: str) -> list[Path]:
    """The files that are named, and those in folders that are."""
    from serving.payloads.files import finished_in  # noqa: PLC0415

    found: list[Path] = []
    for path in given:
        if path.is_dir():
            found += [one.path for one in finished_in(path, model)] or sorted(path.glob("[!.]*.parquet"))
        else:
            found.append(path)
    return found


def _gateway(url: str | None, settings: "Settings", model: str, version: int, at_once: int) -> "Callable[[], Gateway]":
    from serving.control.credentials import from_environment  # noqa: PLC0415 - brings ssl
    from serving.payloads.sending import Gateway  # noqa: PLC0415 - brings httpx

    credentials: Credentials = from_environment(os.environ, lambda words: typer.echo(f"warning: {words}", err=True))
    if url is None:
        url, credentials = predictions_here(settings), credentials.trusting(settings.tls.certificate)
    return lambda: Gateway(url, model, version, credentials=credentials, at_once=at_once)


def predictions_here(settings: "Settings") -> str:
    """The prediction port that runs from this folder; else where the settings would put it."""
    from serving.run_folder import read_run_file  # noqa: PLC0415

    if (run := read_run_file(settings.state_dir)) and isinstance(run.get("http_url"), str):
        return str(run["http_url"])
    host = _REACHED.get(settings.listen.host, settings.listen.host)
    scheme = "https" if settings.tls.on else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.listen.http_port or 8000}"


def _run(rows: "Iterator[KeptRow]", connect: "Callable[[], Gateway]", pace: "Pace") -> "tuple[Summary, bool]":
    import asyncio  # noqa: PLC0415

    from serving.payloads.replaying import replay as replayed  # noqa: PLC0415

    async def run() -> "tuple[Summary, bool]":
        with _telling() as tell:
            async with connect() as gateway:
                return await replayed(rows, gateway.send, pace, tell), gateway.marked

    return asyncio.run(run())


@contextmanager
def _telling() -> "Iterator[Callable[[Summary], None]]":
    """How far it is, on stderr: one line that changes at a terminal, else a line every ten seconds."""
    from rich.console import Console  # noqa: PLC0415 - slow to import

    console = Console(stderr=True, highlight=False, emoji=False, markup=False)
    if sys.stderr.isatty():
        with console.status("replaying …") as status:
            yield lambda summary: status.update(f"{_so_far(summary)} …")
        return
    told_s = time.monotonic()

    def tell(summary: "Summary") -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= _TELL_S:
            told_s = time.monotonic()
            console.print(f"{_so_far(summary)} …", soft_wrap=True)

    yield tell


def _so_far(summary: "Summary") -> str:
    return f"{summary.sent:,} sent, {summary.failed.total():,} failed, {summary.differ:,} answered otherwise"
