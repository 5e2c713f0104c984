"""Over HTTP: how much a model is asked, and how its versions answer."""

from __future__ import annotations

import httpx

from serving.control.api import create_app
from serving.control.fake_store import FakeStore
from serving.control.rates_client import LatelyAnswer, RatesAnswer
from serving.control.service import ControlService
from serving.figures import Figures
from serving.leases import GatewayLease

RATES = "/api/v1/models/digits/rates"


async def test_a_models_rate_and_how_each_version_answers() -> None:
    """Over the last seconds, as the command that plans by it reads it; of another model nothing."""
    service = ControlService(FakeStore(), {"digits": {1: "pool"}})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(service)), base_url="http://sluice") as http:
        empty = (await http.get(RATES)).json()
        assert empty == {"model": "digits", "requests_per_s": None, "versions": {}}
        assert empty.keys() == RatesAnswer.__required_keys__
        for second in (0, 2):
            figures = {"digits/1": Figures(100 * second, second, {4_096: 100 * second})}
            lease = GatewayLease("g", "b", 7, "h", 8000, 1, "d", requests={"digits/1": 101 * second}, figures=figures)
            service.rates = service.rates.with_totals([lease], float(second)).with_figures([lease], float(second))
        told = (await http.get(RATES)).json()
        assert told["requests_per_s"] == 101.0
        assert told["versions"]["1"]["requests_per_s"] == 100.0
        assert told["versions"]["1"]["error_share"] == 0.01
        assert told["versions"]["1"].keys() == LatelyAnswer.__required_keys__
        assert (await http.get("/api/v1/models/other/rates")).json()["versions"] == {}
