"""What is in hand knows what the store has of it, tells findings once, and stands behind an episode of the rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from drift.alarm import Alarm, Episode
from drift.findings import Finding
from drift.in_hand import InHand
from drift.reading import Layer
from drift.status import LayerStatus
from tests.drift.incidents import NOW_S, finding, layer_status, status

_WORDS = "It errs."


@dataclass(frozen=True)
class _Standing:
    alarm: Alarm = field(default_factory=lambda: Alarm("labels"))
    layer: LayerStatus | None = None


class _Counted(InHand[_Standing]):
    def go_on(self, standing: _Standing, *found: Finding) -> None:
        self.standing = standing
        self._findings += found

    status = InHand._status


def _raised(closed_s: float | None = None) -> _Standing:
    episode = Episode("ep-labels", NOW_S, NOW_S, (Layer.LABELS,), closed_s=closed_s)
    return _Standing(Alarm("labels", episode=episode), layer_status(Layer.LABELS))


def test_findings_wait_until_they_are_stored_and_are_told_once() -> None:
    """In their order, and only those that are new since."""
    one = _Counted(_Standing(), None)
    first, second = finding(1, Layer.LABELS), finding(2, Layer.LABELS)
    one.go_on(_raised(), first)
    one.go_on(_raised(), second)
    assert one.findings == (first, second)
    assert one.stored() == (first, second)
    assert [*one.findings, *one.stored()] == []
    one.go_on(_raised(), second)
    assert one.stored() == (second,)


def test_what_is_stored_is_stored_until_it_goes_on() -> None:
    """What was read from the store need not be written; what is new has to be, though it says nothing yet."""
    read = _Standing()
    assert _Counted(read, read).is_stored
    one = _Counted(_Standing(), None)
    seen = [one.is_stored]
    one.stored()
    seen.append(one.is_stored)
    one.go_on(replace(one.standing))
    assert [*seen, one.is_stored] == [False, True, False]


@pytest.mark.parametrize(
    ("rows", "standing", "episode", "added"),
    [
        ((), _Standing(), None, ""),
        ((), _raised(), "ep-labels", f" {_WORDS}"),
        ((), _raised(closed_s=NOW_S), "ep-labels", ""),
        ((Layer.UNIVARIATE,), _Standing(), "ep-1", ""),
        ((Layer.UNIVARIATE,), _raised(), "ep-1", f" {_WORDS}"),
        ((Layer.UNIVARIATE,), _raised(closed_s=NOW_S), "ep-1", ""),
    ],
)
def test_an_open_episode_of_the_rows_goes_first(
    rows: tuple[Layer, ...], standing: _Standing, episode: str | None, added: str
) -> None:
    """The sentence is there while the alarm is raised, whoever's episode is shown."""
    about = status(1, 9, *rows)
    told = _Counted(standing, None).status(about, _WORDS)
    assert (None if told.episode is None else told.episode.identity) == episode
    assert told.sentence == f"{about.sentence}{added}"
    assert told.layers == (about.layers if standing.layer is None else (*about.layers, standing.layer))


def test_an_episode_of_the_rows_that_is_over_makes_room() -> None:
    """For one that lasts; without one it is still shown."""
    about = status(1, 9, Layer.UNIVARIATE)
    assert about.episode is not None
    over = replace(about, episode=replace(about.episode, closed_s=NOW_S))
    for standing, episode in ((_raised(), "ep-labels"), (_Standing(), "ep-1")):
        told = _Counted(standing, None).status(over, _WORDS)
        assert told.episode is not None
        assert told.episode.identity == episode
