"""An installation about which everything is known: every figure but one has a series of it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

from drift.attribution import Action, Attribution, Cause
from drift.incidents import Incident
from router.epoch import Head
from router.phases import Phase
from router.policy import Arm, Policy
from router.rollout import start
from router.strategies import CanaryStep, canary
from router.verdicts.values import Values
from serving.control.feedback_store import Heard
from serving.control.rolling.kept import Over
from serving.control.rolling.records import Record
from serving.control.rolling.spreads import Figures as Rollbacks
from serving.control.rolling.spreads import Odds, Spread, Weight
from serving.control.views import ModelView, PoolView, Status, VersionView
from serving.figures import Figures
from serving.leases import GatewayLease
from serving.metrics.figure import Facts
from serving.pair_totals import PairTotals
from serving.payloads.counts import Counts
from serving.stream_counts import BOUNDS_S, StreamCounts

FIRST = (0, 2, *[0] * (len(BOUNDS_S) - 2), 1)
GAPS = (7, *[0] * len(BOUNDS_S))
STREAMS = StreamCounts("digits/2", "first", {"complete": 2, "error": 1}, 10, 1, FIRST, 80_004_000, GAPS, 1_500)
TOOK = Figures(4, 1, {4_096: 2, 65_536: 1})
BEGAN_S = 1_800_000_000.0
RETRAINS = Incident("ep_0123456789abcdef", "digits", BEGAN_S, BEGAN_S, {})


def lease(number: int, **more: object) -> GatewayLease:
    """Of one gateway worker."""
    return GatewayLease(f"gateway-{number}", "boot", 1, "h", 8000, 7, "digest", connections=3, **more)  # type: ignore[arg-type]


def status(*gateways: GatewayLease) -> Status:
    """Of an installation with one model, whose candidate gets a tenth."""
    policy = Policy(1, (Arm(2, 100_000),))
    model = ModelView("digits", 1, policy, (VersionView(1, 2, "pool"), VersionView(2, 0, "static")))
    pools = (
        PoolView("digits", 1, "RUNNING", ready=2, wanted=3, crashes=1),
        PoolView("digits", 1, "RUNNING", ready=1, wanted=1),
        PoolView("words", 1, "UNHEALTHY", wanted=1),
    )
    return Status(Head(8, "d", "p"), gateways, (), (model,), pools, reachable=True, warnings=())


def rollout() -> Record:
    """In progress: its candidate is to get a fifth, and carries a tenth."""
    base = Policy(1)
    begun = start("ro_0123456789ab", canary(2, [CanaryStep(200_000, 600)]), base, BEGAN_S)
    running = replace(begun, phase=Phase.RUNNING, stage=0, leg=1, carried={2: 100_000})
    return Record(running, "digits", "somebody", BEGAN_S)


FULL = Facts(
    "1.2.3",
    status(
        lease(1, requests={"digits/1": 5, "a/b/2": 7}, in_flight_by={"digits/1": 2}, ejected={"digits/1": 1}),
        lease(
            2, streams=(STREAMS,), copied={"a/b/2": 4}, shed={"a/b/2/queue": 3}, not_captured={"pair_away": 2},
            endings={"a/b/2/first/ok": 3, "a/b/2/fallback/late": 1}, figures={"a/b/2": TOOK}, braked={"a/b/2": 0},
            held="it does not descend", notes_lost={"span_queue": 6},
        ),
    ),
    {("control", "wrong"): 4},
    1_900_000_000.0,
    Rollbacks(
        Spread().plus(3.5),
        Spread().plus(0.02),
        {("digits", 2, "harm"): Weight(1.5, 2.0)},
        {("digits", 2, "errors"): Odds(0.5, 1.0, math.inf)},
    ),
    Heard({("digits", "accepted"): 2}, {("digits", 2, "reward"): Values(2, 1_500_000_000, 1_250_000_000 * 10**9)}),
    (rollout(),),
    (PairTotals("digits", "salt", 1, 2, 8, compared=10, disagreed=1, unread=2),),
    Counts(kept=Counter({"sample": 9}), dropped=Counter({"queue": 1})),
    {"policy": Spread().plus(0.03)},
    (
        replace(
            RETRAINS, model="digits", pending=Action.RETRAIN,
            decided=Attribution(Cause.INPUTS, Action.RETRAIN, "Inputs moved."),
        ),
        replace(RETRAINS, model="words", closed_s=BEGAN_S),
    ),
    Over(9, 2, 1),
)  # fmt: skip
