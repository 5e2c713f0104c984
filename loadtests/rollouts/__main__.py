"""`python -m loadtests.rollouts`, which is `make proof-rollouts`: rollouts moved under load, every answer judged.

One installation with three gateways, each with a lease and an acknowledgement of its own. Shares are changed, rollouts
taken back, colours flipped while requests come at a constant rate; then a million answers are held against
`router.choose` while shares go on changing. Exit codes: 0 every figure is good, 1 one falls short, 2 the run could not
be made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import uvloop

from loadtests.installation import Failed, Installation, installation
from loadtests.rollouts.heard import Heard, Window, quantile
from loadtests.rollouts.operator import MODEL, Operator
from loadtests.steady import Steady
from loadtests.verify import Judged, Published, judge
from router.choose import Facts
from router.policy import WHOLE

GATEWAYS = 3
MOST_MS = 100.0
MOST_WINDOW_MS = 50.0
_UNITS = 100_000
_CHANGE_EVERY_S = 0.5
_FALLS_SHORT, _NOT_RUN = 1, 2
_SETTINGS = {"triton": {"port_range": 0}, "gateway": {"workers": GATEWAYS}}
_CANARY = {"candidate": 2, "canary": {"needs": "minima", "steps": ["1%", "100%"], "hold": "1d"}}
_HALF = {"candidate": 2, "canary": {"needs": "minima", "steps": ["50%"], "hold": "1d"}}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each is done."""

    changes: int
    rollbacks: int
    flips: int
    answers: int
    rate: float
    verify_rate: float


@dataclass(slots=True)
class Found:
    """What the run brings in; times in milliseconds."""

    changes_ms: list[float] = field(default_factory=list)
    rollbacks_ms: list[float] = field(default_factory=list)
    flips_ms: list[float] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    """One run; what to exit with."""
    sizes = _sizes(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-rollouts-") as place:
            folder = Path(place)
            with installation(folder, _SETTINGS) as running:
                return uvloop.run(_prove(running, sizes))
    except (Failed, httpx.HTTPError) as error:
        _say(f"error: {error or repr(error)}")
        return _NOT_RUN


async def _prove(running: Installation, sizes: Sizes) -> int:
    place = urlsplit(running.http_url)
    host, port = str(place.hostname), place.port or 80
    heard, found = Heard(), Found()
    async with running.client() as control:
        operator = Operator(control, running.folder)
        for version in (1, 2):
            await operator.bring(version)
        await operator.all_to(1)
        async with Steady(host, port, sizes.rate, _request, heard.hear):
            await _change(operator, heard, found, sizes.changes)
            await _take_back(operator, heard, found, sizes.rollbacks)
            await _flip(operator, heard, found, sizes.flips)
        async with Steady(host, port, sizes.verify_rate, _request, heard.hear):
            await _go_on(operator, heard, sizes.answers)
        judged = judge(heard.notes, Published(MODEL, await operator.ledger()), _facts)
    return _tell(heard, found, judged, sizes)


async def _change(operator: Operator, heard: Heard, found: Found, count: int) -> None:
    """Shares set by hand, one after the other."""
    rollout = await operator.start(_CANARY, {"running"})
    draw = random.Random(1)  # noqa: S311 (a share, no secret)
    for _ in range(count):
        answer = await operator.set_share(rollout, 2, draw.randrange(1, WHOLE))
        heard.acknowledged(answer["epoch"], _now_s())
        found.changes_ms.append(float(answer["took_ms"]))
    await operator.roll_back(rollout)
    _say(f"{count} changes: {heard.notes.failed} failed of {len(heard.notes):,} answers")


async def _take_back(operator: Operator, heard: Heard, found: Found, count: int) -> None:
    """Rollouts that get half of the traffic, and lose it."""
    for _ in range(count):
        rollout = await operator.start(_HALF, {"running"})
        answer = await operator.roll_back(rollout)
        heard.acknowledged(answer["epoch"], _now_s())
        found.rollbacks_ms.append(float(answer["took_ms"]))
    _say(f"{count} rollbacks: {heard.notes.failed} failed of {len(heard.notes):,} answers")


async def _flip(operator: Operator, heard: Heard, found: Found, count: int) -> None:
    """All traffic from one version to the other at once, there and back."""
    for number in range(count):
        new = 2 - number % 2
        plan = {"candidate": new, "blue_green": {"bake": "0s", "approval": True, "keep_warm": "2s"}}
        rollout = await operator.start(plan, {"waiting for approval"})
        window = heard.window = Window(new)
        answer = await operator.approve(rollout)
        heard.acknowledged(answer["epoch"], _now_s())
        await operator.comes_to(rollout, {"promoted"})
        heard.window = None
        found.flips_ms.append(window.width_s * 1_000)
    _say(f"{count} flips: {heard.notes.failed} failed of {len(heard.notes):,} answers")


async def _go_on(operator: Operator, heard: Heard, answers: int) -> None:
    """Changes until there are as many answers as are to be judged."""
    candidate = 3 - await operator.stable()  # the flips may have left either
    rollout = await operator.start({**_CANARY, "candidate": candidate}, {"running"})
    draw = random.Random(2)  # noqa: S311 (likewise)
    told = 0
    while len(heard.notes) < answers:
        answer = await operator.set_share(rollout, candidate, draw.randrange(1, WHOLE))
        heard.acknowledged(answer["epoch"], _now_s())
        await asyncio.sleep(_CHANGE_EVERY_S)
        if len(heard.notes) - told >= _UNITS:
            told = len(heard.notes)
            _say(f"{told:,} answers, {heard.notes.failed} failed")
    await operator.roll_back(rollout)


def _tell(heard: Heard, found: Found, judged: Judged, sizes: Sizes) -> int:
    change, back = quantile(found.changes_ms, 0.99), quantile(found.rollbacks_ms, 0.99)
    widest = max(found.flips_ms, default=float("nan"))
    total = judged.right + judged.wrong + judged.fallbacks
    figures = (
        (f"a change runs on {GATEWAYS} of {GATEWAYS} gateways, p50 of {sizes.changes}",
         f"{quantile(found.changes_ms, 0.5):.1f} ms", True),
        (f"the same, p99 (at most {MOST_MS:g} ms)", f"{change:.1f} ms", change <= MOST_MS),
        (f"a rollback, p50 of {sizes.rollbacks}", f"{quantile(found.rollbacks_ms, 0.5):.1f} ms", True),
        (f"the same, p99 (at most {MOST_MS:g} ms)", f"{back:.1f} ms", back <= MOST_MS),
        (f"a flip, both colours answer, median of {sizes.flips}", f"{quantile(found.flips_ms, 0.5):.1f} ms", True),
        (f"the same, longest (at most {MOST_WINDOW_MS:g} ms)", f"{widest:.1f} ms", widest <= MOST_WINDOW_MS),
        ("answers by an older epoch than all had acknowledged (none)", f"{heard.stale}", heard.stale == 0),
        ("requests that failed (none)", f"{heard.notes.failed}", heard.notes.failed == 0),
        (f"answers judged (at least {sizes.answers:,})", f"{total:,} from {judged.epochs} epochs",
         total >= sizes.answers),
        ("answers in the wrong place (none)", f"{judged.wrong}", judged.wrong == 0),
        ("answers that stable gave for a failed candidate (none)", f"{judged.fallbacks}", judged.fallbacks == 0),
    )  # fmt: skip
    for name, figure, good in figures:
        _say(f"{'ok  ' if good else 'FAIL'} {name}: {figure}")
    for words in (*heard.notes.told, *judged.told):
        _say(f"     {words}")
    return 0 if all(good for _, _, good in figures) else _FALLS_SHORT


def _sizes(argv: Sequence[str] | None) -> Sizes:
    parser = argparse.ArgumentParser(prog="python -m loadtests.rollouts", description="Rollouts moved under load.")
    parser.add_argument("--changes", type=int, default=200, help="shares set by hand [default: 200]")
    parser.add_argument("--rollbacks", type=int, default=100, help="rollouts taken back [default: 100]")
    parser.add_argument("--flips", type=int, default=10, help="blue-green flips [default: 10]")
    parser.add_argument("--answers", type=int, default=1_000_000, help="answers to be judged [default: 1000000]")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second while it is timed [default: 300]")
    parser.add_argument("--verify-rate", type=float, default=2_000.0, help="and after that [default: 2000]")
    given = parser.parse_args(argv)
    if min(given.changes, given.rollbacks, given.flips, given.answers) < 1 or min(given.rate, given.verify_rate) <= 0:
        parser.error("there is nothing to see without changes, rollbacks, flips and requests")
    return Sizes(given.changes, given.rollbacks, given.flips, given.answers, given.rate, given.verify_rate)


def _unit(number: int) -> str:
    return f"customer-{number % _UNITS}"


def _facts(number: int) -> Facts:
    return Facts(_unit(number).encode())


def _request(number: int) -> bytes:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number % 1000]}]})
    head = (
        f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nhost: sluice\r\ncontent-type: application/json\r\n"
        f"sluice-unit: {_unit(number)}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return f"{head}{body}".encode()


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - to the person who typed it


if __name__ == "__main__":
    sys.exit(main())
