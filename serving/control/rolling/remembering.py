"""What must not be forgotten though the store is: which versions went back, and what was stopped.

A store that is put back from a copy, or comes up empty, knows nothing of a rollback that came after the copy; gateways
hold their traffic, and the next start would bring the bad version back. So every control room keeps both in a file of
its own, with the id of the ledger's newest entry. Where the ledger does not have that entry any more, the store has
forgotten: then whoever leads writes back what it lacks, and pauses the rollouts of versions that were barred.

The file names the namespace of Redis that it speaks of: what another installation barred or stopped is nothing to hold
this one up by. A file from before it named one is taken. It has a say only where the store lacks the entry that it
ends with, and then either the store has forgotten or somebody else had the folder; too much held back is seen and
taken back by hand, and a version that comes back by itself is not.

A bar that is taken away properly comes with an entry of the ledger, which is there then. Nobody can be asked about what
was written after the last look, a second at most, nor about what no control room has seen.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from router.commands import Pause, ask
from router.phases import Phase
from router.rollout import BY_ITSELF, Seen
from serving.control.publication import Answer, Beside, LedgerEntry, Recorded
from serving.control.publishing import refuse
from serving.control.rolling.kept import Look, Stop, stop_from
from serving.control.rolling.records import Record, entry_of, jobs_of, written
from serving.control.rolling.shelf import place_of
from serving.control.wishes import ModelVersion

_log = logging.getLogger(__name__)

FILE: Final = "remembered.json"


@dataclass(frozen=True, slots=True)
class Memory:
    """What is kept.

    Attributes:
        last: the id of the ledger's newest entry; empty for none.
        barred: by model and version, the rollout that it went back with.
        stopped: by model, or `*` for all.
    """

    last: str = ""
    barred: Mapping[ModelVersion, str] = field(default_factory=dict)
    stopped: Mapping[str, Stop] = field(default_factory=dict)

    def encode(self, namespace: str) -> str:
        """The memory as JSON, of that namespace."""
        barred = [[model, version, by] for (model, version), by in sorted(self.barred.items())]
        stopped = {model: stop.encode() for model, stop in sorted(self.stopped.items())}
        return json.dumps({"namespace": namespace, "last": self.last, "barred": barred, "stopped": stopped})

    def lacks(self, before: Memory) -> Memory:
        """What was there before and is not here."""
        barred = {key: by for key, by in before.barred.items() if key not in self.barred}
        stopped = {model: stop for model, stop in before.stopped.items() if model not in self.stopped}
        return Memory(before.last, barred, stopped)


def decode_memory(said: str, namespace: str) -> Memory:
    """What `Memory.encode` wrote for that namespace.

    Raises:
        ValueError: it is something else, or of another namespace.
    """
    try:
        plain: Mapping[str, Any] = json.loads(said)
        theirs = plain.get("namespace", namespace)
        if theirs != namespace:
            raise ValueError(f"it is of namespace {theirs!a:.64}, not of {namespace}")
        place_of(plain["last"] or "0")
        barred = {(str(model), int(version)): str(by) for model, version, by in plain["barred"]}
        return Memory(plain["last"], barred, {model: stop_from(one) for model, one in plain["stopped"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no memory of rollouts: {error!r}") from error


class Remembers(Protocol):
    """What is asked of a store."""

    async def memory(self, last: str) -> tuple[Memory, bool]:
        """What is there, all of one moment, and whether the ledger has that entry, or has let go of it."""

    async def look(self) -> Look:
        """The time, the rollouts in progress, and what is stopped."""

    async def await_entry(self, after: str, wait_s: float) -> Sequence[Recorded]:
        """What is written to the ledger after that id, as soon as there is something."""

    async def note(self, beside: Beside) -> Answer:
        """Writes all of that, or nothing."""


class Remembering:
    """Keeps a memory in a file, and gives the store back what it has forgotten.

    Args:
        store: what may forget.
        folder: where the file lies; made when it is needed.
        namespace: of Redis, whose memory it is.
    """

    def __init__(self, store: Remembers, folder: Path, namespace: str) -> None:
        self._store = store
        self._namespace = namespace
        self._path = folder / FILE
        self._kept: Memory | None = None

    async def look(self, fence: int | None) -> Memory:
        """Keeps what is there; what the store has forgotten is written back first.

        Args:
            fence: of the conductor, where it leads. Where it does not, nothing is kept for as long as something is
                    missing: whoever leads writes that back, from its own file, or this one does once it leads.

        Returns:
            what was written back.

        Raises:
            Deposed: another conductor has taken over.
        """
        kept = await self._read()
        there, knows = await self._store.memory(kept.last)
        forgotten = Memory() if knows else there.lacks(kept)
        if forgotten.barred or forgotten.stopped:
            if fence is None or not await self._write_back(forgotten, fence):
                return Memory()
            there, _ = await self._store.memory("")
        if there != kept:
            await asyncio.to_thread(_write, self._path, there.encode(self._namespace))
            self._kept = there
        return forgotten

    async def wait(self, at_most_s: float) -> None:
        """Until something is decided, at most so long."""
        await self._store.await_entry((await self._read()).last, at_most_s)

    async def _read(self) -> Memory:
        if self._kept is None:
            self._kept = await asyncio.to_thread(_read, self._path, self._namespace)
        return self._kept

    async def _write_back(self, forgotten: Memory, fence: int) -> bool:
        """Whether it is written; else a rollout has moved meanwhile, and it is to be looked at anew."""
        look = await self._store.look()
        why = "the store had forgotten that a version of it went back. Look at what it is to do, and roll it back or on"
        steps = [
            (record, ask(record.rollout, Pause(who=BY_ITSELF, why=why), Seen(look.now_s)))
            for record in look.records
            if record.rollout.phase is not Phase.PAUSED and _is_barred(record, forgotten)
        ]
        paused = [(before, before.after(step.rollout), step.facts[0]) for before, step in steps]
        facts = {
            "what": "remember",
            "barred": {f"{model}/{version}": by for (model, version), by in sorted(forgotten.barred.items())},
            "stopped": sorted(forgotten.stopped),
            "models": sorted({model for model, _ in forgotten.barred} | forgotten.stopped.keys()),
        }
        said = LedgerEntry("recovery", "conductor", "The store had forgotten what went back, or was stopped.", facts)
        answer = await self._store.note(
            Beside(
                records=tuple(written(before, after) for before, after, _ in paused),
                entries=(said, *(entry_of(after, fact) for _, after, fact in paused)),
                jobs=tuple(job for nth, (_, after, fact) in enumerate(paused, 1) for job in jobs_of(after, fact, nth)),
                stopped_before={model: stop.encode() for model, stop in forgotten.stopped.items()},
                barred_before=forgotten.barred,
                fence=fence,
            )
        )
        refuse(answer)
        return answer.done


def _is_barred(record: Record, forgotten: Memory) -> bool:
    return any((record.model, version) in forgotten.barred for version in record.versions)


def _read(path: Path, namespace: str) -> Memory:
    """What the file says; nothing where there is none, or where nobody can read it, or it is of another namespace."""
    try:
        return decode_memory(path.read_text(encoding="utf-8"), namespace)
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError) as error:
        _log.warning("what is remembered at %s is not used: %s", path, error)
        return Memory()


def _write(path: Path, said: str) -> None:
    """Replaces the file by one that is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(said)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
