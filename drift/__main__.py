"""The sidecar as a process: `python -m drift FILE`, the file being what it is told (`drift.settings.Installation`).

SIGTERM and SIGINT end it: what it has read is stored, and its models are left to others. SIGKILL loses nothing either.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prometheus_client import start_http_server
from pydantic import ValidationError

from drift.asking import Encoders
from drift.errors import DriftError
from drift.keys import DriftKeys
from drift.metrics import registry_of
from drift.settings import Installation, SidecarSettings
from drift.sidecar import Sidecar
from drift.store import Store
from drift.wire import Server, key_in
from registry import store as registry_store
from registry.baselines import Baselines
from registry.errors import RegistryError

_LOG: Final = logging.getLogger(__name__)
REDIS_URL: Final = "SLUICE_REDIS__URL"
"""The variable with the store's address, where the file says none."""


def main(arguments: list[str] | None = None) -> None:
    """Runs until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m drift", description="Watches sampled live traffic for drift.")
    parser.add_argument("file", type=Path, help="what it is told, as JSON: settings, and where the store is")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(run(_read(parser.parse_args(arguments).file, os.environ)))
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
    url = installation.store_url
    watched = installation.drift.of
    keys = DriftKeys(installation.namespace)
    store = Store(url, keys, captured_bytes=lambda model: watched(model).captured_bytes)
    registry = registry_store.connect(url, installation.namespace)
    timeout_s = installation.drift.sidecar.encoder_timeout_s
    try:
        async with Encoders(servers_of(installation), timeout_s=timeout_s) as encoders:
            sidecar = Sidecar(installation.drift, store, Baselines(registry), encodes=encoders)
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


def servers_of(installation: Installation) -> dict[str, Server]:
    """Where encoders are asked, by name; the gateway under the empty one, if anybody knows where it is.

    Raises:
        DriftError: a file cannot be read, or holds no key.
    """
    drift, gateway = installation.drift, installation.gateway
    said = drift.sidecar
    for file in (said.gateway_key_file, *(one.key_file for one in drift.encoders)):
        if file is not None:
            key_in(file)
    found = {
        one.name: Server(one.url, ca_file=one.ca_file or "", key_file=one.key_file or "") for one in drift.encoders
    }  # fmt: skip
    if said.gateway_url is not None:
        found[""] = Server(
            said.gateway_url, ca_file=said.gateway_ca_file or "", is_ours=True, key_file=said.gateway_key_file or ""
        )  # fmt: skip
    elif gateway is not None:
        key = "" if gateway.key is None else gateway.key.get_secret_value()
        found[""] = Server(gateway.url, key, gateway.certificate or "", is_ours=True)
    return found


def _read(file: Path, environ: Mapping[str, str]) -> Installation:
    """What it is told.

    Raises:
        OSError: the file cannot be read.
        DriftError: it says something else.
    """
    try:
        said = json.loads(file.read_bytes())
        if isinstance(said, dict) and REDIS_URL in environ:
            said = {"redis_url": environ[REDIS_URL], **said}
        return Installation.model_validate(said)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DriftError(f"{file} cannot be used: it is no JSON ({error}).") from None
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False))
        raise DriftError(f"{file} cannot be used: {'; '.join(lines)}.") from None


if __name__ == "__main__":
    main()
