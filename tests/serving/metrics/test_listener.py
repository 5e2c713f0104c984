"""The metrics listener: who may read it, what it says, and how often it looks."""

from __future__ import annotations

from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from router.epoch import NO_HEAD
from serving.access.keys import KeyRecord, create
from serving.access.roles import Role
from serving.access.table import METRICS
from serving.control.api.gate import Door
from serving.control.doorman import Doorman
from serving.control.views import Status
from serving.metrics.listener import CountedLog, Figures, create_metrics_app, ends_s, routes_of
from tests.serving.certificates import Authority

STATUS = Status(NO_HEAD, (), (), (), (), reachable=True, warnings=())
KEY = create()


class Service:
    """How everything is; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def status(self) -> Status:
        """Always the same."""
        self.asked += 1
        return STATUS


def door(tmp_path: Path, *, required: bool = True) -> Door:
    """That lets in one key that operates."""
    record = KeyRecord(KEY.id, "prometheus", KEY.digest, Role.OPERATE)
    doorman = Doorman(required=required, own=[record])
    return Door(doorman, log=CountedLog(str(tmp_path / "security.log"), "metrics"))


def client(service: Service, at: Door) -> httpx.AsyncClient:
    """Of the listener."""
    assert isinstance(at.log, CountedLog)
    app = create_metrics_app(Figures(service, [at.log]), at)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8002")


async def test_figures_are_given_to_a_key_that_operates(tmp_path: Path) -> None:
    """In Prometheus' text form; without a key, or with a wrong one, 401, which is counted and written down."""
    at = door(tmp_path)
    async with client(Service(), at) as asking:
        assert (await asking.get("/metrics")).status_code == 401
        wrong = await asking.get("/metrics", headers={"authorization": f"Bearer {create().text}"})
        assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, 'Bearer realm="sluice"')
        assert (await asking.post("/metrics", headers={"authorization": f"Bearer {KEY.text}"})).status_code == 405
        assert (await asking.get("/other", headers={"authorization": f"Bearer {KEY.text}"})).status_code == 404
        good = await asking.get("/metrics", headers={"authorization": f"Bearer {KEY.text}"})
    assert good.status_code == 200
    assert good.headers["content-type"].startswith("text/plain; version=")
    found = {one.name: one for family in text_string_to_metric_families(good.text) for one in family.samples}
    assert found["sluice_store_reachable"].value == 1
    assert found["sluice_refused_attempts_total"].labels["door"] == "metrics"
    lines = (tmp_path / "security.log").read_text().splitlines()
    assert len(lines) == 2
    assert all('"door": "metrics"' in line for line in lines)


async def test_on_loopback_without_keys_it_is_open_to_this_machine(tmp_path: Path) -> None:
    """And not to a page whose name was made to point here."""
    async with client(Service(), door(tmp_path, required=False)) as asking:
        assert (await asking.get("/metrics")).status_code == 200
        assert (await asking.get("/metrics", headers={"host": "evil.example.com"})).status_code == 421


async def test_with_keys_every_name_will_do(tmp_path: Path) -> None:
    """Prometheus scrapes by whatever name it finds us under."""
    async with client(Service(), door(tmp_path)) as asking:
        shown = {"authorization": f"Bearer {KEY.text}", "host": "sluice.monitoring.svc:8002"}
        assert (await asking.get("/metrics", headers=shown)).status_code == 200


async def test_it_looks_once_a_second_at_most() -> None:
    """However many ask."""
    service, now = Service(), [0.0]
    figures = Figures(service, clock=lambda: now[0])
    for at in (0.0, 0.5, 0.99, 1.0, 1.5, 2.5):
        now[0] = at
        assert b"sluice_epoch" in await figures.text()
    assert service.asked == 3


async def test_the_end_of_the_certificate_is_read_from_its_file(tmp_path: Path) -> None:
    """While the file is being replaced, the figure is that of the certificate before, which clients are still shown."""
    files = Authority(tmp_path).issue()
    end = ends_s(files.certificate)
    assert end is not None
    assert [ends_s(None), ends_s(tmp_path / "missing"), ends_s(files.key)] == [None] * 3
    now = [0.0]
    figures = Figures(Service(), certificate=files.certificate, clock=lambda: now[0])
    first = await figures.text()
    files.certificate.write_text("half")
    now[0] = 10.0
    assert await figures.text() == first
    assert b"sluice_certificate_expiry_timestamp_seconds 3" in first


def test_every_path_has_a_row_in_the_table() -> None:
    """And the table has none that is not there; Starlette answers HEAD wherever it answers GET."""
    routes = routes_of(Figures(Service()))
    served = {f"{method} {route.path}" for route in routes for method in (route.methods or ())}
    assert {row for row in served if not row.startswith("HEAD ")} == set(METRICS)
