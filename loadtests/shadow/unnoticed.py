"""No client notices a shadow: not one that hangs, not one that crashes, not one that answers every request with 50 MB.

Real servers behind real gateways on this machine: one gateway that copies every request to the shadow and hands the
pairs over, and two that copy nothing. They are asked in turn, and whoever is not asked is stopped, so that a stretch
with a shadow and the two beside it saw the same machine, and nothing but the shadow tells them apart. What the two that
copy nothing differ by is what the machine's noise comes to. Stable, the gateways and the clients share one core, and
the shadow and who hears of it have the other: a shadow that takes the processor of those who answer is no gateway's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from loadtests.compare.peers import free_port
from loadtests.installation import Failed
from loadtests.shadow.load import HOST, Took, load, request
from loadtests.shadow.proof import Asked, Figure, Proof
from serving import child
from serving.triton.binary import find
from serving.triton.layout import ModelVersion, write_repository
from serving.triton.process import ServerOptions, TritonProcess

_HERE: Final = Path(__file__).parent
_MODEL: Final = "rude"
_STABLE, _SHADOW = 1, 2
_RATE: Final = 150.0
_WARM_S: Final = 1.0
_READY_S: Final = 60.0
_STOP_S: Final = 5.0
_RATIO: Final = 1.25
"""What the 99th percentile with a shadow may be of the one without, beside the machine's noise."""
_GROWTH: Final = 64 * 1024 * 1024
"""Bytes by which a worker may be larger than one that copies nothing: what it may keep for copies (`gateway/shelf`)."""
_HEARD_AFTER_S: Final = 2.5
_SEEN: Final[Mapping[str, Sequence[str]]] = {
    "hangs": ("late",),
    "crashes": ("server_error", "broken", "refused"),
    "talks": ("ok, too long", "late, too long"),
}
"""What becomes of copies, by what the shadow does."""


class Sizes(NamedTuple):
    """How much of it.

    Attributes:
        rounds: how often each gateway is asked.
        slice_s: for how long each time, seconds.
    """

    rounds: int
    slice_s: float


@dataclass(frozen=True, slots=True)
class Gateway:
    """One worker."""

    port: int
    pid: int

    @property
    def private(self) -> int:
        """Bytes of memory that are its own."""
        return int(psutil.Process(self.pid).memory_full_info().uss)


class Room(NamedTuple):
    """What a scenario is played in.

    Attributes:
        shadowed: copies everything.
        alone: copy nothing.
        beside: ids of the processes that belong to the shadow: its server, and who hears of it.
        heard: what was heard of it (`listening`).
    """

    shadowed: Gateway
    alone: tuple[Gateway, Gateway]
    beside: Sequence[int]
    heard: Path


def played(does: str, asked: Asked) -> Sequence[Figure]:
    """One kind of shadow, and what came of it."""
    sizes = Sizes(6, 2.0) if asked.quick else Sizes(15, 4.0)
    own, others = _cores()
    with (
        tempfile.TemporaryDirectory(prefix="sluice-shadow-") as place,
        _pinned(own),
        _room(Path(place), does, own, others) as room,
    ):
        return asyncio.run(_measured(room, sizes, does))


async def _measured(room: Room, sizes: Sizes, does: str) -> Sequence[Figure]:
    everybody = (room.shadowed, *room.alone)
    for gateway in everybody:
        await _slice(room, gateway, _WARM_S)
    before = room.shadowed.private
    rounds: list[dict[int, Took]] = []
    largest = before
    for nth in range(sizes.rounds):
        turn = nth % len(everybody)
        took: dict[int, Took] = {}
        for gateway in (*everybody[turn:], *everybody[:turn]):  # whoever comes first, comes last some other time
            took[gateway.port] = await _slice(room, gateway, sizes.slice_s)
            largest = max(largest, room.shadowed.private)
        rounds.append(took)
    return (*_p99(room, rounds), *_errors(room, rounds), _memory(room, before, largest), await _copied(room, does))


async def _slice(room: Room, asked: Gateway, seconds: float) -> Took:
    """One gateway's turn: the others stand still, and the shadow with them where it has no part in it."""
    others = [gateway.pid for gateway in (room.shadowed, *room.alone) if gateway is not asked]
    still = others if asked is room.shadowed else [*others, *room.beside]
    with _stopped(still):
        await load(asked.port, request(_MODEL), _RATE, min(0.5, seconds))  # whoever stood still has to wake up
        return await load(asked.port, request(_MODEL), _RATE, seconds)


def _p99(room: Room, rounds: Sequence[dict[int, Took]]) -> Sequence[Figure]:
    one, other = (gateway.port for gateway in room.alone)
    with_it = [_ratio(of[room.shadowed.port], of[one], of[other]) for of in rounds]
    noise = [abs(math.log(of[one].p99_s / of[other].p99_s)) for of in rounds]
    ratio = math.exp(statistics.fmean(with_it))
    # The noise of the mean over the rounds: both gateways without a shadow differ by two of them, hence the root.
    bound = _RATIO * math.exp(3 * math.sqrt(statistics.fmean([x * x for x in noise]) / 2 / len(rounds)))
    p99s = [statistics.median(of[port].p99_s for of in rounds) * 1_000 for port in (room.shadowed.port, one, other)]
    shown = f"{p99s[0]:.2f} ms beside {p99s[1]:.2f} and {p99s[2]:.2f} ms"
    return (
        Figure(
            f"p99 with a shadow over p99 without, at most {bound:.2f} ({_RATIO} and the noise of this run)",
            f"{ratio:.2f} over {len(rounds)} rounds (medians {shown})", ratio <= bound,
        ),
    )  # fmt: skip


def _ratio(shadowed: Took, *alone: Took) -> float:
    """The logarithm of how many times as long as without a shadow."""
    return math.log(shadowed.p99_s) - statistics.fmean(math.log(one.p99_s) for one in alone)


def _errors(room: Room, rounds: Sequence[dict[int, Took]]) -> Sequence[Figure]:
    failed = sum(of[room.shadowed.port].failed for of in rounds)
    answered = sum(len(of[room.shadowed.port].answered_s) for of in rounds)
    without = sum(of[gateway.port].failed for of in rounds for gateway in room.alone)
    return (
        Figure(
            "requests that failed with a shadow, at most as many as without one",
            f"{failed} of {failed + answered} ({without} of the others')", failed <= without,
        ),
    )  # fmt: skip


def _memory(room: Room, before: int, largest: int) -> Figure:
    grown, alone = largest - before, max(gateway.private for gateway in room.alone)
    mib = 1024 * 1024
    return Figure(
        f"memory that the worker with a shadow gained at most, below {_GROWTH / mib:.0f} MiB",
        f"{grown / mib:.1f} MiB, to {largest / mib:.1f} (without a shadow {alone / mib:.1f})", grown < _GROWTH,
    )  # fmt: skip


async def _copied(room: Room, does: str) -> Figure:
    """That there was a shadow, and that it did as it was to do; whatever was not copied has a reason."""
    await asyncio.sleep(_HEARD_AFTER_S)
    heard = json.loads(room.heard.read_text())
    did = any(outcome in heard["copies"] for outcome in _SEEN[does])
    counted = heard["offered"] == heard["sent"] + sum(heard["shed"].values())
    shown = f"{heard['offered']} offered, {heard['sent']} sent ({_listed(heard['copies'])})"
    return Figure(
        f"the shadow was there and {does}, and every request in its sample is accounted for",
        f"{shown}, shed: {_listed(heard['shed'])}",
        did and counted and heard["offered"] > 0,
    )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


@contextmanager
def _room(folder: Path, does: str, own: int, others: int) -> Iterator[Room]:
    with contextlib.ExitStack() as stack:
        stable = stack.enter_context(_triton(folder, _STABLE, "answers", own))
        shadow = stack.enter_context(_triton(folder, _SHADOW, does, others))
        socket = folder / "keeper"
        heard = folder / "heard.json"
        listener = stack.enter_context(_listening(socket, heard, folder / "listening.log", others))
        static = f"--static={_MODEL}/{_STABLE}={HOST}:{stable.port}"
        copies = (
            f"--static={_MODEL}/{_SHADOW}={HOST}:{shadow.port}", f"--shadow={_MODEL}:{_SHADOW}=100%",
            f"--keeper={socket}",
        )  # fmt: skip
        options = ((static, *copies), (static,), (static,))
        one, two, three = (
            stack.enter_context(_gateway(folder / f"gateway-{nth}.log", own, *some)) for nth, some in enumerate(options)
        )
        yield Room(one, (two, three), (*shadow.pids, listener), heard)


class Server(NamedTuple):
    """One Triton."""

    port: int
    pids: Sequence[int]


@contextmanager
def _triton(folder: Path, version: int, does: str, core: int) -> Iterator[Server]:
    artifact = folder / f"artifact-{version}"
    (artifact / "1").mkdir(parents=True)
    shutil.copyfile(_HERE / "rude" / "config.pbtxt", artifact / "config.pbtxt")
    shutil.copyfile(_HERE / "rude" / "model.py", artifact / "1" / "model.py")
    (artifact / "1" / "does.txt").write_text(does)
    repository = write_repository(ModelVersion(_MODEL, version, artifact), folder / f"repository-{version}")
    options = ServerOptions(log_file=folder / f"triton-{version}.log")
    with asyncio.Runner() as runner, _pinned(core):
        server = runner.run(TritonProcess.start(find(), repository, _MODEL, version, options))
        try:
            family = psutil.Process(server.pid).children(recursive=True)
            yield Server(server.http_port, (server.pid, *(one.pid for one in family)))
        finally:
            for pid in (server.pid, *(one.pid for one in family)):
                _signal(pid, signal.SIGCONT)
            runner.run(server.stop(_STOP_S))


@contextmanager
def _listening(socket: Path, heard: Path, log: Path, core: int) -> Iterator[int]:
    argv = [sys.executable, "-m", "loadtests.shadow.listening", str(socket), str(heard)]
    with _pinned(core), log.open("wb") as said:
        process = child.spawn(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
    try:
        _await(socket.exists, "who listens to the gateway", log)
        yield process.pid
    finally:
        _signal(process.pid, signal.SIGCONT)
        child.stop(process, _STOP_S)


@contextmanager
def _gateway(log: Path, core: int, *options: str) -> Iterator[Gateway]:
    port = free_port()
    argv = [sys.executable, "-m", "serving.gateway", "--host", HOST, "--port", str(port), *options]
    with _pinned(core), log.open("wb") as said:
        process = child.spawn(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
    try:
        _await(lambda: b"listening" in log.read_bytes(), "a gateway", log)
        yield Gateway(port, process.pid)
    finally:
        _signal(process.pid, signal.SIGCONT)
        child.stop(process, _STOP_S)


def _await(stands: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while not stands():
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not come up: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.05)


@contextmanager
def _stopped(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextmanager
def _pinned(core: int) -> Iterator[None]:
    """What is started here runs on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cores() -> tuple[int, int]:
    """The one of those who answer, and the one of the shadow."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


def _proof(does: str) -> Proof:
    words = f"every request is copied to a version that {_WORDS[does]}, and no client notices"
    return Proof(f"unnoticed-{does}", words, functools.partial(played, does))


_WORDS: Final = {"hangs": "hangs", "crashes": "crashes", "talks": "answers with 50 MB"}
PROOFS: Final[Sequence[Proof]] = tuple(map(_proof, _WORDS))
"""One for each kind of shadow."""
