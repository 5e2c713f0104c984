"""The same on real servers: a candidate that gets copies only, behind a real gateway, is left alone with its rollout.

One that confuses two classes in one region, a twentieth of all requests, has to go back by itself, and the diff to say
in which output and in which region. One that only has the noise that stable has as well must not.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import uvloop

from loadtests.installation import Installation, installation
from loadtests.rollback.figures import BACK, PROMOTED, Figure, entry_of
from loadtests.rollback.heard import Heard
from loadtests.rollback.operator import Operator, Standing, told
from loadtests.shadow.proof import Asked, Proof
from loadtests.steady import Steady

MODEL: Final = "animals"
STABLE, CONFUSED, NOISY = 1, 2, 3
NOISE: Final = 0.005
REGIONS: Final = 20
SEGMENT: Final = "x-region"
"""The header that names the region."""
CONFUSED_IN: Final = "r7"
WRONG: Final = ("cat", "dog")
"""What stable says, and what the candidate makes of it there."""
_SOURCE: Final = Path(__file__).with_name("answering")
_RATE: Final = 60.0
_UP_WITHIN_S: Final = 180.0
_STARTS_WITHIN_S: Final = 60.0
_BACK_WITHIN_S: Final = 300.0
_DIFF_WITHIN_S: Final = 30.0
_BY_EVIDENCE: Final = "breach"
_NOWHERE: Final[Mapping[str, Any]] = MappingProxyType({"value": "none", "disagreement": {"events": 0, "total": 0}})
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({"stable": "", "candidate": "", "count": 0})


@dataclass(frozen=True, slots=True)
class Room:
    """An installation that is up, and somebody at its command line."""

    running: Installation
    operator: Shadower

    def load(self, heard: Heard) -> Steady:
        """Requests at a constant rate for as long as its block lasts."""
        place = urlsplit(self.running.http_url)
        return Steady(str(place.hostname), place.port or 80, _RATE, _request, heard.hear)

    async def begins(self, candidate: int, lasts: str) -> str:
        """The id of a rollout that copies every request to that version, in its stage."""
        rollout = await self.operator.copies(MODEL, candidate, lasts)
        await self.operator.comes_to(rollout, lambda one: one["stage"] is not None, "in its stage", _STARTS_WITHIN_S)
        return rollout

    async def ends(self, rollout: str, within_s: float) -> Standing:
        """How it stands once it is over."""
        return await self.operator.comes_to(rollout, lambda one: bool(one["over"]), "over", within_s)


class Shadower(Operator):
    """Somebody who has requests copied."""

    async def copies(self, model: str, candidate: int, lasts: str) -> str:
        """The id of a rollout that has begun: every request copied, stable asked again, broken down by region."""
        words = ("rollout", "start", model, "--candidate", str(candidate), "--shadow", "100%", "--shadow-for", lasts)
        said = await self._typed(*words, "--noise", "100%", "--segment", SEGMENT, "--again", "--json")
        return str(json.loads(said)["rollout"]["id"])

    async def diff(self, rollout: str) -> Mapping[str, Any]:
        """What `sluice rollout diff` finds."""
        return dict(json.loads(await self._typed("rollout", "diff", rollout, "--json")))


async def confused(room: Room) -> Sequence[Figure]:
    """It goes back by itself, and the diff says where."""
    began_s, heard = time.monotonic(), Heard()
    async with room.load(heard):
        rollout = await room.begins(CONFUSED, "1h")
        there = await room.ends(rollout, _BACK_WITHIN_S)
        took_s = time.monotonic() - began_s
    back = entry_of(await room.operator.story(rollout), BACK)
    by_itself = back is not None and back["facts"]["what"] == _BY_EVIDENCE
    copies = there["verdicts"][str(CONFUSED)]["copies"] or {}
    return (
        Figure("it goes back by itself", told(there), by_itself and "disagreements" in there["cause"]),
        Figure("pairs that it took, and seconds", f"{copies.get('pairs', 0):,} in {took_s:.0f} s"),
        *_pointed_at(await _told_diff(room, rollout)),
        _unharmed(heard, CONFUSED),
    )


async def only_noise(room: Room, lasts_s: int) -> Sequence[Figure]:
    """It stays to its end."""
    heard = Heard()
    async with room.load(heard):
        rollout = await room.begins(NOISY, f"{lasts_s}s")
        there = await room.ends(rollout, lasts_s + _BACK_WITHIN_S)
    copies = there["verdicts"][str(NOISY)]["copies"] or {}
    noise = copies.get("noise") or {"events": 0, "total": 0}
    said = f"{noise['events']:,} of {noise['total']:,} pairs of its own"
    return (
        Figure("it is not taken back", told(there), there["phase"] == PROMOTED),
        Figure("pairs that were looked at", f"{copies.get('pairs', 0):,}", copies.get("pairs", 0) > 0),
        Figure("stable differs from itself in", said, noise["events"] > 0),
        _unharmed(heard, NOISY),
    )


def played(asked: Asked, *names: str) -> Sequence[Figure]:
    """The figures of these scenarios, by name: "confused", "only noise"."""
    with tempfile.TemporaryDirectory(prefix="sluice-shadow-") as place:
        return played_in(Path(place), asked, *names)


def played_in(folder: Path, asked: Asked, *names: str) -> Sequence[Figure]:
    """The same, in an installation in that folder."""
    with installation(folder, _settings(folder)) as running:
        return uvloop.run(_all(running, asked, names))


async def _all(running: Installation, asked: Asked, names: Sequence[str]) -> Sequence[Figure]:
    async with running.client() as control:
        room = Room(running, Shadower(running, control))
        for version in (STABLE, CONFUSED, NOISY):
            await room.operator.is_up(MODEL, version, 1, _UP_WITHIN_S)
        figures: list[Figure] = []
        for name in names:
            figures += await _played(room, name, asked)
        return figures


def _played(room: Room, name: str, asked: Asked) -> Coroutine[Any, Any, Sequence[Figure]]:
    return confused(room) if name == "confused" else only_noise(room, 30 if asked.quick else 120)


async def _told_diff(room: Room, rollout: str) -> Mapping[str, Any]:
    """The diff, once all that its keepers found has been written."""
    deadline = time.monotonic() + _DIFF_WITHIN_S
    while True:
        found = await room.operator.diff(rollout)
        if all(figure.good for figure in _pointed_at(found)) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(1.0)


def _pointed_at(diff: Mapping[str, Any]) -> tuple[Figure, ...]:
    """Whether the diff names the region, the output, and what is taken for what there."""
    found: Mapping[str, Any] = next(iter(diff["candidates"]), {"outputs": [], "segments": []})
    regions: list[Any] = next((one["values"] for one in found["segments"] if one["header"] == SEGMENT), [])
    label = next((one for one in found["outputs"] if one["output"] == "label"), None)
    most = max(label["confused"], key=_count, default=_NOTHING) if label else _NOTHING
    worst = max(regions, key=_part, default=_NOWHERE)
    others = sum(_events(one) for one in regions) - _events(worst)
    where = f"{worst['value']}: {_events(worst):,} of {worst['disagreement']['total']:,}; {others:,} in all others"
    what = f"{most['count']:,} times {most['stable']} taken for {most['candidate']}, in label"
    return (
        Figure("the diff names the region", where, worst["value"] == CONFUSED_IN),
        Figure("and the output, with what is taken for what", what, (most["stable"], most["candidate"]) == WRONG),
        Figure("its words", "; ".join(found.get("words", [])) or "none", bool(found.get("words"))),
    )


def _count(one: Mapping[str, Any]) -> int:
    return int(one["count"])


def _events(one: Mapping[str, Any]) -> int:
    return int(one["disagreement"]["events"])


def _part(one: Mapping[str, Any]) -> float:
    return _events(one) / max(1, int(one["disagreement"]["total"]))


def _unharmed(heard: Heard, candidate: int) -> Figure:
    """No client was answered by the version, or had an error."""
    errors = heard.errors.total()
    said = f"{heard.answers:,} answers, {heard.good[candidate]:,} of the candidate's, {errors:,} errors"
    return Figure("what clients heard", said, not errors and not heard.good[candidate] and heard.answers > 0)


def _settings(folder: Path) -> Mapping[str, Any]:
    how = {STABLE: (NOISE, False), CONFUSED: (NOISE, True), NOISY: (NOISE, False)}
    versions = [
        {"version": version, "path": str(_artifact(folder / "models" / str(version), *one)), "keep_warm_s": 86_400}
        for version, one in how.items()
    ]
    return {
        "models": [{"name": MODEL, "versions": versions, "traffic": {STABLE: "100%"}}],
        "gateway": {"workers": 2},
        "triton": {"port_range": 0},
    }


def _artifact(folder: Path, noise: float, confuses: bool) -> Path:  # noqa: FBT001 - two of a version's own
    (folder / "1").mkdir(parents=True)
    shutil.copyfile(_SOURCE / "config.pbtxt", folder / "config.pbtxt")
    shutil.copyfile(_SOURCE / "model.py", folder / "1" / "model.py")
    (folder / "1" / "answering.json").write_text(json.dumps({"noise": noise, "confuses": confuses}))
    return folder


def _request(number: int) -> bytes:
    """Request number n: of one region after the other, and of each class in all of them."""
    region, row = number % REGIONS, number // REGIONS
    tensors = {"row": row, "region": region}
    inputs = [{"name": name, "datatype": "INT64", "shape": [1, 1], "data": [one]} for name, one in tensors.items()]
    body = json.dumps({"inputs": inputs})
    head = (
        f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nhost: sluice\r\ncontent-type: application/json\r\n"
        f"{SEGMENT}: r{region}\r\nsluice-unit: {number}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return f"{head}{body}".encode()


def _plays_confused(asked: Asked) -> Sequence[Figure]:
    return played(asked, "confused")


def _plays_noise(asked: Asked) -> Sequence[Figure]:
    return played(asked, "only noise")


PROOFS: Final = (
    Proof("real-confused", "Triton: one class taken for another, in one region of twenty", _plays_confused),
    Proof("real-noise", "Triton: a version with stable's own noise, and no other fault", _plays_noise),
)
