"""How far watching has come as fields of a hash, and back: what one sidecar stores and the next one goes on from.

The trail and the window under way are their own canonical bytes; all else is JSON, where floats come back to the bit.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, Final

from drift import window as windows
from drift.alarm import Alarm, Chain, Episode
from drift.baseline_form import reading
from drift.progress import Progress
from drift.reading import Layer
from drift.status import layer_read
from drift.watch import Standing
from drift.window import Window

FORM: Final = 1
"""What is written for a newer reader is begun anew."""

_SAID: Final = "said"
_TRAIL: Final = "trail"
_UNDER_WAY: Final = "under_way"


def fields_of(progress: Progress, before: Progress | None = None) -> dict[str, bytes]:
    """The fields that differ from those of `before`; all of them where that is None. Empty bytes stand for none."""
    fields = {_SAID: json.dumps(_plain(progress), sort_keys=True, allow_nan=False).encode()}
    if before is None or progress.standing.trail is not before.standing.trail:
        fields[_TRAIL] = blob_of(progress.standing.trail)
    if before is None or progress.under_way is not before.under_way:
        fields[_UNDER_WAY] = blob_of(progress.under_way)
    return fields


def is_filling(fields: Mapping[str, bytes]) -> bool:
    """Whether a window is under way, as far as can be seen without reading it."""
    return bool(fields.get(_UNDER_WAY))


def read(fields: Mapping[str, bytes], baseline: str) -> Progress | None:
    """What these fields hold; None where it is held against another baseline than the one of this digest.

    Raises:
        Damaged: they are none.
    """
    with reading("progress"):
        plain = json.loads(fields[_SAID])
        if plain["form"] != FORM:
            raise ValueError(f"it is written for readers of form {plain['form']!r}")
        trail, under_way = window_of(fields[_TRAIL]), window_of(fields[_UNDER_WAY])
        if plain["baseline"] != baseline:
            return None
        if any(one is not None and one.baseline != baseline for one in (trail, under_way)):
            raise ValueError("its windows are held against another baseline")
        return Progress(
            Standing(alarm_of(plain["alarm"]), trail),
            under_way,
            int(plain["rows"]),
            int(plain["windows"]),
            plain["heard_s"],
            plain["last_s"],
            tuple(map(layer_read, plain["layers"])),
            str(plain.get("strata", "")),
        )


def _plain(progress: Progress) -> dict[str, Any]:
    alarm = progress.standing.alarm
    return {
        "form": FORM,
        "baseline": alarm.subject.rpartition(" ")[2],
        "alarm": alarm_plain(alarm),
        "rows": progress.rows,
        "windows": progress.windows,
        "heard_s": progress.heard_s,
        "last_s": progress.last_s,
        "layers": [dataclasses.asdict(one) for one in progress.layers],
        "strata": progress.strata,
    }


def alarm_plain(alarm: Alarm) -> dict[str, Any]:
    """The alarm as JSON has it."""
    return {
        "subject": alarm.subject,
        "chains": {layer.value: _chain_plain(chain) for layer, chain in alarm.chains.items()},
        "episode": None if alarm.episode is None else dataclasses.asdict(alarm.episode),
    }


def alarm_of(plain: Mapping[str, Any]) -> Alarm:
    """The alarm in plain values."""
    chains = {
        Layer(name): Chain(-math.inf if log_sr is None else float(log_sr), float(log_rise), since_s)
        for name, (log_sr, log_rise, since_s) in plain["chains"].items()
    }
    return Alarm(str(plain["subject"]), chains, _episode(plain["episode"]))


def blob_of(window: Window | None) -> bytes:
    """Its bytes; empty for none."""
    return b"" if window is None else window.blob()


def window_of(blob: bytes) -> Window | None:
    """The window in these bytes; None for none."""
    return windows.read(blob) if blob else None


def _chain_plain(chain: Chain) -> list[float | None]:
    return [None if math.isinf(chain.log_sr) else chain.log_sr, chain.log_rise, chain.since_s]


def _episode(plain: Mapping[str, Any] | None) -> Episode | None:
    if plain is None:
        return None
    return Episode(**{**plain, "layers": tuple(Layer(name) for name in plain["layers"])})
