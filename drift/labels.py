"""Labels when they come: does a version err more than it did at first? Only this layer sees a concept that drifts.

What feedback says of a version is a running total of answers that were labelled, and of those that were right. The
first `FIRST` labels say what error is usual; the tolerated rate is the upper end of what they leave open, and two
points more. What comes later is held against it look by look (T2 of the rollouts' evidence, Robbins 1970). Labels need
no baseline. They come when they come, so looks are those of the clock, and not of the rows.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from drift.alarm import Alarm, Chain, Evidence
from drift.baseline_form import reading
from drift.errors import Damaged
from drift.findings import Finding, Span
from drift.in_hand import InHand
from drift.progress import is_new, layer_status, rules_of
from drift.progress_form import alarm_of, alarm_plain
from drift.reading import Layer, Reading
from drift.settings import WatchSettings
from drift.status import LayerStatus, Status, layer_read
from router.evidence.one_arm import OneArm, RateTest, rate_interval

FIRST: Final = 500
"""Labels that say what error is usual."""
FEWEST: Final = 30
"""Labels of one look; fewer wait for the next one."""
TOLERANCE: Final = 0.02
"""Added to the error that the first labels leave open."""

_OPEN: Final = 0.001
_LOG: Final = logging.getLogger(__name__)
_SAID: Final = "said"
_NAME: Final = "error rate"


@dataclass(frozen=True, slots=True)
class Labelled:
    """Running totals of one version.

    Attributes:
        count: answers that were labelled.
        wrong: of those.
    """

    count: int = 0
    wrong: int = 0

    def since(self, before: Labelled) -> Labelled:
        """What has come since those."""
        return Labelled(self.count - before.count, self.wrong - before.wrong)

    @property
    def rate(self) -> float:
        """Of what was wrong; 0 without labels."""
        return self.wrong / self.count if self.count else 0.0


@dataclass(frozen=True)
class Standing:
    """How far it has come.

    Attributes:
        alarm: over the errors.
        first: the first labels, until there are `FIRST`.
        last: the totals at the last look that counted.
        looked_s: when that was; 0 before.
        layer: what it said; None before the first.
    """

    alarm: Alarm
    first: Labelled = Labelled()
    last: Labelled = Labelled()
    looked_s: float = 0.0
    layer: LayerStatus | None = None


class Graded(InHand[Standing]):
    """One version in hand, as `drift.watched` has its rows.

    Args:
        model: its name.
        version: its number.
        settings: of the model.
        fields: as they were stored.
    """

    def __init__(self, model: str, version: int, settings: WatchSettings, fields: Mapping[str, bytes]) -> None:
        self._model, self._version = model, version
        self._rules = rules_of(settings, 1)
        subject = f"labels of {model} version {version}"
        standing = _read(fields, subject) or Standing(Alarm(subject))
        super().__init__(standing, standing)

    def look(self, totals: Labelled, now_s: float) -> None:
        """Hears what came since the last look, if that is enough; totals that shrank begin anew.

        Args:
            totals: of this version.
            now_s: seconds since 1970.
        """
        standing = self.standing
        news = totals.since(standing.last)
        if news.count < 0 or not 0 <= news.wrong <= news.count:
            self.standing = Standing(Alarm(standing.alarm.subject), last=totals, looked_s=now_s)
        elif standing.first.count < FIRST and news.count:
            first = Labelled(standing.first.count + news.count, standing.first.wrong + news.wrong)
            self.standing = replace(standing, first=first, last=totals, looked_s=now_s)
        elif news.count >= FEWEST:
            self._hear(news, totals, now_s)

    def fields(self) -> dict[str, bytes]:
        """What is to be stored now; nothing where nothing changed."""
        return {} if self.is_stored else {_SAID: json.dumps(_plain(self.standing), sort_keys=True).encode()}

    def status(self, about: Status) -> Status:
        """What labels say beside what is known of the version's rows."""
        return self._status(about, "It errs more than at first.")

    def _hear(self, news: Labelled, totals: Labelled, now_s: float) -> None:
        before = self.standing
        limit = tolerated(before.first)
        log_e = float(OneArm(RateTest(limit)).add(news.wrong, news.count).log_e)
        alarm = before.alarm.heard(
            {Layer.LABELS: Evidence(log_e, worth=news.rate > limit)}, before.looked_s, now_s, self._rules
        )
        said = Reading(Layer.LABELS, _NAME, news.rate, limit, _p_value(log_e), log_e)
        layer = replace(layer_status(said, alarm, self._rules.log_threshold), heard_s=now_s)
        self.standing = replace(before, alarm=alarm, last=totals, looked_s=now_s, layer=layer)
        if is_new(alarm, before.alarm):
            span = Span(before.looked_s, now_s, news.count)
            self._findings.append(self._finding(said, alarm, span))

    def _finding(self, said: Reading, alarm: Alarm, span: Span) -> Finding:
        chain = alarm.chains.get(Layer.LABELS, Chain())
        return Finding(
            model=self._model,
            version=self._version,
            baseline="",
            layer=Layer.LABELS,
            statistic=said.statistic,
            value=said.value,
            threshold=said.threshold,
            p_value=said.p_value,
            log_sum=max(chain.log_sr, 0.0),
            log_alarm=self._rules.log_threshold,
            span=span,
            since_s=span.first_s if chain.since_s is None else chain.since_s,
            episode=alarm.episode.identity if alarm.episode else "",
        )


def tolerated(first: Labelled) -> float:
    """The error rate that is held for usual, above 0 and below 1."""
    _, upper = rate_interval(first.wrong, first.count, alpha=_OPEN, total_opt=float(FIRST))
    return min(upper + TOLERANCE, 0.999)


def _p_value(log_e: float) -> float:
    """The chance of so much evidence while nothing drifts (Markov)."""
    return math.exp(-max(log_e, 0.0))


def _plain(standing: Standing) -> dict[str, object]:
    return {
        "alarm": alarm_plain(standing.alarm),
        "first": dataclasses.astuple(standing.first),
        "last": dataclasses.astuple(standing.last),
        "looked_s": standing.looked_s,
        "layer": None if standing.layer is None else dataclasses.asdict(standing.layer),
    }


def _read(fields: Mapping[str, bytes], subject: str) -> Standing | None:
    """What was stored; None where nothing was, or nothing that can be read."""
    if not fields:
        return None
    try:
        with reading("record of labels"):
            plain = json.loads(fields[_SAID])
            layer = plain["layer"]
            told = None if layer is None else layer_read(layer)
            first, last = Labelled(*plain["first"]), Labelled(*plain["last"])
            return Standing(alarm_of(plain["alarm"]), first, last, float(plain["looked_s"]), told)
    except Damaged as error:
        _LOG.warning("%s are counted anew: %s", subject, error)
        return None
