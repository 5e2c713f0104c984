"""A control room in a process of its own: `python -m tests.serving.control.room_process URL NAMESPACE FOLDER`.

Prints the address of its API and what may be shown to it as JSON (`tests.serving.access.credentials`), and ends when
its standard input does. Nothing need be shown, unless a fourth argument says `required`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from pathlib import Path

import uvicorn

from serving.control import conductor, flips
from serving.control.api.listening import config_of
from serving.sockets import open_listener
from tests.serving.access.credentials import credentials
from tests.serving.control.workshops import room


async def main(url: str, namespace: str, folder: Path, *, required: bool) -> None:
    """Serves until nobody holds the other end of standard input any more."""
    flips._NO_GATEWAYS_S = 0.1  # there is none, and none comes
    conductor._TICK_S = 0.1
    known = credentials() if required else None
    async with room(url, folder, namespace=namespace, credentials=known) as here:
        listener = open_listener("127.0.0.1", 0, "The room's listener", "none")
        server = uvicorn.Server(config_of(here.app))
        gc.collect()
        gc.freeze()  # as serving.graph has it
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
        sys.stdout.write(f"{json.dumps(dict(known.shown) if known else {})}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), required=sys.argv[4:] == ["required"]))
