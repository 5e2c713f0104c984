"""`sluice feedback`: say what happened after requests, and see what was said."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.commands.common import AsJson, Config, Model, Url, client, print_json
from serving.errors import ControlError

_FINE = frozenset({"accepted", "duplicate"})
_MOST_SHOWN = 5

app = typer.Typer(help="Say what happened after requests, and see what was said.", no_args_is_help=True)


@app.command()
def send(
    metrics: Annotated[list[str] | None, typer.Argument(metavar="METRIC=VALUE...", help="Such as reward=1.")] = None,
    *,
    request_id: Annotated[str | None, typer.Option(help="The sluice-request-id of the answer.")] = None,
    label: Annotated[str | None, typer.Option(help="The class that was true.")] = None,
    predicted: Annotated[str | None, typer.Option(help="The class that was answered.")] = None,
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help="Many items, a line of JSON each; - is standard input.")
    ] = None,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Say what happened after a request, or after many: exit code 1 where something of it was not counted.

    Sent again, it counts once.
    """
    one = _typed(metrics or [], request_id, label, predicted)
    if (file is None) is (one is None):
        raise typer.BadParameter("name one request with --request-id and METRIC=VALUE or --label, or a --file")
    items: Iterable[dict[str, Any]] = [one] if one is not None else _lines(file or Path("-"))
    from serving.control.feedback_client import send as sent  # noqa: PLC0415 - brings httpx

    counts: Counter[str] = Counter()
    wrong: list[str] = []
    with client(url, config) as control:
        for answer in sent(control, items):
            counts.update(answer["counts"])
            wrong += [f"{one['request_id']}: {one['why']}" for one in answer["items"] if one["why"]]
    _tell(counts, wrong, as_json=as_json)
    if counts.keys() - _FINE:
        raise typer.Exit(1)


@app.command()
def show(model: Model, *, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show what was said of a model's answers, by version and metric."""
    from serving.control.feedback_client import feedback_of  # noqa: PLC0415

    with client(url, config) as control:
        answer = feedback_of(control, model)
    if as_json:
        print_json({**answer})
        return
    from serving.feedback_tables import show_feedback  # noqa: PLC0415 - slow to import

    show_feedback(answer)


def _typed(metrics: list[str], request_id: str | None, label: str | None, predicted: str | None) -> Any:  # noqa: ANN401 - an item, or None
    if request_id is None:
        if metrics or label or predicted:
            raise typer.BadParameter("say of which request: --request-id")
        return None
    item: dict[str, Any] = {"request_id": request_id}
    if metrics:
        item["metrics"] = dict(map(_metric, metrics))
    return {**item, **{name: said for name, said in (("label", label), ("predicted", predicted)) if said is not None}}


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no METRIC=VALUE, such as reward=1") from error


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """The items of a file, read while they are sent."""
    try:
        with sys.stdin if str(file) == "-" else file.open(encoding="utf-8") as text:
            for number, line in enumerate(text, start=1):
                if line.strip():
                    yield _item(line, f"{file}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise ControlError(
            f"{file} cannot be read: {error}", "name a file with a line of JSON for each item"
        ) from error


def _item(line: str, where: str) -> dict[str, Any]:
    try:
        item = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        item = None
    if not isinstance(item, dict):
        hint = 'write {"request_id": "…", "metrics": {"reward": 1}}; what came before that line was counted'
        raise ControlError(f"{where} is no item of feedback", hint)
    return item


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _tell(counts: Counter[str], wrong: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"counts": dict(counts), "wrong": wrong})
        return
    typer.echo(", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in sorted(counts.items())) or "nothing")
    for line in wrong[:_MOST_SHOWN]:
        typer.echo(f"error: {line}", err=True)
    if len(wrong) > _MOST_SHOWN:
        typer.echo(f"error: and {len(wrong) - _MOST_SHOWN:,} more", err=True)
