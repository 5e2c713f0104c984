"""Runs the obvious Serve graph on a Ray of its own until SIGTERM: `python -m loadtests.compare.serve_peer`.

    python -m loadtests.compare.serve_peer PORT MODEL ADDRESS_1 ADDRESS_2

The Ray instance belongs to this process and ends with it, however it ends; any other on the machine is left alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import sys
from collections.abc import Sequence

_SHARE = 0.1
_CPUS = 4
"""What Ray is told it has: reservations are fractions, and the machine is shared with the load anyway."""


def main(arguments: Sequence[str]) -> None:
    """Runs until told to end."""
    port, model, first, second = arguments
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    # Ray listens on all interfaces and unpickles what it gets: without a token, anybody's.
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_USAGE_STATS_ENABLED="0")
    import ray  # noqa: PLC0415 (reads its environment when it is imported)
    from ray import serve  # noqa: PLC0415 (as above)

    from loadtests.compare.serve_graph import graph  # noqa: PLC0415 (as above)

    ray.init(
        "local", include_dashboard=False, num_cpus=_CPUS, namespace="compare", log_to_driver=False, logging_level=40
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
        serve.run(graph((first, second), model, _SHARE), name="obvious")
        for number in (signal.SIGTERM, signal.SIGINT):  # Ray has set handlers of its own
            signal.signal(number, lambda *_: sys.exit(0))
        while True:
            signal.pause()
    finally:
        with contextlib.suppress(Exception):
            serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main(sys.argv[1:])
