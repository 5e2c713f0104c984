"""The switch of one version, from outside: what its servers are told to do, and what they noted of their requests."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from loadtests.rollback.switched.behaviour import FOR_ALL, GOOD, Behaviour

_SOURCE = Path(__file__).with_name("switched")
WELL = Behaviour()


class Noted(NamedTuple):
    """One request, as the version noted it: when it came, seconds since 1970, and what became of it."""

    at_s: float
    fate: str

    @property
    def bad(self) -> bool:
        """Whether it is one of those that the version was told to treat badly."""
        return self.fate != GOOD


class Switch:
    """One version's.

    Args:
        folder: through which its servers are talked to; made here.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)

    def artifact(self, folder: Path) -> Path:
        """The version as Triton wants it, made in that folder, which is not there yet."""
        (folder / "1").mkdir(parents=True)
        shutil.copyfile(_SOURCE / "config.pbtxt", folder / "config.pbtxt")
        for name in ("model.py", "behaviour.py"):
            shutil.copyfile(_SOURCE / name, folder / "1" / name)
        (folder / "1" / "switch.txt").write_text(str(self._folder))
        return folder

    def all(self, behaviour: Behaviour) -> None:
        """Every server of the version does this from now on, those that come as well."""
        for only_one in self._folder.glob("[0-9]*.json"):
            only_one.unlink()
        self._say(FOR_ALL, behaviour)

    def one(self, server: int, behaviour: Behaviour) -> None:
        """One server alone does."""
        self._say(f"{server}.json", behaviour)

    def servers(self) -> Sequence[int]:
        """Those that are up, by the process that answers."""
        return sorted(number for one in self._folder.glob("up/*") if _lives(number := int(one.name)))

    def noted(self, since_s: float) -> Sequence[Noted]:
        """What came since then, in order."""
        files = [file.read_text() for file in self._folder.glob("noted/*")]
        lines = [line.split() for text in files for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return sorted(Noted(float(at_s), fate) for at_s, fate in lines if float(at_s) >= since_s)

    def _say(self, name: str, behaviour: Behaviour) -> None:
        """Whole or not at all: it is read while it is written."""
        new = self._folder / f"{name}.new"
        new.write_text(json.dumps(asdict(behaviour)))
        new.rename(self._folder / name)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
