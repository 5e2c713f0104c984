"""The check itself: what is asked, in which order, and what is taken down.

First every answer is held against torch's on the CPU and against `router.choose`, then the same servers are measured:
straight, through the gateway with version 1 named in the path (what the gateway costs, like for like), and through the
gateway with the split (which has a second server to send to). The three take turns within each round.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import uvloop

from loadtests.gpu_check import smi
from loadtests.gpu_check.client import OK, Load, ask, drive
from loadtests.gpu_check.judge import Question, fault, share_fault
from loadtests.gpu_check.models import VERSIONS, Rows, batches, expected
from loadtests.gpu_check.standing import Device, Standing, standing
from loadtests.gpu_check.wire import Form, configuration, infer
from router.choose import Choice, Reason
from router.policy import Policy

STRAIGHT, NAMED, SPLIT = "straight at Triton", "gateway, version named", "gateway, 90/10"

_SHARE, _SHARE_PPM = "10%", 100_000
_POLICY = Policy(1, salt="static").with_shares({2: _SHARE_PPM})
"""What `python -m serving.gateway --static … --traffic …` makes of its command line."""

_CONNECTIONS = 8
_EACH = 64
_WARM_S = 0.5
_MOST_FAULTS = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done.

    Attributes:
        device: where the models run.
        requests: how many units are asked about.
        seconds: how long each point is measured in a round.
        rounds: how often each point is measured.
        connections: at how many connections.
    """

    device: Device
    requests: int = 4_000
    seconds: float = 3.0
    rounds: int = 3
    connections: tuple[int, ...] = (1, 8, 32)


@dataclass(slots=True)
class Found:
    """What a run brings in.

    Attributes:
        figures: by a name that ends in the unit.
        faults: one line for each thing that is wrong.
        tell: told of each figure as it comes.
    """

    tell: Callable[[str], None]
    figures: dict[str, int | float | str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def figure(self, name: str, value: float | str) -> None:
        """Takes a figure down; one that is no count with four digits."""
        self.figures[name] = float(f"{value:.4g}") if isinstance(value, float) else value
        self.tell(f"{name}: {self.figures[name]}")

    def wrong(self, what: str, faults: Sequence[str]) -> None:
        """Takes down what is wrong, the first few in full."""
        self.faults += [f"{what}: {line}" for line in faults[:_MOST_FAULTS]]
        if len(faults) > _MOST_FAULTS:
            self.faults.append(f"{what}: and {len(faults) - _MOST_FAULTS} more")


def run(plan: Plan, folder: Path, logs: Path, tell: Callable[[str], None]) -> Found:
    """All of it. Call it from the main thread.

    Raises:
        StartFailed: somebody did not come up.
    """
    found = Found(tell)
    before = smi.look() if plan.device == "gpu" else None
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        standing(runner, plan.device, _SHARE, folder, logs) as servers,
    ):
        runner.run(_placed(plan, servers, found))
        runner.run(_answers(plan, servers, found))
        serving = smi.look() if before else None
        with smi.watched(folder) as seen:
            runner.run(_speed(plan, servers, found))
    if before and serving and (after := smi.look()):
        _gpu(before, serving, seen, after, found)
    return found


async def _placed(plan: Plan, servers: Standing, found: Found) -> None:
    """Each server says that its model runs where it should."""
    for version, port in servers.tritons.items():
        [answer] = await ask(port, [configuration(version)], 1)
        config = json.loads(answer.body) if answer.status == OK else {}
        groups = [(group["kind"], group.get("gpus", [])) for group in config.get("instance_group", [])]
        if groups != [("KIND_GPU", [0]) if plan.device == "gpu" else ("KIND_CPU", [])]:
            found.wrong(f"version {version} on {plan.device}", [answer.failure or f"Triton says {groups}"])


async def _answers(plan: Plan, servers: Standing, found: Found) -> None:
    """Answers are torch's, and come from the version that `router.choose` says."""
    asked = batches()
    right = expected(asked)
    forms = tuple(Form)
    questions = [
        Question(number % len(asked), forms[number // len(asked) % len(forms)], f"unit-{number}")
        for number in range(plan.requests)
    ]
    answered: Counter[int] = Counter(question.choice(_POLICY).version for question in questions)

    async def held(what: str, port: int, questions: Sequence[Question], choices: Sequence[Choice]) -> None:
        requests = [_bytes(question, asked) for question in questions]
        answers = await ask(port, requests, _CONNECTIONS)
        checks = (
            fault(question, answer, choice, right, gateway=port == servers.gateway)
            for question, answer, choice in zip(questions, answers, choices, strict=True)
        )
        faults = [line for line in checks if line]
        found.figure(f"right answers, {what}, of {len(questions)}", len(questions) - len(faults))
        found.wrong(what, faults)

    await held("split", servers.gateway, questions, [question.choice(_POLICY) for question in questions])
    found.figure("split: answers from version 2, as router.choose says, %", 100 * answered[2] / plan.requests)
    for version in VERSIONS:
        named = [Question(n % len(asked), forms[n % len(forms)], pinned=version) for n in range(_EACH)]
        choices = [Choice(version, Reason.PINNED)] * _EACH
        await held(f"version {version} named in the path", servers.gateway, named, choices)
        await held(f"straight at version {version}", servers.tritons[version], named, choices)


def _bytes(question: Question, asked: Sequence[Rows]) -> bytes:
    unit = question.unit or None
    return infer(asked[question.batch], question.form, version=question.pinned, unit=unit)


async def _speed(plan: Plan, servers: Standing, found: Found) -> None:
    """Requests a second and latencies on the three ways, with one row as binary tensors."""
    row = batches()[0]
    ways = {
        STRAIGHT: (servers.tritons[1], infer(row, Form.BINARY, version=1)),
        NAMED: (servers.gateway, infer(row, Form.BINARY, version=1)),
        SPLIT: (servers.gateway, infer(row, Form.BINARY)),
    }
    loads: dict[tuple[str, int], list[Load]] = {}
    for connections in plan.connections:
        for port, request in ways.values():
            found.wrong("warming up", (await drive(port, request, connections, min(_WARM_S, plan.seconds))).failures)
        for _ in range(plan.rounds):
            for way, (port, request) in ways.items():
                load = await drive(port, request, connections, plan.seconds)
                found.wrong(f"{way}, c={connections}", load.failures)
                loads.setdefault((way, connections), []).append(load)
        _point(connections, {way: loads[way, connections] for way in ways}, found)
    _random_split([load for (way, _), group in loads.items() if way == SPLIT for load in group], found)
    every = [load for group in loads.values() for load in group]
    found.figure("requests under load", sum(len(load.latencies_s) for load in every))
    found.figure("failed requests under load", sum(len(load.failures) for load in every))


def _point(connections: int, loads: dict[str, list[Load]], found: Found) -> None:
    rates = {way: median(load.rps for load in group) for way, group in loads.items()}
    for way, group in loads.items():
        at = f"c={connections}, {way}"
        found.figure(f"{at}, requests/s", rates[way])
        for percentage in (50, 99):
            found.figure(f"{at}, p{percentage} ms", median(load.percentile_ms(percentage) for load in group))
        if way != STRAIGHT and rates[STRAIGHT]:
            found.figure(f"{at}, requests/s over straight", rates[way] / rates[STRAIGHT])
    if not all(rates.values()):
        found.wrong(f"c={connections}", ["nothing was answered on one of the ways"])


def _random_split(loads: Sequence[Load], found: Found) -> None:
    """Requests that name no unit are drawn at random."""
    versions = sum((load.versions for load in loads), Counter[int]())
    total = sum(len(load.latencies_s) for load in loads)
    found.figure("split under load: answers from version 2, %", 100 * versions[2] / max(total, 1))
    wrong = share_fault(versions[2], total, _SHARE_PPM)
    if versions.total() != total or set(versions) - set(VERSIONS):
        wrong = f"{total} answers came from {dict(versions)}"
    found.wrong("split under load", [wrong] if wrong else [])


def _gpu(
    before: smi.Snapshot, serving: smi.Snapshot, seen: Sequence[smi.Snapshot], after: smi.Snapshot, found: Found
) -> None:
    found.figure("GPU", before.name)
    found.figure("GPU driver", before.driver)
    found.figure("GPU memory before, MiB", before.memory_mib)
    found.figure("GPU memory with both servers up, MiB", serving.memory_mib)
    found.figure("GPU memory under load, most, MiB", max((look.memory_mib for look in seen), default=float("nan")))
    found.figure("GPU memory after, MiB", after.memory_mib)
    found.figure("GPU busy before, %", before.busy)
    found.figure("GPU busy under load, median, %", median(look.busy for look in seen) if seen else float("nan"))
    found.figure("GPU busy under load, most, %", max((look.busy for look in seen), default=float("nan")))
    found.figure("GPU busy after, %", after.busy)
    if serving.memory_mib <= before.memory_mib:
        found.wrong("GPU memory", ["two servers are up and use none of it"])
    if after.memory_mib >= serving.memory_mib:
        found.wrong("GPU memory", ["the servers are stopped and it was not given back"])
