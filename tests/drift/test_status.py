"""What people are told comes back as it was written, and what is no status is refused in a sentence."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from drift import status
from drift.errors import Damaged, Unfit
from drift.keys import DriftKeys
from drift.status import EpisodeStatus, LayerSeen, LayerStatus, Samples, Status, UnderWay, WindowSeen

_LAYER = LayerStatus("univariate", "distance", 1.5, 2.0, 0.2, -0.1, 0.0, 9.0, 12.5, "", ("x[2]", "price"), 11.5)
_STATUS = Status(
    "digits", 3, "ab12", "Watched: calm.", 1_000.0, "f" * 64, learned=True, rows=500, windows=1, last_s=999.0,
    heard_s=998.0, under_way=UnderWay(3, 500, 999.0, 60.0), layers=(_LAYER,),
    episode=EpisodeStatus("e1", 1.0, 2.0, ("univariate",), 3.0), samples=Samples(9, 1, 2, 0, 4),
)  # fmt: skip
_SEEN = WindowSeen(1.0, 2.0, 500, "f" * 64, 9.0, alarmed=True, episode="e1", layers={"schema": LayerSeen(1, 0, 2, 3)})


def test_both_come_back_from_json() -> None:
    """Also with members that only a newer release knows."""
    plain = {**_STATUS.plain(), "newer": 1}
    assert status.read(json.loads(json.dumps(plain, allow_nan=False))) == _STATUS
    seen = {**_SEEN.plain(), "newer": 1}
    assert status.window_read(json.loads(json.dumps(seen, allow_nan=False))) == _SEEN


def test_a_layer_of_an_older_release_was_heard_nobody_knows_when() -> None:
    """It is read as it stands, without the time."""
    plain = _STATUS.plain()
    del plain["layers"][0]["heard_s"]
    assert status.read(plain).layers == (replace(_LAYER, heard_s=None),)


@pytest.mark.parametrize(
    "said", [{}, {"model": "a"}, {**_STATUS.plain(), "layers": [1]}, {**_STATUS.plain(), "samples": 3}]
)
def test_what_is_no_status_is_refused(said: dict[str, object]) -> None:
    """Whatever stands there."""
    with pytest.raises(Damaged, match="This is no status"):
        status.read(said)


def test_what_is_no_window_is_refused() -> None:
    """Likewise."""
    with pytest.raises(Damaged, match="This is no window"):
        status.window_read({**_SEEN.plain(), "layers": {"schema": {}}})


def test_an_episode_drifts_until_it_is_closed() -> None:
    """The last one is told as well, and is no drift any more."""
    assert not _STATUS.is_drifting
    assert status.read({**_STATUS.plain(), "episode": {**_STATUS.plain()["episode"], "closed_s": None}}).is_drifting


@pytest.mark.parametrize(("given", "told"), [(float("-inf"), 0.0), (-3.0, 0.0), (2.5, 2.5), (float("nan"), 0.0)])
def test_evidence_is_a_number_that_json_has(given: float, told: float) -> None:
    """Less than none is none."""
    assert status.evidence(given) == told


def test_names_share_a_slot_and_a_namespace_is_checked() -> None:
    """So that one script may touch them all."""
    keys = DriftKeys("a-1")
    found = {keys.sampled, keys.status, keys.findings, keys.sidecars, keys.samples("m"), keys.lease("m")}
    found |= {keys.keepers("m"), keys.state("m", 1), keys.history("m", 1), keys.learning("m", 1)}
    found |= {keys.arms("m", 1), keys.labels("m", 1)}
    assert len(found) == 12
    assert all(name.startswith("{a-1}:drift:") for name in found)
    with pytest.raises(Unfit, match="is no namespace"):
        DriftKeys("a b")
