"""The sidecar as a process: `python -m drift FILE`, the file being what it is told (`drift.settings.Installation`).

SIGTERM and SIGINT end it: what it has read is stored, and its models are left to others. SIGKILL loses nothing either.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prometheus_client import start_http_server
from pydantic import ValidationError

from drift.errors import DriftError
from drift.keys import DriftKeys
from drift.metrics import registry_of
from drift.settings import Installation, SidecarSettings
from drift.sidecar import Sidecar
from drift.store import Store
from registry import store as registry_store
from registry.baselines import Baselines
from registry.errors import RegistryError

_LOG: Final = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Runs until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m drift", description="Watches sampled live traffic for drift.")
    parser.add_argument("file", type=Path, help="what it is told, as JSON: settings, and where the store is")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(run(_read(parser.parse_args(arguments).file)))
    except (DriftError, RegistryError, OSError) as error:
        sys.exit(f"the drift sidecar cannot run: {error}")


async def run(installation: Installation) -> None:
    """Runs until SIGTERM or SIGINT.

    Raises:
        DriftError, RegistryError: it can never run by these settings.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    url = installation.redis_url.get_secret_value()
    watched = installation.drift.of
    keys = DriftKeys(installation.namespace)
    store = Store(url, keys, captured_bytes=lambda model: watched(model).captured_bytes)
    registry = registry_store.connect(url, installation.namespace)
    sidecar = Sidecar(installation.drift, store, Baselines(registry))
    try:
        with _metrics(sidecar, installation.drift.sidecar):
            await sidecar.run(stop)
    finally:
        await store.close()
        await registry.close()


@contextmanager
def _metrics(sidecar: Sidecar, where: SidecarSettings) -> Iterator[None]:
    """Within it Prometheus is served; where the port is taken drift is watched all the same."""
    place = f"{where.metrics_host}:{where.metrics_port}"
    try:
        server, _ = start_http_server(where.metrics_port, where.metrics_host, registry_of(sidecar.metrics))
    except (OSError, UnicodeError) as error:
        _LOG.error("sidecar %s: there are no metrics, for %s cannot be listened at: %s", sidecar.id, place, error)
        yield
        return
    _LOG.info("sidecar %s: metrics at http://%s:%d/metrics", sidecar.id, where.metrics_host, server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _read(file: Path) -> Installation:
    """What it is told.

    Raises:
        OSError: the file cannot be read.
        DriftError: it says something else.
    """
    try:
        return Installation.model_validate_json(file.read_bytes())
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False))
        raise DriftError(f"{file} cannot be used: {'; '.join(lines)}.") from None


if __name__ == "__main__":
    main()
