"""A control room in a process of its own: `python -m tests.serving.control.room_process URL NAMESPACE FOLDER`.

Prints the address of its API, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

import uvicorn

from serving.sockets import open_listener
from tests.serving.control.workshops import room


async def main(url: str, namespace: str, folder: Path) -> None:
    """Serves until nobody holds the other end of standard input any more."""
    async with room(url, folder, namespace=namespace) as here:
        listener = open_listener("127.0.0.1", 0, "The room's listener", "none")
        server = uvicorn.Server(uvicorn.Config(here.app, log_config=None, lifespan="off"))
        gc.collect()
        gc.freeze()  # as serving.graph has it
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
