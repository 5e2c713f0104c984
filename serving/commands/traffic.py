"""`sluice traffic` and `sluice explain`: how a model's traffic is split, and which version a request would reach."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from serving.commands.common import AsJson, Config, Model, Url, client, print_json

if TYPE_CHECKING:
    from serving.control.client import ControlClient

MOST_BODY = 60 * 1024
"""Bytes of a request's body that can be asked about: the control API takes 64 KiB, and the rest has to fit as well."""

app = typer.Typer(help="Show and set how a model's traffic is split.", no_args_is_help=True)


@app.command("show")
def traffic_show(model: Model, *, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show how a model's traffic is split."""
    with client(url, config) as control:
        answer = control.policy(model)
    if as_json:
        print_json({**answer})
        return
    from serving.tables import show_policy  # noqa: PLC0415

    show_policy(answer)


@app.command("set")
def traffic_set(
    model: Model,
    shares: Annotated[list[str], typer.Argument(metavar="VERSION=SHARE...", help="Such as 2=50% or 3=0.01%.")],
    *,
    url: Url = None,
    config: Config = None,
    wait_s: Annotated[float, typer.Option(min=0, max=30, help="How long to wait for the gateways, seconds.")] = 2.0,
) -> None:
    """Set how a model's traffic is split. Versions not named get nothing; the stable one takes the rest."""
    from serving.shares import check_known, named, read_pair, with_shares  # noqa: PLC0415
    from serving.tables import show_change  # noqa: PLC0415

    try:
        pairs = [read_pair(text) for text in shares]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    wanted = named(pairs)
    with client(url, config) as control:
        now = control.policy(model)
        known = _versions(control, model)
        if known:
            check_known(model, wanted, known)
        change = control.set_policy(model, with_shares(now["policy"], wanted), revision=now["revision"], wait_s=wait_s)
    show_change(change)


def explain(
    model: Model,
    *,
    unit: Annotated[str | None, typer.Option(help="Who asks: what the unit header would say.")] = None,
    header: Annotated[list[str] | None, typer.Option("-H", "--header", metavar="NAME:VALUE")] = None,
    body: Annotated[
        Path | None, typer.Option(help="A file with its JSON body, which may name the unit; - is standard input.")
    ] = None,
    grpc: Annotated[bool, typer.Option("--grpc", help="It comes over gRPC: the headers are metadata.")] = False,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Say which version a request would reach, and why."""
    headers = [_header(text) for text in header or ()]
    asked = {} if body is None else {"body": _json_in(body)}
    with client(url, config) as control:
        if asked or grpc:
            answer = control.explain_request(model, {"unit": unit, "headers": dict(headers), "grpc": grpc, **asked})
        else:
            answer = control.explain(model, unit=unit, headers=headers)
    if as_json:
        print_json({**answer})
        return
    from serving.tables import show_explanation  # noqa: PLC0415

    show_explanation(model, answer)


def _versions(control: "ControlClient", model: str) -> set[int]:
    """The model's versions, so that a typing error is told before anything is changed; none where nobody knows."""
    models = {one["name"]: one for one in control.status()["models"]}
    return {one["version"] for one in models[model]["versions"]} if model in models else set()


def _json_in(path: Path) -> Any:  # noqa: ANN401 - a request's body is any JSON
    """What that file holds.

    Raises:
        BadParameter: there is no such file, it is too large, or no JSON.
    """
    import json  # noqa: PLC0415 - no other command here needs it

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is no JSON")

    try:
        with sys.stdin.buffer if str(path) == "-" else path.open("rb") as file:
            said = file.read(MOST_BODY + 1)
    except OSError as error:
        raise typer.BadParameter(f"--body: {path} cannot be read: {error.strerror}") from error
    if len(said) > MOST_BODY:
        raise typer.BadParameter(f"--body: {path} holds more than {MOST_BODY:,} bytes: leave out what names no unit")
    try:
        return json.loads(said, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        what = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise typer.BadParameter(f"--body: {path} holds no JSON: {what}") from error


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"{text!r} is not of the form NAME:VALUE")
    return name.strip(), value.strip()
