"""What Prometheus would have scraped of something real, and which of the alerts that sets off."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from scripts.make_metrics_files import RULES
from serving.control.rolling.service import Rollouts
from serving.control.service import ControlService
from serving.metrics.alerts import ALERTS
from serving.metrics.listener import Figures
from serving.metrics.panels import figures_in
from tests.serving.metrics.promtool import promtool
from tests.serving.metrics.recordings import FIRING, recorded

_ASKED_FOR = {name for one in ALERTS for name in figures_in(one.expr)}
_MOMENT = "_timestamp_"
_NAMED = re.compile(r"(?:# \w+ )?(\w+?)(?:_bucket|_count|_sum)?(?:{| )")


def _is_asked_for(line: str) -> bool:
    """Whether a line is about a figure of which some rule asks."""
    named = _NAMED.match(line)
    return named is not None and named[1] in _ASKED_FOR


class Scrapes:
    """A scrape a minute: each is recorded as if a minute lay between it and the next.

    promtool's clock begins at 0, so that figures which are moments count from the first scrape.
    """

    def __init__(self) -> None:
        self._began_s = time.time()
        self._minutes = 0
        self._series: dict[str, list[str]] = {}

    def note(self, text: str) -> None:
        """One more, in Prometheus' text form."""
        for family in text_string_to_metric_families("\n".join(filter(_is_asked_for, text.splitlines()))):
            for one in family.samples:
                if math.isfinite(one.value):
                    labels = ", ".join(f'{label}="{value}"' for label, value in one.labels.items())
                    values = self._series.setdefault(f"{one.name}{{{labels}}}", [])
                    value = one.value - self._began_s if _MOMENT in one.name else one.value
                    values += ["_"] * (self._minutes - len(values)) + [str(value)]
        self._minutes += 1

    def nobody_answers(self) -> None:
        """One that is in vain."""
        self._minutes += 1

    def sets_off(self, alerts: set[str], tmp_path: Path) -> str:
        """What promtool has against that these alerts, and no others, fire at the last scrape; empty where they do."""
        series = {
            name: " ".join(values + ["stale"][: self._minutes - len(values)]) for name, values in self._series.items()
        }
        fires = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)]
        asked = {"expr": FIRING, "eval_time": f"{self._minutes - 1}m", "exp_samples": fires}
        case = {"interval": "1m", "input_series": recorded(series), "promql_expr_test": [asked]}
        file = tmp_path / "tests.yaml"
        file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [case]}))
        return promtool("test", "rules", file)


class Recording(Scrapes):
    """Of a control room, and of whoever else is a target.

    Args:
        service: of the control room.
        rollouts: in it.
        beside: what others answer, in Prometheus' text form.
        more: of the figures.
    """

    def __init__(
        self,
        service: ControlService,
        rollouts: Rollouts | None = None,
        *,
        beside: Callable[[], bytes] = bytes,
        **more: Any,  # noqa: ANN401 - of `Figures`
    ) -> None:
        super().__init__()
        self._figures = Figures(service, rollouts=rollouts, clock=partial(next, count(step=2)), **more)
        self._beside = beside
        self.newest = b""

    async def scrape(self, times: int = 1) -> None:
        """One more, or several."""
        for _ in range(times):
            self.newest = await self._figures.text()
            self.note((self.newest + self._beside()).decode())
