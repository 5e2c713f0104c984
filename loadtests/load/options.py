"""What is typed after `sluice loadtest`, and the values that it means."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from loadtests.load.capacity import Search
from loadtests.load.objectives import read as objectives
from loadtests.load.records import Kind
from loadtests.load.shapes import SHAPES, Shape, recorded, steady
from loadtests.load.spec import SYNTHETIC, Place, Spec
from router.match import check_field_name
from router.policy import WHOLE
from serving.amounts import seconds_of, share_of

_Value = TypeVar("_Value")
_MOST_PROCESSES = 64
_MOST_CONNECTIONS = 10_000
_LARGEST = 2**31 - 1
_LONGEST_RECORD = 1_048_576


def parser() -> argparse.ArgumentParser:
    """Of a run."""
    made = argparse.ArgumentParser(
        prog="sluice loadtest",
        description="Load on a model: a report, and whether objectives were kept and every answer was in its place.",
        epilog="`sluice loadtest capacity MODEL` finds the highest rate that keeps the objectives. Exit codes: 0 good, "
        "1 not good, 2 wrong usage or no run. --config and --state-dir say which installation, as everywhere.",
    )
    made.add_argument("model", help="the model's name")
    made.add_argument("--rps", type=_rate, metavar="R", help="requests a second, sent when due, come what may")
    made.add_argument("--users", type=_whole(_MOST_CONNECTIONS), metavar="N", help="or users that wait for answers")
    made.add_argument("--for", dest="seconds", type=_read(_seconds), default=30, metavar="TIME", help="[30s]")
    made.add_argument("--shape", choices=sorted(SHAPES), default="steady", help="how the rate goes [steady]")
    made.add_argument("--recorded", type=Path, metavar="FILE", help="or as a record has it: a count on each line")
    made.add_argument(
        "--while-rollout", type=_whole(_LARGEST), metavar="VERSION", help="a rollout of it, moved under way, then back"
    )
    made.add_argument("--change-every", type=_read(_seconds), default=5, metavar="TIME", help="how often [5s]")
    made.add_argument("--slo", type=_read(objectives), default=(), metavar="LIMITS", help="p99=50ms,errors=0.1%%")
    made.add_argument("--report", type=Path, default=Path("loadtest.html"), metavar="FILE", help="[loadtest.html]")
    made.add_argument("--no-verify", dest="verify", action="store_false", help="do not look where answers were")
    made.add_argument("--json", action="store_true", help="print the report as JSON and nothing else")
    made.add_argument(
        "--version", type=_whole(_LARGEST), metavar="N", help="ask this version, whatever the policy says"
    )
    made.add_argument(
        "--feedback", type=_read(share_of), default=0, metavar="SHARE", help="of the answers get feedback"
    )
    _add_common(made)
    return made


def capacity_parser() -> argparse.ArgumentParser:
    """Of a search for the capacity."""
    made = argparse.ArgumentParser(
        prog="sluice loadtest capacity",
        description="The highest rate at which a version keeps the objectives, by trying.",
    )
    made.add_argument("model", help="the model's name")
    made.add_argument("--slo", type=_read(objectives), required=True, metavar="LIMITS", help="p99=50ms,errors=0.1%%")
    made.add_argument("--version", type=_whole(_LARGEST), action="append", metavar="N", help="[each that has traffic]")
    made.add_argument("--from", dest="first", type=_rate, default=50.0, metavar="R", help="the first rate [50]")
    made.add_argument("--most", type=_rate, default=20_000.0, metavar="R", help="the highest that is tried [20000]")
    made.add_argument("--each", dest="seconds", type=_read(_seconds), default=10, metavar="TIME", help="a try [10s]")
    made.add_argument("--record", action="store_true", help="as what each replica carries; policies keep to it")
    made.add_argument("--json", action="store_true", help="print JSON and nothing else")
    _add_common(made)
    return made


def spec_from(given: argparse.Namespace, shape: Shape, place: Place, folder: Path) -> Spec:
    """What was typed, as a run."""
    return Spec(
        model=given.model, place=place, shape=shape, mix=given.mix, folder=folder, data=str(given.data or ""),
        rows=given.rows, closed=bool(getattr(given, "users", None)), connections=given.connections,
        workers=given.processes, units=given.units, headers=dict(given.header or ()), synthetic=not given.as_traffic,
        timeout_s=given.timeout, seed=given.seed, feedback=getattr(given, "feedback", 0) / WHOLE,
    )  # fmt: skip


def checked(given: argparse.Namespace, fail: Callable[[str], Any]) -> Shape:
    """The shape of the run; what does not go together is refused."""
    if (given.rps is None) is (given.users is None):
        fail("give --rps (sent when due) or --users (who wait for their answers)")
    if given.feedback and not given.as_traffic:
        fail("--feedback goes with --as-traffic: there is no feedback on synthetic requests")
    if given.while_rollout and given.version:
        fail("--while-rollout moves the split, and --version passes it by: give one of them")
    peak = float(given.rps or given.users)
    try:
        if given.recorded is None:
            return SHAPES[given.shape](peak, float(given.seconds))
        return recorded(_counts(given.recorded), peak, float(given.seconds))
    except ValueError as error:
        return fail(f"this is no shape: {error}")  # type: ignore[no-any-return]
    except OSError as error:
        return fail(f"{given.recorded} cannot be read: {error.strerror}")  # type: ignore[no-any-return]


def checked_search(given: argparse.Namespace, fail: Callable[[str], Any]) -> Search:
    """The search that was typed, its tries' length looked at too; what cannot be is refused."""
    if given.first > given.most:
        fail("--from is above --most")
    try:
        steady(given.first, float(given.seconds))
        return Search(given.first, given.most)
    except ValueError as error:
        return fail(f"this is no search: {error}")  # type: ignore[no-any-return]


def place_from(given: argparse.Namespace) -> Place:
    """Where everything answers: from standard input where the command says so, else as typed."""
    if given.place_from_stdin:
        return Place(**json.load(sys.stdin))
    return Place(given.gateway.rstrip("/"), given.grpc, given.url.rstrip("/"))


def _add_common(made: argparse.ArgumentParser) -> None:
    made.add_argument("--mix", type=_read(_mix), default={Kind.JSON: 1.0}, metavar="json=80%,grpc=20%")
    made.add_argument("--data", type=Path, metavar="FILE", help="requests, a line of JSON each [drawn]")
    made.add_argument("--rows", type=_whole(65_536), default=1, metavar="N", help="of each drawn request [1]")
    made.add_argument("--connections", type=_whole(_MOST_CONNECTIONS), default=64, metavar="N", help="at most [64]")
    made.add_argument("--processes", type=_whole(_MOST_PROCESSES), default=1, metavar="N", help="that send [1]")
    made.add_argument("--units", type=_whole(_LARGEST), default=100_000, metavar="N", help="different ones [100000]")
    made.add_argument("-H", "--header", type=_read(_header), action="append", metavar="NAME:VALUE")
    made.add_argument("--as-traffic", action="store_true", help="do not mark requests synthetic: verdicts count them")
    made.add_argument("--timeout", type=_read(_seconds), default=10, metavar="TIME", help="of an answer [10s]")
    made.add_argument("--seed", type=int, default=1, help="of what is drawn [1]")
    made.add_argument("--gateway", default="http://127.0.0.1:8000", metavar="URL", help="[the one started here]")
    made.add_argument("--grpc", default="127.0.0.1:8001", metavar="HOST:PORT", help="the same over gRPC")
    made.add_argument("--url", default="http://127.0.0.1:8080", help="the control API [the one started here]")
    made.add_argument("--place-from-stdin", action="store_true", help=argparse.SUPPRESS)


def _read(how: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """A reader whose sentence is shown."""

    def read(text: str) -> _Value:
        try:
            return how(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def _seconds(text: str) -> int:
    seconds = seconds_of(text)
    if not seconds:
        raise ValueError(f"{text!r} is no time at all: give one such as 10s")
    return seconds


def _whole(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:12]) <= most:
            raise ValueError(f"{text!r} is no whole number from 1 to {most:,}")
        return int(text)

    return _read(read)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= 1_000_000:  # noqa: PLR2004 - beyond any machine
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: give requests a second, such as 500")
    return rate


def _mix(text: str) -> Mapping[Kind, float]:
    shares: dict[Kind, int] = {}
    for part in text.split(","):
        name, equals, share = (piece.strip() for piece in part.partition("="))
        if name.upper() not in Kind.__members__ or Kind[name.upper()] in shares:
            raise ValueError(f"{name!r} is none of json, binary and grpc, each named once")
        shares[Kind[name.upper()]] = share_of(share) if equals else WHOLE
    if sum(shares.values()) != WHOLE:
        raise ValueError(f"the shares in {text} do not sum to 100%")
    return {kind: share / WHOLE for kind, share in shares.items() if share}


def _header(text: str) -> tuple[str, str]:
    name, colon, value = (piece.strip() for piece in text.partition(":"))
    if not colon or not value.isascii() or not value.isprintable():
        raise ValueError(f"{text!r} is not of the form NAME:VALUE")
    if name.lower() == SYNTHETIC:
        raise ValueError(f"{name} is set by this command, whose report says so: leave it out with --as-traffic")
    check_field_name(name.lower())
    return name.lower(), value


def _counts(path: Path) -> Sequence[float]:
    with path.open("rb") as file:
        said = file.read(_LONGEST_RECORD + 1)
    if len(said) > _LONGEST_RECORD:
        raise ValueError(f"{path} is longer than {_LONGEST_RECORD:,} bytes")
    try:
        return [float(line) for line in said.decode().split()]
    except ValueError as error:
        raise ValueError(f"{path} takes a count on each line, and nothing else") from error
