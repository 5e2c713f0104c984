"""The loops of a control room in a process of their own: `python -m ... URL NAMESPACE FOLDER LEASE_S`.

Nobody asks it anything; it says `conducting` once its loops run, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from serving.control.conductor import Conductor
from serving.control.fake_pools import FakePools
from serving.control.rolling.rolling import Rolling
from serving.control.service import ControlService
from serving.control.store import connect
from serving.control.tasks import end
from serving.endpoint import Endpoint


async def main(url: str, namespace: str, folder: Path, lease_s: float) -> None:
    """Conducts until nobody holds the other end of standard input any more."""
    store = connect(url, namespace)
    service = ControlService(store, {}, ledger_folder=folder)
    rolling = Rolling(store, service.traffic, folder=folder, lease_s=lease_s)
    rolling.loops._leadership._holder = str(os.getpid())  # so that a test can tell who leads
    conductor = Conductor(
        service, store, FakePools(store, at_once=True), (),
        probe=_answers, lease_s=lease_s, duties=(("walking rollouts", rolling.loops.run),),
    )  # fmt: skip
    running = asyncio.create_task(conductor.run())
    sys.stdout.write("conducting\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await end([running])
    await store.close()


async def _answers(_endpoint: Endpoint) -> bool:
    return True


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s conductor %(process)d %(message)s")
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])))
