"""From samples to webhooks: a real sidecar, Valkey, control room and HTTP server; only gateways are not here."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from drift.keys import DriftKeys
from drift.settings import DriftSettings, Installation
from serving.control.client import ControlClient
from serving.control.drift_client import DriftClient, StatusAnswer
from serving.control.drift_hooks import standing_hooks
from serving.control.valkey import EmbeddedValkey
from serving.sidecar import Sidecar
from tests.drift.live import Keeper, moved, request, settings_of
from tests.drift.samples import baseline
from tests.e2e.receiver import HOOK, Receiver, receiver
from tests.e2e.system import until
from tests.serving.rolling_room import rolling_room
from tests.valkey import valkey

__all__ = ["valkey"]

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CALM = 12


@pytest.fixture
def namespace() -> str:
    """Of this test's own."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def heard() -> Iterator[Receiver]:
    """Where webhooks arrive."""
    with receiver() as listening:
        yield listening


@pytest.fixture
def drift(valkey: EmbeddedValkey, namespace: str, heard: Receiver, tmp_path: Path) -> Iterator[DriftClient]:
    """The control API of a room that tells that server of findings."""
    secret = tmp_path / "drift.secret"
    secret.write_text(SECRET)
    said = {"url": f"{heard.origin}{HOOK}", "secret_file": str(secret), "events": ["drift.finding"]}
    hooks = standing_hooks(DriftSettings.model_validate({"webhooks": [said]}))
    with (
        rolling_room(valkey.url, namespace, hooks=hooks) as room,
        ControlClient(room.address) as control,
    ):
        yield DriftClient(control)


@pytest.fixture
def sidecar(valkey: EmbeddedValkey, namespace: str, tmp_path: Path) -> Iterator[Sidecar]:
    """One that is not started yet."""
    drift = settings_of(sidecar={"metrics_port": 0, "lease_s": 1})
    told = Installation(redis_url=SecretStr(valkey.url), namespace=namespace, drift=drift)
    made = Sidecar(tmp_path / "drift", told)
    yield made
    made.stop()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_planted_shift_is_told_once_and_calm_is_not(
    valkey: EmbeddedValkey, namespace: str, drift: DriftClient, sidecar: Sidecar, heard: Receiver
) -> None:
    """Named feature first, one episode; each finding arrives once, signed, though the sidecar is killed meanwhile."""
    keeper = Keeper(valkey.url, DriftKeys(namespace))
    drift.keep("demo", 1, baseline().blob, "")
    sidecar.start()

    def heard_windows(count: int) -> StatusAnswer | None:
        sidecar.ensure_running()
        found = drift.statuses()["versions"]
        return found[0] if found and found[0]["baseline"] and found[0]["windows"] >= count else None

    keeper.write(request(0, 999.0))
    until(lambda: heard_windows(0), "the sidecar to know the baseline", 30)
    for nth in range(1, 3 * CALM):
        keeper.write(request(nth, 1_000.0 + nth))
    calm = until(lambda: heard_windows(CALM - 1), "calm windows", 30)
    assert calm is not None
    assert not calm["drifting"]
    assert drift.findings(None, 10)["findings"] == []
    assert heard.at(HOOK) == []

    pid = sidecar.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    for nth in range(3 * CALM, 9 * CALM):
        keeper.write(moved(nth, 1_000.0 + nth))
    until(lambda: heard_windows(3 * CALM - 1), "windows that moved", 30)
    found = drift.findings("demo", 10)["findings"]
    assert {one["features"][0]["name"] for one in found if one["layer"] == "univariate"} == {"x[2]"}
    assert len({one["episode"] for one in found}) == 1
    assert len({one["layer"] for one in found}) == len(found)
    until(lambda: len(heard.at(HOOK)) == len(found), "webhooks", 30)
    told = heard.at(HOOK)
    assert all(one.signed_with(SECRET) and one.said["type"] == "drift.finding" for one in told)
    assert {one.said["data"]["finding"] for one in told} == {one["id"] for one in found}
    (status,) = drift.statuses()["versions"]
    assert status["drifting"]
    assert status["episode"] is not None
    assert status["episode"]["id"] == found[0]["episode"]
