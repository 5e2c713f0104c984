"""Gates: somebody else's word, asked over HTTP as Flagger's webhooks are.

A rollout is held until each of its gates has answered with a 2xx; a `rollback` gate is asked all along, and its 2xx
takes the rollout back. No tick waits for an answer: gates are asked in the background, again and again, and an answer
counts for the leg that it was asked about and for a short time only.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Final, NamedTuple

from router.phases import Phase
from router.plan_form import plan_as_dict
from serving.control.rolling.outward import Gate, GateKind
from serving.control.rolling.records import Record
from serving.control.rolling.sending import Sends
from serving.control.tasks import end
from serving.errors import SluiceError

_log = logging.getLogger(__name__)

ASK_EVERY_S: Final = 5.0
_COUNTS_FOR_S: Final = 15.0
_OK: Final = range(200, 300)

FLAGGER_PHASE: Final[Mapping[Phase, str]] = MappingProxyType(
    {
        Phase.WARMING: "Initializing",
        Phase.RUNNING: "Progressing",
        Phase.BAKING: "Progressing",
        Phase.WAITING: "WaitingPromotion",
        Phase.PAUSED: "Waiting",
        Phase.WATCHING: "Finalising",
        Phase.PROMOTED: "Succeeded",
        Phase.ROLLED_BACK: "Failed",
        Phase.FAILED: "Failed",
    }
)
"""Our phases in Flagger's words."""


class _Key(NamedTuple):
    rollout: str
    leg: int
    gate: int


class _Answer(NamedTuple):
    at_s: float
    yes: bool
    words: str


class Gatekeeper:
    """Asks gates and remembers what they said.

    Args:
        sends: how they are reached.
        every_s: how long between two questions to one gate.
        clock: seconds that only go forward.
    """

    def __init__(
        self, sends: Sends, *, every_s: float = ASK_EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sends = sends
        self._every_s = every_s
        self._clock = clock
        self._answers: dict[_Key, _Answer] = {}
        self._asking: dict[_Key, asyncio.Task[None]] = {}

    def holds(self, record: Record, kinds: Collection[GateKind]) -> tuple[str, ...]:
        """Which gates of these kinds do not let the rollout go on, in sentences; those due are asked meanwhile."""
        return tuple(words for yes, words in self._looked(record, kinds) if not yes)

    def calls_back(self, record: Record) -> str:
        """Which gate wants the rollout to go back, in words; empty where none does."""
        return next((words for yes, words in self._looked(record, {GateKind.ROLLBACK}) if yes), "")

    def forget_all_but(self, rollouts: Collection[str]) -> None:
        """Forgets what was said about other rollouts."""
        self._answers = {key: said for key, said in self._answers.items() if key.rollout in rollouts}

    async def close(self) -> None:
        """Asks nobody any more."""
        await end(list(self._asking.values()))

    def _looked(self, record: Record, kinds: Collection[GateKind]) -> list[tuple[bool, str]]:
        found = []
        for nth, gate in enumerate(record.gates):
            if gate.kind in kinds:
                found.append(self._asked(_Key(record.id, record.rollout.leg, nth), gate, record))
        return found

    def _asked(self, key: _Key, gate: Gate, record: Record) -> tuple[bool, str]:
        said, now = self._answers.get(key), self._clock()
        if key not in self._asking and (said is None or now - said.at_s >= self._every_s):
            task = asyncio.create_task(self._ask(key, gate, record), name=f"asking {gate.words}")
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        if said is None or now - said.at_s > _COUNTS_FOR_S:
            return False, f"{gate.words} has not answered yet"
        return said.yes, said.words

    async def _ask(self, key: _Key, gate: Gate, record: Record) -> None:
        try:
            async with asyncio.timeout(gate.timeout_s):
                status = await self._sends.post(gate.url, payload_of(gate, record), {})
        except TimeoutError:
            said = False, f"{gate.words} did not answer within {gate.timeout_s} s"
        except SluiceError as error:
            said = False, f"{gate.words} cannot be asked: {error.sentence}"
        except Exception as error:  # noqa: BLE001 - a no like others: without one it would be asked at every tick
            # Its text may repeat the address, and with that a token.
            _log.error("%s cannot be asked: %s", gate.words, type(error).__name__)
            said = False, f"{gate.words} cannot be asked: {type(error).__name__}"
        else:
            said = status in _OK, f"{gate.words} answered {status}"
        self._answers[key] = _Answer(self._clock(), *said)


def payload_of(gate: Gate, record: Record) -> bytes:
    """What a gate is sent: Flagger's payload, with the rollout and its stage among the metadata."""
    rollout = record.rollout
    plan = json.dumps(plan_as_dict(rollout.plan), sort_keys=True).encode()
    stage = "" if rollout.entered is None else rollout.entered.name
    plain = {
        "name": record.model,
        "namespace": "",
        "phase": FLAGGER_PHASE[rollout.phase],
        "checksum": sha256(plan).hexdigest()[:16],
        "metadata": {"rollout": record.id, "stage": stage, **gate.metadata},
    }
    return json.dumps(plain).encode()
