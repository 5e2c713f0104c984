"""Walks a plan: starts the peers, puts load on each in its turn, and takes down what it sees.

What stands idle beside the measured one costs next to nothing: Envoy and a gateway without requests sleep. Serve does
not, so it is up only while it is measured itself. Each round begins with another path than the one before.

What a setting costs is less than a machine's moods, so it is taken in pairs: new processes with and without it for
each, in changing order, and the median of the pairs' ratios. Doors are loaded at the same time, each by a wrk of its
own, and share a core: whatever else the machine does, and how fast that core runs just then, falls on both alike.

A figure with a wrong answer in it is void. The gateway's ends the run; a peer's is taken again (`voids.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from loadtests.compare import peers, usage
from loadtests.compare.calls import CALLS, Call, ask
from loadtests.compare.doors import OPEN, Door, doors, telling
from loadtests.compare.figures import Sample, added
from loadtests.compare.grpc_peers import address, grpc_peers
from loadtests.compare.h2load import H2load
from loadtests.compare.payloads import PAYLOADS, UNITS
from loadtests.compare.peers import Peer
from loadtests.compare.plan import DIRECT, ENVOY, ENVOY_MIRROR, GATEWAY, GATEWAY_SHADOW, SERVE, Plan, Point
from loadtests.compare.samplers import WAYS, Sampler, Way, sampler
from loadtests.compare.stores import store
from loadtests.compare.targets import Fact
from loadtests.compare.tritons import REPEAT, Tritons, tritons
from loadtests.compare.voids import taken
from loadtests.compare.wrk import Report, Wrk

_WARM = Point("json", 32, ())
_WARM_S = 2
_MORE_MODELS = 1_000
_PAIR_S = 4
_LIKE_OR_NOT = (_WARM, Point(UNITS, _WARM.in_flight, ()))
"""Requests that are each like the one before, and such as name another unit each."""
_TURNS, _TURN_S = 6, 1
_SETTLE_S = 2.0
_SHORT_S, _LONG_S = 2, 10
_THOUSAND = 1_000.0

Tell = Callable[[str], None]
"""Told what is being done, a line each."""


@dataclass(slots=True)
class Found:
    """What a run brings in."""

    samples: list[Sample] = field(default_factory=list)
    facts: dict[Fact, float] = field(default_factory=dict)
    voids: list[str] = field(default_factory=list)
    """Figures of peers that were void and were taken again: whose, and why."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One run.

    Args:
        plan: what to measure.
        wrk: with what, over HTTP.
        h2load: with what, over gRPC.
        folder: where configurations and logs go.
        tell: who hears how it goes.

    Attributes:
        voids: figures that were taken again, so far.
    """

    plan: Plan
    wrk: Wrk
    h2load: H2load
    folder: Path
    tell: Tell
    voids: list[str] = field(default_factory=list, init=False)

    def run(self) -> Found:
        """All of it. Call it from the main thread.

        Raises:
            NotStarted, StartFailed: somebody did not come up.
            Void: an answer of the gateway's was not what it should be, or a peer's time after time.
        """
        found = Found(voids=self.voids)
        self.tell("starting two Triton servers")
        with tritons(self.folder) as behind:
            if self.plan.points:
                with self._peers(behind) as standing:
                    found.samples += self._rounds(standing, self.plan.points)
            if self.plan.serve:
                self.tell("starting the Serve graph")
                with peers.serve(behind, self.folder) as graph:
                    found.samples += self._rounds({SERVE: graph}, self.plan.serve)
            if self.plan.grpc:
                found.samples += self._over_grpc(behind, self.plan.grpc)
            if self.plan.pairs:
                found.facts[Fact.MODELS] = added(self._pairs(behind))
            if self.plan.access:
                found.facts |= self._doors(behind, doors(self.folder), self.plan.access)
            if self.plan.totals:
                with store(self.folder) as address:
                    found.facts |= self._doors(behind, telling(address), self.plan.totals)
            if self.plan.samples:
                with store(self.folder) as address:
                    found.facts |= self._sampled(behind, address)
            if self.plan.requests:
                found.facts |= self._memory(behind, *self.plan.requests)
        if self.plan.streams:
            self.tell("starting two Triton servers with a model that answers many times")
            with tritons(self.folder, REPEAT) as behind:
                found.samples += self._over_grpc(behind, self.plan.streams)
        return found

    @contextmanager
    def _peers(self, behind: Tritons) -> Iterator[Mapping[str, Peer]]:
        self.tell("starting Envoy and the gateway")
        with (
            peers.envoy(behind, self.folder) as (envoy, mirror),
            peers.gateway(behind, self.folder, *peers.SPLIT) as gateway,
            peers.gateway(behind, self.folder, *peers.SHADOW) as shadow,
        ):
            yield {
                DIRECT: peers.direct(behind),
                ENVOY: envoy,
                GATEWAY: gateway,
                ENVOY_MIRROR: mirror,
                GATEWAY_SHADOW: shadow,
            }

    def _over_grpc(self, behind: Tritons, points: Sequence[Point]) -> Sequence[Sample]:
        self.tell("starting Envoy and the gateway for gRPC")
        with grpc_peers(behind, self.folder, CALLS[points[0].payload]) as standing:
            return tuple(self._rounds(standing, points, Point(points[0].payload, _WARM.in_flight, ())))

    def _rounds(self, standing: Mapping[str, Peer], points: Sequence[Point], warm: Point = _WARM) -> Iterator[Sample]:
        for path, peer in standing.items():
            taken(path, partial(self._drive, peer, warm, _WARM_S), self._again)
        for number in range(self.plan.rounds):
            self.tell(f"round {number + 1} of {self.plan.rounds}: {', '.join(standing)}")
            for point in points:
                turn = number % len(point.paths)
                for path in (*point.paths[turn:], *point.paths[:turn]):
                    yield self._measure(path, standing[path], point, self.plan.seconds)

    def _again(self, why: str) -> None:
        self.tell(f"  void, taken again: {why}")
        self.voids.append(why)

    def _measure(self, path: str, peer: Peer, point: Point, seconds: int) -> Sample:
        return taken(path, partial(self._measure_once, path, peer, point, seconds), self._again)

    def _measure_once(self, path: str, peer: Peer, point: Point, seconds: int) -> Sample:
        before = usage.cpu(peer.pid) if peer.pid else None
        report = self._drive(peer, point, seconds)
        figures = (report.rps, report.p50_ms, report.p99_ms)
        self.tell(
            f"  {path:15}{point.payload:>11} c={point.in_flight:<3} {report.rps:9,.0f} requests/s  "
            f"p50 {report.p50_ms:7.2f} ms  p99 {report.p99_ms:7.2f} ms"
        )
        if peer.pid is None or before is None:
            return Sample(path, point.payload, point.in_flight, *figures)
        cpu_s = usage.cpu(peer.pid).since(before) / report.requests * _THOUSAND
        return Sample(path, point.payload, point.in_flight, *figures, cpu_s, usage.resident_mb(peer.pid))

    def _drive(self, peer: Peer, point: Point, seconds: int) -> Report:
        """Load over the protocol that the point is of."""
        if point.payload in CALLS:
            return self._call(peer, CALLS[point.payload], point.in_flight, seconds)
        return self.wrk.drive(peer.url, PAYLOADS[point.payload].shown_with(peer.headers), point.in_flight, seconds)

    def _call(self, peer: Peer, call: Call, in_flight: int, seconds: int) -> Report:
        """Load between two calls that are looked at."""
        size = ask(address(peer), call)
        report = self.h2load.drive(peer.url, call, size, in_flight, seconds)
        ask(address(peer), call)
        return report

    def _pairs(self, behind: Tritons) -> Iterator[tuple[float, float]]:
        """CPU seconds for 1,000 requests without and with more models; new processes for each, in changing order."""
        more = tuple(peers.more_models(behind, _MORE_MODELS))
        for number in range(self.plan.pairs):
            self.tell(f"pair {number + 1} of {self.plan.pairs}: without and with {_MORE_MODELS:,} models")
            order = ((), more) if number % 2 else (more, ())
            cost = {extra: self._cost(behind, extra) for extra in order}
            yield cost[()], cost[more]

    def _cost(self, behind: Tritons, extra: tuple[str, ...]) -> float:
        with peers.gateway(behind, self.folder, *peers.SPLIT, *extra) as peer:
            time.sleep(_SETTLE_S if extra else 0.0)
            self._measure(GATEWAY, peer, _WARM, _WARM_S)
            sample = self._measure(f"{GATEWAY}+{len(extra)}", peer, _WARM, _PAIR_S)
        return sample.cpu_s or 0.0

    def _doors(self, behind: Tritons, ways: Sequence[Door], times: int) -> Mapping[Fact, float]:
        """What each of these adds, beside a gateway that lets everybody in and tells nobody."""
        pairs: dict[Fact, list[tuple[float, float]]] = {}
        for number in range(times):
            for door in ways:
                self.tell(f"pair {number + 1} of {times}: without and with a {door.name}")
                for fact, pair in self._beside(behind, (OPEN, door) if number % 2 else (door, OPEN)):
                    pairs.setdefault(fact, []).append(pair)
        return {fact: added(of_fact) for fact, of_fact in pairs.items()}

    def _beside(self, behind: Tritons, two: tuple[Door, Door]) -> Iterator[tuple[Fact, tuple[float, float]]]:
        """CPU seconds for 1,000 requests of the open door and the other: new processes, loaded at the same time."""
        [door] = (one for one in two if one is not OPEN)
        with ExitStack() as stack:
            standing = {
                one: stack.enter_context(
                    peers.gateway(behind, self.folder, *peers.SPLIT, *one.options, headers=one.headers)
                )
                for one in two
            }
            usage.on_one_core(peer.pid for peer in standing.values())
            self._at_once(standing, _WARM, _WARM_S)
            for fact, point in (*zip(door.facts, _LIKE_OR_NOT, strict=True),) * _TURNS:
                cost = self._at_once(standing, point, _TURN_S)
                self.tell(f"  {fact}: {cost[OPEN]:.4f} s, {cost[door]:.4f} s, {cost[door] / cost[OPEN] - 1:+.3f}")
                yield fact, (cost[OPEN], cost[door])

    def _at_once(self, standing: Mapping[Door, Peer], point: Point, seconds: int) -> Mapping[Door, float]:
        return {door: sample.cpu_s or 0.0 for door, sample in self._together(standing, point, seconds).items()}

    def _together(self, standing: Mapping[Door, Peer], point: Point, seconds: int) -> Mapping[Door, Sample]:
        with ThreadPoolExecutor() as pool:
            measured = {
                door: pool.submit(self._measure, door.name, peer, point, seconds) for door, peer in standing.items()
            }
            return {door: sample.result() for door, sample in measured.items()}

    def _sampled(self, behind: Tritons, address: Path) -> Mapping[Fact, float]:
        """What sampling adds to a gateway, and what a sidecar in each of its states adds to one that samples."""
        pairs: dict[Fact, list[tuple[float, float]]] = {}
        for number in range(self.plan.samples):
            for way in WAYS:
                self.tell(f"pair {number + 1} of {self.plan.samples}: {way.cpu}")
                for fact, pair in self._way(behind, address, way, is_turned=bool(number % 2)):
                    pairs.setdefault(fact, []).append(pair)
        return {fact: added(of_fact) for fact, of_fact in pairs.items()}

    def _way(
        self, behind: Tritons, address: Path, way: Way, *, is_turned: bool
    ) -> Iterator[tuple[Fact, tuple[float, float]]]:  # fmt: skip
        """CPU seconds for 1,000 requests and medians of two gateways: new processes, loaded at the same time."""
        with ExitStack() as stack:
            base, other = (
                stack.enter_context(sampler(state, way.rules, self.folder, address)) for state in (way.base, way.other)
            )  # fmt: skip
            standing = {
                one.door: stack.enter_context(peers.gateway(behind, self.folder, *peers.SPLIT, *one.door.options))
                for one in ((other, base) if is_turned else (base, other))
            }
            usage.on_one_core(peer.pid for peer in standing.values())
            self._together(standing, _WARM, _WARM_S)
            for one in (base, other):
                one.begin()
            for _ in range(_TURNS):
                yield from self._turn(standing, way, base, other)

    def _turn(
        self, standing: Mapping[Door, Peer], way: Way, base: Sampler, other: Sampler
    ) -> Iterator[tuple[Fact, tuple[float, float]]]:
        before = None if other.keeper is None else usage.cpu(other.keeper)
        found = self._together(standing, _WARM, _TURN_S)
        first, second = found[base.door], found[other.door]
        without, with_it = first.cpu_s or 0.0, second.cpu_s or 0.0
        self.tell(f"  {way.cpu}: {without:.4f} s, {with_it:.4f} s, {with_it / without - 1:+.3f}")
        yield way.cpu, (without, with_it)
        yield way.p50, (first.p50_ms, second.p50_ms)
        if way.keeper is not None and other.keeper is not None and before is not None:
            beside = usage.cpu(other.keeper).since(before) / (second.rps * _TURN_S) * _THOUSAND
            yield way.keeper, (without, with_it + beside)

    def _memory(self, behind: Tritons, first: int, last: int) -> Mapping[Fact, float]:
        """A new worker's private memory after so many requests, and how much more it is after so many more."""
        with peers.gateway(behind, self.folder, *peers.SPLIT) as peer:
            pid = peer.pid or 0
            count = self._send(peer, 0, first, _SHORT_S)
            early = usage.private_mb(pid)
            count = self._send(peer, count, last, _LONG_S)
            late = usage.private_mb(pid)
        self.tell(f"private memory of a worker: {early:.1f} MB, after {count:,} requests {late:.1f} MB")
        return {Fact.PRIVATE_MB: max(early, late), Fact.GROWTH_MB: late - early}

    def _send(self, peer: Peer, count: int, goal: int, seconds: int) -> int:
        """Sends until `goal` requests have been answered; how many there were in the end."""
        while count < goal:
            self.tell(f"memory of a worker: {count:,} of {goal:,} requests")
            drive = partial(self.wrk.drive, peer.url, PAYLOADS[_WARM.payload], _WARM.in_flight, seconds)
            count += taken(GATEWAY, drive, self._again).requests
        return count
