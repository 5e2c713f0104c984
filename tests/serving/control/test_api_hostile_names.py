"""Names that lead elsewhere, over the control API: refused in sentences, and nothing is written anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from serving.control.valkey import EmbeddedValkey
from tests.serving.control.workshops import Room, problem, room

NAMES = (
    "..", "%2e%2e", "..%2f..%2fetc", "%2fetc%2fpasswd", "..%5c..%5cetc", "a%2f..%2fb", "a%00b",
    "a%0d%0aX-Injected:%201",
    "%ff%fe", "%c0%ae%c0%ae", "a%20b", "-rf", "x" * 5_000, "%E2%80%AEgpj",
)  # fmt: skip


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all that is written comes to lie."""
    return tmp_path_factory.mktemp("hostile")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(valkey: EmbeddedValkey, folder: Path) -> AsyncIterator[Room]:
    """A registry with one version of digits: nothing of all this changes it, so one is enough."""
    async with room(valkey.url, folder) as made:
        assert await made.registered() == 1
        yield made


@pytest.mark.parametrize("name", NAMES)
async def test_no_model_is_called_what_leads_elsewhere(here: Room, folder: Path, name: str) -> None:
    """Registering, looking, naming: a 4xx that brings no header of its sender's, and no file anywhere."""
    artifact = here.artifact()
    before = _files(folder)
    at = f"/api/v1/registry/models/{name}"
    answers = [
        await here.http.post(f"{at}/versions", json={"source": str(artifact)}, params={"wait_s": 20}),
        await here.http.get(f"{at}/versions"),
        await here.http.get(f"{at}/versions/1/config"),
        await here.http.put(f"{at}/aliases/champion", json={"version": 1}),
        await here.http.get(f"/api/v1/models/{name}/policy"),
    ]
    assert {answer.status_code // 100 for answer in answers} == {4}, [answer.status_code for answer in answers]
    assert not any("x-injected" in answer.headers for answer in answers)
    assert _files(folder) == before


@pytest.mark.parametrize(
    "address",
    [
        "../secret", "/etc/passwd", "file:///etc/passwd", "http://169.254.169.254/latest/meta-data/", "s3://other/x",
        "memory://x", "zip://a::file:///etc/passwd", "file:///etc/../etc/shadow", "\0", "a\nb", "~root",
        "ssh://h/x", "",
    ],
)  # fmt: skip
async def test_no_artifact_comes_from_elsewhere(here: Room, address: str) -> None:
    """Nor is it told whether anything is there."""
    before, sent = here.digests(), {"source": address}
    answer = await here.http.post("/api/v1/registry/models/digits/versions", json=sent, params={"wait_s": 20})
    body = problem(answer, answer.status_code)
    assert answer.status_code in {400, 422}
    assert "root:" not in str(body)
    assert here.digests() == before


@pytest.mark.parametrize("alias", ["..", "%2e%2e%2fa", "a%2fb", "a%00", "a%0d%0ab", "x" * 5_000])
async def test_no_alias_leads_elsewhere(here: Room, alias: str) -> None:
    """Whatever it looks like to a router of paths."""
    answer = await here.http.put(f"/api/v1/registry/models/digits/aliases/{alias}", json={"version": 1})
    assert answer.status_code // 100 == 4


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
async def test_nobody_is_sent_to_another_path(here: Room, method: str) -> None:
    """A path that ends in a slash is none, and its neighbour without it is not recommended."""
    for path in ("/api/v1/registry/models/digits/aliases/%2e%2e%2f", "/api/v1/registry/models/digits/aliases/x/"):
        answer = await here.http.request(method, path, json={"version": 1})
        assert (answer.status_code // 100, "location" in answer.headers) == (4, False), answer
    assert (await here.http.get("/api/v1/status/")).status_code == 404
