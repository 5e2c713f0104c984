"""A keeper as a process: `python -m serving.keeping`, with its configuration as one line of JSON on stdin.

Its gateway's supervisor starts it and replaces it where it dies; nothing waits for it. SIGTERM and SIGINT end it: what
came by then is compared and told, and the payload log is finished.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from drift.sampling import SampleRules
from serving import logs
from serving.keeping.config import KeeperConfig
from serving.keeping.keeper import Keeper, Nowhere
from serving.keeping.lines import LineWriter
from serving.keeping.noting import Notes, Writer
from serving.keeping.reception import Reception
from serving.keeping.sampling import SampleSink
from serving.keeping.sinks import Sink
from serving.keeping.store import Store

_log = logging.getLogger(__name__)
_LAST_WRITE_S: Final = 0.5
_NO_EXPORTER: Final = (
    "no spans are sent (%s): tracing.endpoint is set, and this installation cannot send any; install "
    "sluice-gateway[tracing], or build the image with its exporter (docs/tracing.md)"
)


def main() -> None:
    """Runs until it is told to end."""
    logs.set_up("console")
    logs.set_up_structlog()
    try:
        config = KeeperConfig.from_json(sys.stdin.readline())
        logs.set_up(config.log_format)
        asyncio.run(run(config))
    except (ValueError, TypeError, OSError, ImportError) as error:
        sys.exit(f"the keeper cannot run: {error}")


async def run(config: KeeperConfig) -> None:
    """Runs until SIGTERM or SIGINT.

    Raises:
        OSError: the socket cannot be made, or the payload log's folder cannot.
        ValueError: the payload log's settings are none, or the rules of samples are not.
        ImportError: payloads are to be kept, and what writes them is not installed.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    notes = Notes(_writers(config))
    reception = Reception(Path(config.socket), config.max_queued, notes)
    name = f"{config.gateway} {secrets.token_hex(8)}"
    sinks = _sinks(config)
    if not config.redis_url:
        await Keeper(name, reception, Nowhere(), sinks, notes=notes).run(stop)
        return
    store = Store(config)
    try:
        async with _sampling(name, config.samples, store) as sampling:
            await Keeper(name, reception, store, [*sinks, *sampling], notes=notes).run(stop)
    finally:
        await store.close()


@asynccontextmanager
async def _sampling(keeper: str, rules: str, store: Store) -> AsyncIterator[Sequence[Sink]]:
    """The sink that samples, where anything is to be sampled; meanwhile it writes."""
    if not rules:
        yield ()
        return
    sink = SampleSink(keeper, SampleRules.from_json(rules), store)
    writing = asyncio.create_task(sink.run())
    try:
        yield (sink,)
    finally:
        writing.cancel()
        await asyncio.wait([writing], timeout=_LAST_WRITE_S)


def _writers(config: KeeperConfig) -> Sequence[Writer]:
    writers: list[Writer] = []
    if config.logs:
        writers.append(LineWriter(Path(config.logs), config.log_format, config.log_bytes))
    if config.traces:
        try:
            from serving.keeping.spans import SpanWriter  # noqa: PLC0415 - brings OpenTelemetry, an extra
        except ImportError as error:  # all else that a keeper does goes on
            _log.error(_NO_EXPORTER, error)
        else:
            writers.append(SpanWriter(config.traces, config.gateway))
    return writers


def _sinks(config: KeeperConfig) -> list[Sink]:
    if config.payloads is None:
        return []
    from serving.payloads.sink import sink_of  # noqa: PLC0415 - brings pyarrow, which few need

    sink = sink_of(json.dumps(dict(config.payloads)))
    return [] if sink is None else [sink]


if __name__ == "__main__":
    main()
