"""What a page of another site, or of another name, cannot do to the API on its reader's own machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.control.api import create_app
from serving.control.api.gate import Door
from serving.control.api.headers import NO_CONTENT_AT_ALL, _host_of
from serving.control.fake_store import FakeStore
from serving.control.keys import KeyService
from serving.control.service import ControlService
from tests.serving.control.operations import operations_of, path_of
from tests.serving.control.test_api import problem

LEDGER = "/api/v1/ledger"
KEYS = "/api/v1/keys"
OURS = "10.1.2.3"
"""The address that the connection comes in at."""


def client(base_url: str = f"http://{OURS}:8080", *hosts: str) -> httpx.AsyncClient:
    """Of an application on loopback's terms: nobody is asked for a key."""
    store = FakeStore()
    app = create_app(ControlService(store, {}), door=Door(hosts=frozenset(hosts)), key_service=KeyService(store))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """One that is reached at `OURS`, or by the name ml.internal."""
    async with client(f"http://{OURS}:8080", "ml.internal", "MIXED.case.", "[fd00::7]") as made:
        yield made


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "localhost:8080",
            "LOCALHOST",
            "localhost.",
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]",
        ),
        *("[::1]:8080", OURS, f"{OURS}:1234", "ml.internal", "ml.internal:8080", "ML.Internal.", "mixed.CASE"),
        "[fd00::7]:8080",
    ],
)
async def test_it_is_reached_by_its_own_names(http: httpx.AsyncClient, host: str) -> None:
    """Loopback, the address of the connection, and what is configured, with any port."""
    assert (await http.get(LEDGER, headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8080", "10.1.2.4", ""),
        *("localhost@evil.example", "evil.example#localhost", "localhost:80:80", "localhost:x", "localhost/", " "),
        *("evil.example?localhost", "0x7f.1", "2130706433", "[::2]", "[::1", "::1", "localhost\t", "localhost,evil"),
        *("ml.internal.evil.example", "xml.internal", "0.0.0.0", "[::]", "[fd00::8]"),  # noqa: S104 - nothing is bound
    ],
)
async def test_under_another_name_it_is_somebody_else(
    http: httpx.AsyncClient, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    """421, also for what needs no key: a name that was made to point here is an attack on whoever reads its page."""
    for path in (LEDGER, "/docs", "/healthz", "/nothing"):
        answer = await http.get(path, headers={"Host": host})
        assert "allowed_hosts" in problem(answer, 421)["hint"]
        assert "evil" not in answer.text
    assert '"kind": "host"' in caplog.text


async def test_two_hosts_are_none(http: httpx.AsyncClient) -> None:
    """Also if both are ours."""
    problem(await http.get(LEDGER, headers=[("Host", "localhost"), ("Host", "localhost")]), 421)


@given(st.binary(max_size=40))
def test_no_host_breaks_anything(said: bytes) -> None:
    """Whatever bytes it has: a name in lower case, or none."""
    found = _host_of({"headers": [(b"host", said)]})
    assert found is None or (found == found.lower() and not set(found) & set(" /@#?,\t"))


ELSEWHERE: list[dict[str, str]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://evil.example:8080"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": f"http://{OURS}:8081"},
    {"Origin": f"http://{OURS}"},
    {"Origin": f"file://{OURS}:8080"},
    {"Origin": f"http://{OURS}:8080.evil.example"},
    {"Origin": f"http://evil@{OURS}:8080"},
    {"Origin": "http://localhost:8080"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "Same-Origin"},
    {"Sec-Fetch-Site": ""},
    {"Origin": f"http://{OURS}:8080", "Sec-Fetch-Site": "same-site"},
]
OWN: list[dict[str, str]] = [
    {},
    {"Origin": f"http://{OURS}:8080"},
    {"Origin": f"HTTP://{OURS}:8080"},
    {"Origin": f"http://{OURS}:8080", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
]


@pytest.mark.parametrize("headers", ELSEWHERE)
async def test_a_page_of_another_site_changes_nothing(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """No operation that changes something is a browser's to send from elsewhere, with a body or without."""
    app: Any = http._transport.app  # type: ignore[attr-defined]  # httpx names no type for it
    changes = [one for one in sorted(operations_of(app)) if not one.startswith(("GET ", "HEAD "))]
    assert len(changes) > 3
    for operation in changes:
        method, path = path_of(operation)
        for content in (b"", b"{}"):
            problem(await http.request(method, path, headers=headers, content=content), 403)
    assert (await http.get(KEYS)).json()["keys"] == []


@pytest.mark.parametrize("headers", OWN)
async def test_programs_and_its_own_pages_may(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """A program sends neither header."""
    answer = await http.post(KEYS, json={"name": "bot", "role": "predict"}, params={"wait_s": 0}, headers=headers)
    assert answer.status_code == 201


async def test_an_origin_without_a_port_is_that_of_its_scheme() -> None:
    """Behind something that ends TLS, the browser's origin is https and our own is not: host and port count."""
    async with client("http://localhost") as http:
        for origin in ("http://localhost", "http://localhost:80", "https://localhost"):
            assert (await http.delete(f"{KEYS}/0123456789ab", headers={"Origin": origin})).status_code == 404
        problem(await http.delete(f"{KEYS}/0123456789ab", headers={"Origin": "http://localhost:8080"}), 403)


@pytest.mark.parametrize("headers", ELSEWHERE[:3])
async def test_reading_is_left_to_the_browser(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """No answer says that another origin may read it, and a question in advance is not answered by a yes."""
    answer = await http.get(LEDGER, headers=headers)
    asked = await http.options(KEYS, headers={**headers, "Access-Control-Request-Method": "POST"})
    assert (answer.status_code, asked.status_code) == (200, 405)
    for one in (answer, asked):
        assert not [name for name in one.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None])
async def test_a_body_says_that_it_is_json(kind: str | None) -> None:
    """The three types that a page may send without asking in advance, and none, are refused wherever a body is read."""
    async with client() as http:
        app: Any = http._transport.app  # type: ignore[attr-defined]  # as above
        headers = {} if kind is None else {"Content-Type": kind}
        tried = 0
        for path, operations in app.openapi()["paths"].items():
            for method, operation in operations.items():
                if "requestBody" in operation:
                    where = path_of(f"{method.upper()} {path}")[1]
                    answer = await http.request(method, where, content=b"{}", headers=headers)
                    assert answer.status_code == 415, (method, path)
                    tried += 1
        assert tried >= 2


@pytest.mark.parametrize("path", [LEDGER, "/nothing", "/healthz", "/openapi.json", "/docs", f"{KEYS}/x"])
async def test_every_answer_tells_a_browser_to_do_nothing_with_it(http: httpx.AsyncClient, path: str) -> None:
    """Whatever it is: found, refused, or the description."""
    headers = (await http.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert (headers["content-security-policy"] == NO_CONTENT_AT_ALL) == (path != "/docs")
    assert "strict-transport-security" not in headers


async def test_also_the_answer_to_what_broke(caplog: pytest.LogCaptureFixture) -> None:
    """A failure of ours is answered outside of everything that FastAPI wraps, and has them too."""
    store = FakeStore()
    service = ControlService(store, {})
    app = create_app(service)

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    service.history.newest = broken  # type: ignore[assignment, method-assign]
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.get(LEDGER)
    problem(answer, 500)
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_over_tls_a_browser_is_told_to_stay_there() -> None:
    """Under a name; on localhost it would forbid plain HTTP to everything else on the reader's machine."""
    async with client("https://ml.internal", "ml.internal") as http:
        assert (await http.get("/nothing")).headers["strict-transport-security"] == "max-age=31536000"
    async with client("https://localhost") as http:
        assert "strict-transport-security" not in (await http.get("/nothing")).headers


async def test_a_web_socket_is_closed_before_it_opens() -> None:
    """Nothing here speaks it, and no gate checks it."""
    sent: list[Any] = []

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's
        sent.append(message)

    async def receive() -> Any:  # noqa: ANN401 - ASGI's
        return {"type": "websocket.connect"}

    app = create_app(ControlService(FakeStore(), {}))
    await app({"type": "websocket", "path": LEDGER, "headers": [], "query_string": b""}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
