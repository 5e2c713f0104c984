"""What a version does with its requests: the form of the file that says so, and what becomes of one of them.

It is copied beside `model.py`, and Triton's stub imports it there, so it may import nothing of this project.
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path

FOR_ALL = "behaviour.json"
GOOD = "good"


@dataclass(frozen=True)
class Behaviour:
    """What it does; well, unless it says otherwise.

    Attributes:
        fails: the share of requests that get an error.
        slower: by what their time is multiplied.
        hangs: whether nothing is answered.
        crashes_at: at which request its server dies, counted from when it was told so; 0 for never.
    """

    fails: float = 0.0
    slower: float = 1.0
    hangs: bool = False
    crashes_at: int = 0

    def fate(self, number: int, draw: float) -> str:
        """What becomes of a server's request of that number, by a number drawn from 0 to 1."""
        if number == self.crashes_at:
            return "crashed"
        if self.hangs:
            return "hung"
        if draw < self.fails:
            return "failed"
        return GOOD if self.slower == 1 else "slow"


def behaviour_in(folder: Path, pid: int) -> Behaviour:
    """What the folder says to the server with this stub; what it says to all where it says nothing to that one."""
    for name in (f"{pid}.json", FOR_ALL):
        try:
            said = json.loads((folder / name).read_text())
        except FileNotFoundError:
            continue
        return Behaviour(**{one.name: said[one.name] for one in fields(Behaviour) if one.name in said})
    return Behaviour()
