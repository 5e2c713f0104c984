"""Two processes of one installation register at the same time: no number is given twice, no bytes are left over."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import httpx
import pytest

from serving.control.valkey import EmbeddedValkey
from tests.serving.control.room_processes import room_process
from tests.serving.control.workshops import BASE, SIGNATURE


@pytest.fixture(scope="module")
def addresses(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """Two processes on one Valkey and one folder."""
    folder, namespace = tmp_path_factory.mktemp("rooms"), f"test-{secrets.token_hex(6)}"
    with room_process(valkey.url, namespace, folder) as one, room_process(valkey.url, namespace, folder) as other:
        yield one, other, folder


def artifact(folder: Path, name: str) -> Path:
    """Something to register."""
    source = folder / "sources" / name
    source.mkdir(parents=True)
    (source / "model.pt2").write_bytes(name.encode())
    (source / "signature.json").write_text(json.dumps(SIGNATURE))
    return source


def at_once(asked: list[tuple[str, dict[str, object]]]) -> list[httpx.Response]:
    """Registers all of these at the same moment, each from a thread of its own."""
    together = Barrier(len(asked))

    def register(address: str, body: dict[str, object]) -> httpx.Response:
        with httpx.Client(timeout=90, trust_env=False) as http:
            together.wait(20)
            return http.post(f"{address}{BASE}/versions", json=body, params={"wait_s": 30})

    with ThreadPoolExecutor(len(asked)) as threads:
        return list(threads.map(register, *zip(*asked, strict=True)))


@pytest.mark.parametrize("number", [10, 20, 30])
def test_of_two_processes_that_want_one_number_one_wins(addresses: tuple[str, str, Path], number: int) -> None:
    """201 and 409; the winner's bytes are there, the loser's are not."""
    *both, folder = addresses
    before = {path.name for path in (folder / "artifacts").iterdir()}
    sources = [artifact(folder, f"{number}-{index}") for index in range(2)]
    said = at_once(
        [(one, {"source": str(source), "number": number}) for one, source in zip(both, sources, strict=True)]
    )
    assert sorted(one.status_code for one in said) == [201, 409], [one.text for one in said]
    [won] = [one.json()["result"] for one in said if one.status_code == 201]
    [lost] = [one.json() for one in said if one.status_code == 409]
    assert f"digits version {number} was registered by" in lost["detail"]
    after = {path.name for path in (folder / "artifacts").iterdir() if not path.name.startswith(".")}
    assert after - before == {won["digest"]}


def test_eight_registrations_at_once_get_eight_numbers(addresses: tuple[str, str, Path]) -> None:
    """Without a number, each gets one of its own, whichever process it asks."""
    *both, folder = addresses
    sources = [artifact(folder, f"free-{index}") for index in range(8)]
    said = at_once([(both[index % 2], {"source": str(source)}) for index, source in enumerate(sources)])
    assert [one.status_code for one in said] == [201] * 8, [one.text for one in said]
    assert len({one.json()["result"]["version"] for one in said}) == 8
