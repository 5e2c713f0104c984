"""`python -m loadtests.flips`, which is `make proof-flips`: versions replaced under load, and nobody noticed.

Each flip registers a version, deploys it, gives it all traffic, drains the one before and stops it: one register, one
promote, as an operator would ask for them. Meanwhile requests come at a constant rate. Exit codes: 0 every answer was
right, 1 one was not, 2 the run could not be made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import uvloop

from loadtests.flips.observed import Observed
from loadtests.installation import Failed, Installation, finished, installation
from loadtests.steady import Steady

_MODEL = "numbered"
_ARTIFACT = Path(__file__).with_name("numbered")
_RATE = 550.0
_LEAST_RATE = 500.0
_OPERATION_WITHIN_S = 300.0
_WRONG, _NOT_RUN = 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """One run; what to exit with."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.flips", description="Versions flipped under load.")
    parser.add_argument("--flips", type=int, default=100, help="how many [default: 100]")
    parser.add_argument("--rate", type=float, default=_RATE, help=f"requests a second [default: {_RATE:g}]")
    arguments = parser.parse_args(argv)
    if arguments.flips < 1 or arguments.rate <= 0:
        parser.error("there is nothing to see without flips and requests")
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-flips-") as place:
            folder = Path(place)
            with installation(folder, {"triton": {"port_range": 0}}) as running:
                return uvloop.run(_flip(running, arguments.flips, arguments.rate))
    except (Failed, httpx.HTTPError) as error:
        _say(f"error: {error or repr(error)}")
        return _NOT_RUN


async def _flip(running: Installation, flips: int, rate: float) -> int:
    place = urlsplit(running.http_url)
    observed = Observed(frozenset({1}))
    loop = asyncio.get_running_loop()
    async with running.client() as control:
        await _bring(control, running.folder, 1)
        await _promote(control, 1)
        began_s = loop.time()
        async with Steady(str(place.hostname), place.port or 80, rate, _request, observed.hear):
            for version in range(2, flips + 2):
                at_s = time.monotonic()
                await _bring(control, running.folder, version)
                observed.may_answer(frozenset({version - 1, version}), loop.time())
                await _promote(control, version)
                observed.may_answer(frozenset({version}), loop.time())
                _say(
                    f"flip {version - 1} of {flips}: {time.monotonic() - at_s:.1f} s, {observed.requests:,} requests, "
                    f"{observed.failed} failed, {observed.wrong} wrong"
                )
                if observed.failed + observed.wrong:
                    break
            await asyncio.sleep(1.0)
            lasted_s = loop.time() - began_s
        left = await _ready_versions(control)
    return _tell(observed, flips, lasted_s, left)


def _tell(observed: Observed, flips: int, lasted_s: float, left: Sequence[int]) -> int:
    rate = observed.requests / lasted_s
    figures = (
        ("flips", f"{flips}", True),
        ("lasted", f"{lasted_s:.0f} s", True),
        ("requests", f"{observed.requests:,}", observed.requests > 0),
        ("rate (at least 500/s)", f"{rate:.0f}/s", rate >= _LEAST_RATE),
        ("failed (none)", f"{observed.failed}", observed.failed == 0),
        ("wrong version (none)", f"{observed.wrong}", observed.wrong == 0),
        ("latency p50, from the moment a request was due", f"{observed.quantile_s(0.5) * 1e3:.1f} ms", True),
        ("latency p99", f"{observed.quantile_s(0.99) * 1e3:.1f} ms", True),
        ("latency p99.9", f"{observed.quantile_s(0.999) * 1e3:.1f} ms", True),
        ("latency, longest", f"{observed.quantile_s(1.0) * 1e3:.1f} ms", True),
        ("versions that run at the end (the last)", f"{list(left)}", list(left) == [flips + 1]),
    )
    for name, figure, good in figures:
        _say(f"{'ok  ' if good else 'FAIL'} {name}: {figure}")
    for words in observed.told:
        _say(f"     {words}")
    return 0 if all(good for _, _, good in figures) else _WRONG


def _request(number: int) -> bytes:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number % 1000]}]})
    head = (
        f"POST /v2/models/{_MODEL}/infer HTTP/1.1\r\nhost: sluice\r\ncontent-type: application/json\r\n"
        f"sluice-unit: customer-{number % 10_000}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return f"{head}{body}".encode()


async def _bring(control: httpx.AsyncClient, folder: Path, version: int) -> None:
    """Registers the version: an artifact that says its number."""
    artifact = folder / "models" / str(version)
    (artifact / "1").mkdir(parents=True)
    shutil.copyfile(_ARTIFACT / "config.pbtxt", artifact / "config.pbtxt")
    shutil.copyfile(_ARTIFACT / "model.py", artifact / "1" / "model.py")
    (artifact / "1" / "number.txt").write_text(str(version))
    answer = await control.post(
        f"/registry/models/{_MODEL}/versions", json={"source": str(artifact), "number": version}
    )
    await finished(control, answer, _OPERATION_WITHIN_S)


async def _promote(control: httpx.AsyncClient, version: int) -> None:
    """Gives the version everything, and ends the one before."""
    answer = await control.post(f"/models/{_MODEL}/promote", json={"version": version})
    await finished(control, answer, _OPERATION_WITHIN_S)


async def _ready_versions(control: httpx.AsyncClient) -> list[int]:
    status = (await control.get("/status")).json()
    return sorted({one["version"] for one in status["endpoints"] if one["model"] == _MODEL})


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - to the person who typed it


if __name__ == "__main__":
    sys.exit(main())
