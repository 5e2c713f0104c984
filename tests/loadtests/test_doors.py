"""Doors of the comparison: what a gateway is started with lets in exactly whoever shows what the door asks for."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from loadtests.compare.doors import ALL_LIMITS, OPEN, Door, doors
from loadtests.compare.plan import ACCESS, FULL
from loadtests.compare.targets import ACCESS_TARGETS, TARGETS, Fact, Measured, judge
from serving.access.config import TokenRules
from serving.access.keys import decode
from serving.access.principal import UNLIMITED, Principal
from serving.access.roles import Needs
from serving.access.verifier import Verifier

NAMES = ("key", "token", "key with limits")


def _door(folder: Path, name: str) -> Door:
    return next(door for door in doors(folder) if door.name == name)


def _verifier(door: Door) -> Verifier:
    """By the files that the gateway's options name."""
    files = dict(option.removeprefix("--").split("=", 1) for option in door.options)
    known = json.loads(Path(files["keys"]).read_text())
    rules = TokenRules.from_dict(json.loads(Path(files["token-rules"]).read_text())) if "token-rules" in files else None
    return Verifier(map(decode, known["keys"]), known["jwks"], rules)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_door_shows_is_let_in(name: str, tmp_path: Path) -> None:
    """As somebody who may predict, and limited only where the door is."""
    door = _door(tmp_path, name)
    found = _verifier(door).verify(door.headers["Authorization"].encode(), time.time())
    assert isinstance(found, Principal)
    assert found.may(Needs.PREDICT, "m")
    assert found.limits == (ALL_LIMITS if name == "key with limits" else UNLIMITED)


@pytest.mark.parametrize("name", NAMES)
def test_no_door_lets_in_another_ones_caller(name: str, tmp_path: Path) -> None:
    """So that what is measured is the door's own check."""
    others = [door for door in doors(tmp_path) if door.name != name]
    verifier = _verifier(_door(tmp_path, name))
    for other in others:
        assert not isinstance(verifier.verify(other.headers["Authorization"].encode(), time.time()), Principal)


def test_the_open_door_asks_for_nothing() -> None:
    """It is what the others are held against."""
    assert (OPEN.options, dict(OPEN.headers), OPEN.facts) == ((), {}, ())


def test_doors_bring_every_figure_that_they_are_judged_by(tmp_path: Path) -> None:
    """In a full run and in one of access alone; each figure has one door."""
    brought = [fact for door in doors(tmp_path) for fact in door.facts]
    assert len(set(brought)) == len(brought)
    wanted = {target.figure.fact for target in ACCESS_TARGETS if isinstance(target.figure, Measured)}
    assert wanted <= set(brought)
    assert set(ACCESS_TARGETS) <= set(TARGETS)
    assert ACCESS.access == FULL.access >= 5


@pytest.mark.parametrize(("keys", "tokens", "met"), [(0.05, 0.08, [True, True]), (0.051, 0.081, [False, False])])
def test_keys_may_cost_a_twentieth_and_tokens_a_little_more(keys: float, tokens: float, met: list[bool]) -> None:
    """The bounds themselves are met."""
    verdicts = judge(ACCESS_TARGETS, {}, {Fact.KEYS: keys, Fact.TOKENS: tokens})
    assert [verdict.met for verdict in verdicts if verdict.target.what in {Fact.KEYS, Fact.TOKENS}] == met


def test_secrets_are_in_no_door_s_words(tmp_path: Path) -> None:
    """Neither in what it prints of itself, nor in what becomes a process's arguments."""
    for door in doors(tmp_path):
        secret = door.headers["Authorization"].removeprefix("Bearer ")
        assert secret not in repr(door)
        assert not any(secret in option for option in door.options)
