"""The HTTP client that every JDK carries, as it comes: on each POST it offers h2c with an Upgrade."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conformance.servers import Pair
from tests.conformance.targets import Place

pytestmark = pytest.mark.e2e

_SOURCE = Path(__file__).with_name("StockClient.java")
_PATIENCE_S = 60.0
_TIMES = 50
_KINDS = 7
_SINGLE = 3


@pytest.fixture(scope="session")
def java() -> str:
    """The JDK's launcher; where there is none, the test fails and says what to do."""
    found = shutil.which("java")
    if found is None:
        pytest.fail("There is no java on PATH: run scripts/install-system-packages, which installs a JDK.")
    return found


def told(java: str, place: Place) -> list[str]:
    """What the client prints when it talks to that server."""
    command = [java, "-Xshare:auto", "-XX:TieredStopAtLevel=1", str(_SOURCE), place.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_stock_java_client_gets_tritons_answers(java: str, pair: Pair) -> None:
    """Every line that it prints of Triton it prints of the gateway: defaults and HTTP/1.1, JSON, binary and chunks."""
    alone = told(java, pair.triton)
    assert len(alone) == _KINDS * _TIMES + _SINGLE
    assert sum(line.startswith("stock") and " 200 " in line for line in alone) >= _TIMES
    assert told(java, pair.gateway) == alone
