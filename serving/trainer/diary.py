"""Episodes on disk: each a folder with a record that is replaced as a whole, so that a killed trainer goes on.

A record is on disk before the webhook is answered and before the next step begins. What a step needs to do the same
thing again, such as the number that the new version is to have, is written before it is done for the first time.

A record stays for good, for by it an episode that is told again is known. What takes room, the captured rows and the
artifact, goes where nothing came of them; on the next start where that was missed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from serving.errors import StartFailed

WINDOW: Final = "window.parquet"
"""The captured rows."""
ARTIFACT: Final = "model"
"""The folder of the new version."""

_RECORD: Final = "episode.json"


class Step(StrEnum):
    """How far an episode has come."""

    RECEIVED = "received"
    """The webhook has been heard, and nothing was done yet."""
    FETCHED = "fetched"
    """The captured window lies here."""
    TRAINED = "trained"
    """There is a new version, and it is the better one."""
    PREPARED = "prepared"
    """It has a number and a baseline, and what is to be registered is written down."""
    REGISTERED = "registered"
    """It is in the registry."""
    WATCHED = "watched"
    """The registry has its baseline."""
    DEPLOYED = "deployed"
    """It has servers."""
    ROLLING = "rolling"
    """Its rollout is under way."""

    PROMOTED = "promoted"
    """It has all of the traffic."""
    WENT_BACK = "went back"
    """Its rollout ended without it."""
    DECLINED = "declined"
    """There was nothing better to register."""
    FAILED = "failed"
    """Somebody refused what was asked for; `words` says what."""


ENDS: Final = frozenset({Step.PROMOTED, Step.WENT_BACK, Step.DECLINED, Step.FAILED})
_IN_VAIN: Final = ENDS - {Step.PROMOTED}


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode that asks for retraining.

    Attributes:
        id: of the episode; whatever is told of it again is about the same one.
        model: whose.
        cause: as the webhook had it, in words.
        stable: the version that served when that was decided; None where nobody said.
        window: the path of the control API where the captured rows are.
        received_s: when it was heard, seconds since 1970.
        step: how far it has come.
        moved_s: when it came there.
        words: what came of the last step, or why the next one waits.
        number: what the new version is called; None before that is decided.
        rollout: the id of its rollout; empty before it began.
        report: how old and new version did, as `judging` has it; empty before.
    """

    id: str
    model: str
    cause: str
    stable: int | None
    window: str
    received_s: float
    step: Step = Step.RECEIVED
    moved_s: float = 0.0
    words: str = ""
    number: int | None = None
    rollout: str = ""
    report: Mapping[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be done."""
        return self.step in ENDS

    def at(self, step: Step, words: str, now_s: float, **found: Any) -> Episode:  # noqa: ANN401 - fields of this class
        """The same, one step on; `found` are fields that are known now."""
        return replace(self, step=step, words=words, moved_s=now_s, **found)

    def waiting(self, words: str) -> Episode:
        """The same, where the next step has to wait."""
        return replace(self, words=words)


class Diary:
    """All episodes of one trainer. Blocks.

    Args:
        folder: where they lie; made if it is not there, for this user's eyes alone.

    Raises:
        StartFailed: a record there cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = [_read(file) for file in folder.glob(f"*/{_RECORD}")]
        self._episodes = {one.id: one for one in sorted(found, key=lambda one: one.received_s)}
        for episode in found:
            self._tidy(episode)

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """All of them, in the order in which they were heard."""
        return tuple(self._episodes.values())

    def folder_of(self, episode: Episode) -> Path:
        """Where what belongs to it lies."""
        return self._folder / episode.id

    def has(self, episode_id: str) -> bool:
        """Whether it was heard of before."""
        return episode_id in self._episodes

    def keep(self, episode: Episode) -> None:
        """Writes it, and returns once it is on disk; what it needs no more is gone then."""
        folder = self.folder_of(episode)
        if not folder.exists():
            folder.mkdir(mode=0o700)
            _sync(self._folder)
        write(folder / _RECORD, json.dumps(asdict(episode), indent=2).encode())
        self._episodes[episode.id] = episode
        self._tidy(episode)

    def _tidy(self, episode: Episode) -> None:
        """Removes what takes room where nothing came of it; what cannot be removed now is on the next start."""
        if episode.step not in _IN_VAIN:
            return
        folder = self.folder_of(episode)
        shutil.rmtree(folder / ARTIFACT, ignore_errors=True)
        for file in (folder / WINDOW, _beside(folder / WINDOW)):
            with suppress(OSError):
                file.unlink(missing_ok=True)


def write(file: Path, content: bytes) -> None:
    """Replaces a file as a whole; it is on disk when this returns."""
    beside = _beside(file)
    with beside.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(file)
    _sync(file.parent)


def _beside(file: Path) -> Path:
    """Where it is written before it is whole."""
    return file.with_name(f".{file.name}")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(file: Path) -> Episode:
    try:
        said = json.loads(file.read_bytes())
        return Episode(**{**said, "step": Step(said["step"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StartFailed(
            f"{file} cannot be read: {error}.", "Look what is in it, and move its folder away if nobody needs it."
        ) from error
