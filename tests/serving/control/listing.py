"""`python -m tests.serving.control.listing`, which is `make proof-listing`: how long it takes to list 10,000 versions.

A control room in a process of its own on a real Valkey, asked over HTTP for all versions of one model in one page.
Exit codes: 0 the median is below its bound, 1 it is not.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from registry.service import Registry
from registry.store import connect
from serving.control.valkey import EmbeddedValkey
from tests.registry.made import contents
from tests.serving.control.room_processes import room_process

VERSIONS = 10_000
WITHIN_S = 0.2
_ASKED = 20
_NAMESPACE = "listing"


async def nobody(*_: object) -> tuple[str, ...]:
    """No version is in use."""
    return ()


async def fill(url: str) -> None:
    """Registers them, one after the other."""
    store = connect(url, _NAMESPACE)
    registry = Registry(store, nobody)
    try:
        for number in range(1, VERSIONS + 1):
            await registry.register("digits", contents(number), who="ada", number=number)
    finally:
        await store.close()


def main() -> int:
    """Fills, asks, and says how long it took; what to exit with."""
    with tempfile.TemporaryDirectory(prefix="sluice-listing-") as place:
        valkey = EmbeddedValkey(Path(place) / "valkey")
        valkey.start()
        try:
            asyncio.run(fill(valkey.url))
            with room_process(valkey.url, _NAMESPACE, Path(place) / "room") as address:
                took_s = sorted(_listed(address) for _ in range(_ASKED))
        finally:
            valkey.stop()
    median_s = statistics.median(took_s)
    good = median_s < WITHIN_S
    sys.stdout.write(
        f"{'ok  ' if good else 'FAIL'} {VERSIONS:,} versions in one page (under {WITHIN_S * 1e3:g} ms): median "
        f"{median_s * 1e3:.0f} ms, longest {took_s[-1] * 1e3:.0f} ms, {_ASKED} times\n"
    )
    return 0 if good else 1


def _listed(address: str) -> float:
    began_s = time.monotonic()
    answer = httpx.get(f"{address}/api/v1/registry/models/digits/versions", params={"limit": VERSIONS}, timeout=30)
    took_s = time.monotonic() - began_s
    assert len(answer.json()["versions"]) == VERSIONS
    return took_s


if __name__ == "__main__":
    sys.exit(main())
