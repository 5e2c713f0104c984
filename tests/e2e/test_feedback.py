"""A/B tests that are decided by feedback, on the real Ray, Triton and Valkey: it comes later than the answer.

Rewards are drawn by the client, as its users would give them; the delay of minutes is seconds here.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from loadtests.beside import Beside
from tests.e2e.load import MODEL
from tests.e2e.numbered import ROW
from tests.e2e.rolling_room import RollingRoom, rolling_room
from tests.e2e.system import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

DELAY_S = 4.0
TRIAL = {"arms": {"2": "50%"}, "for": "1d", "decide": "first", "decide_by": {"metric": "reward"}}


class Users(Beside):
    """Clients that ask, and say some seconds later, in no order, how well the answer served them.

    Args:
        room: whom they ask.
        means: the mean reward of each version's answers; their deviation is 1.
    """

    def __init__(self, room: RollingRoom, means: dict[int, float]) -> None:
        super().__init__()
        self.became: dict[str, int] = {}
        self.said = 0
        self._room, self._means, self._rng = room, means, random.Random(11)
        self._later: deque[tuple[float, dict[str, Any]]] = deque()

    def goes_on(self) -> None:
        """Asks, and says of every tenth answer how those before it were."""
        with httpx.Client(base_url=f"http://{self._room.host}:{self._room.port}") as client:
            nth = 0
            while not self.over.is_set():
                nth += 1
                self._ask(client, nth)
                if nth % 10 == 0:
                    self._say()

    def _ask(self, client: httpx.Client, nth: int) -> None:
        answer = client.post(f"/v2/models/{MODEL}/infer", json=ROW, headers={"sluice-unit": f"user-{nth}"})
        answer.raise_for_status()
        reward = round(self._rng.gauss(self._means[int(answer.headers["sluice-version"])], 1.0), 6)
        item = {"request_id": answer.headers["sluice-request-id"], "metrics": {"reward": reward}}
        self._later.append((time.monotonic() + self._rng.uniform(0.5, 1) * DELAY_S, item))

    def _say(self) -> None:
        now_s = time.monotonic()
        due = [item for at_s, item in self._later if at_s <= now_s]
        self._later = deque(one for one in self._later if one[0] > now_s)
        self._rng.shuffle(due)
        if due:
            answer = self._room.api.post("/feedback", json={"items": [*due, due[0]]})  # one of them twice
            answer.raise_for_status()
            self.said += len(due)
            for kind, count in answer.json()["counts"].items():
                self.became[kind] = self.became.get(kind, 0) + count


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RollingRoom]:
    """Up for all of these tests."""
    with rolling_room(tmp_path_factory.mktemp("feedback")) as room:
        yield room


@pytest.fixture(autouse=True)
def _as_before(room: RollingRoom) -> Iterator[None]:
    """Each test finds version 1 alone, and leaves it so."""
    yield
    room.restore()


def test_a_true_difference_is_decided_for_the_better_version(room: RollingRoom) -> None:
    """Before its time is over, by the evidence alone; every reward was counted once."""
    rollout = room.start({"ab_test": TRIAL})
    with Users(room, {1: 0.0, 2: 0.8}) as users:
        room.comes_to(rollout, "promoted")
    assert room.policy()["stable"] == 2
    assert set(users.became) == {"accepted", "duplicate"}
    assert users.became["accepted"] == users.said
    [metric] = _results(room, rollout)["metrics"]
    [arm] = metric["candidates"]
    assert arm["effect"]["shown"] == "better"
    assert arm["effect"]["lower"] < 0.8 < arm["effect"]["upper"]
    assert "names version 2" in room.sluice("rollout", "results", rollout)


def test_without_a_difference_nothing_is_decided_and_it_is_said_what_it_would_take(room: RollingRoom) -> None:
    """How many values more, and how long that is; whoever lies about their id changes nothing."""
    rollout = room.start({"ab_test": TRIAL})
    with Users(room, {1: 0.5, 2: 0.5}) as users:
        until(lambda: users.said >= 600, "six hundred rewards")
        forged = room.api.post("/feedback", json={"request_id": "A" * 68, "metrics": {"reward": 1e6}})
        assert forged.json()["counts"] == {"forged": 1}
        until(lambda: _judged(room, rollout), "an interval")
    found = _results(room, rollout)
    assert found["winner"] is None
    assert room.rollout(rollout)["phase"] == "running"
    [arm] = found["metrics"][0]["candidates"]
    assert arm["effect"]["shown"] == ""
    assert arm["effect"]["trusted"]
    assert arm["effect"]["lower"] < 0 < arm["effect"]["upper"]
    assert any("more values" in words and "at the present rate" in words for words in found["words"]), found["words"]
    assert found["metrics"][0]["stable"]["values"]["count"] + arm["values"]["count"] <= users.said


def _results(room: RollingRoom, rollout: str) -> dict[str, Any]:
    return room.asked("GET", f"/rollouts/{rollout}/results")


def _judged(room: RollingRoom, rollout: str) -> bool:
    arms = [arm for metric in _results(room, rollout)["metrics"] for arm in metric["candidates"]]
    return any(arm["effect"] is not None and arm["effect"]["lower"] is not None for arm in arms)
