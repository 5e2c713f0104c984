"""The metrics listener: who may read it, what it says, and how often it looks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from router.epoch import NO_HEAD
from router.policy import Policy, Shadow
from router.rollout import Rollout, start
from router.strategies import shadow
from serving.access.keys import KeyRecord, create
from serving.access.roles import Role
from serving.access.table import METRICS
from serving.control.api.gate import Door
from serving.control.doorman import Doorman
from serving.control.errors import StoreUnavailable
from serving.control.rolling.kept import Over
from serving.control.rolling.records import Record
from serving.control.rolling.spreads import Figures as Rollbacks
from serving.control.rolling.spreads import Spread
from serving.control.views import Status
from serving.diffs import Diff
from serving.metrics.listener import CountedLog, Figures, create_metrics_app, ends_s, routes_of
from serving.payloads.counts import write_counts
from tests.serving.certificates import Authority
from tests.serving.metrics.facts import FULL

STATUS = Status(NO_HEAD, (), (), (), (), reachable=True, warnings=())
KEY = create()


class Service:
    """How everything is; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.propagated = Spread().plus(0.03)

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


class Rollouts:
    """One in progress, of whose copies something was found; the store may be away."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.propagated = Spread()

    def figures(self) -> Rollbacks:
        """Two steps of their own."""
        return Rollbacks(stepped=Spread().plus(0.01).plus(0.02))

    async def active(self) -> tuple[Record, ...]:
        """The one."""
        if self.away:
            raise StoreUnavailable("Redis does not answer.")
        return (replace(FULL.rollouts[0], rollout=shadowed()),)

    async def differences(self, rollout_id: str) -> tuple[Record, tuple[Diff, ...]]:
        """Of two keepers, added up already."""
        assert rollout_id == FULL.rollouts[0].id
        return FULL.rollouts[0], (Diff(FULL.pairs[0], 0.0, 1.0),)


def shadowed() -> Rollout:
    """A rollout whose candidate gets copies."""
    return start(FULL.rollouts[0].id, shadow(Shadow(2, 100_000), duration_s=600), Policy(1), 0.0)


async def test_rollouts_their_copies_and_the_payload_log_are_looked_at(tmp_path: Path) -> None:
    """Where they are known; a store that is away, or a log that is not there, is no figure and no error."""
    write_counts(tmp_path, "boot", FULL.payloads, 1.0)
    said = await Figures(Service(), rollouts=Rollouts(), payloads=tmp_path).text()
    assert b'sluice_rollout_phase{model="digits",phase="warming"} 1.0' in said
    assert b'sluice_shadow_pairs_total{found="disagreed",model="digits",version="2"} 1.0' in said
    assert b'sluice_payloads_kept_total{reason="sample"} 9.0' in said
    assert b'sluice_change_propagation_seconds_count{changed="policy"} 1.0' in said
    assert b'sluice_change_propagation_seconds_count{changed="rollout"} 0.0' in said
    assert b'sluice_change_propagation_seconds_count{changed="step"} 2.0' in said
    away = await Figures(Service(), rollouts=Rollouts(away=True), payloads=tmp_path / "missing").text()
    assert not any(name in away for name in (b"sluice_rollout_phase{", b"sluice_payloads_kept_total{"))


async def test_deliveries_to_webhooks_are_asked_for() -> None:
    """A store that is away is no figure and no error."""

    class Webhooks:
        away = False

        async def over(self) -> Over:
            if self.away:
                raise StoreUnavailable("The store is away.")
            return Over(delivered=3, dead=1)

    webhooks = Webhooks()
    said = await Figures(Service(), webhooks=webhooks).text()
    assert b'sluice_webhook_deliveries_total{result="dead"} 1.0' in said
    assert b'sluice_webhook_deliveries_total{result="dropped"} 0.0' in said
    webhooks.away = True
    assert b"sluice_webhook_deliveries_total{" not in await Figures(Service(), webhooks=webhooks).text()


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
