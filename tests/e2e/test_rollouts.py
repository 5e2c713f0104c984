"""Rollouts in all four modes on the real Ray, Triton and Valkey, with three gateways, under load.

Every answer of every load is a 200 and where `choose` puts it at the epoch that it names.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from router.choose import Reason
from tests.e2e.load import MODEL, Seen
from tests.e2e.receiver import GATE, HOOK
from tests.e2e.rolling_room import OTHER, RollingRoom, rolling_room
from tests.e2e.system import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

STAFF = {"name": "x-tier", "values": ["staff"]}
HALF = {"candidate": 2, "canary": {"needs": "minima", "steps": ["50%"], "hold": "1d"}}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RACES = 1_000


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RollingRoom]:
    """Up for all of these tests."""
    with rolling_room(tmp_path_factory.mktemp("rollouts")) as room:
        yield room


@pytest.fixture(autouse=True)
def _as_before(room: RollingRoom) -> Iterator[None]:
    """Each test finds version 1 alone, and leaves it so."""
    yield
    room.restore()


def test_a_shadow_gets_copies_and_no_client_sees_it(room: RollingRoom) -> None:
    """Its Triton answers exactly the copies that the policy asks for; at the end everything is as it was."""
    base, before = room.policy(), room.inferences(3)
    told = {"guardrails": [{"watches": "errors"}, {"watches": "disagreements", "weight": 0}]}  # each answers its number
    copies = {"sample": "50%", "for": "1s", "min_requests": 20}
    with room.load() as load:
        rollout = room.start({"candidate": 3, "shadow": copies, "judged_by": told})
        room.comes_to(rollout, "promoted")
    entries = room.ledger()
    assert set(load.judged(entries).by_version) == {1}
    assert load.copies_due(entries, 3) >= 20
    until(lambda: room.inferences(3) - before == load.copies_due(entries, 3), "the last copies", 5)
    assert room.policy() == base
    assert [one["facts"]["event"] for one in room.why(rollout)] == ["started", "entered", "finished"]


def test_a_canary_walks_by_itself_to_its_promotion(room: RollingRoom) -> None:
    """Each step has its time and its requests; the old version is warm while the new one is watched."""
    canary = {"steps": ["10%", "50%", "100%"], "needs": "minima", "hold": "1s", "min_requests": 5, "watch": "1s"}
    with room.load() as load:
        rollout = room.start({"candidate": 2, "canary": canary})
        room.comes_to(rollout, "watching")
        assert (room.policy()["stable"], room.ready()) == (2, {1, 2, 3})
        room.comes_to(rollout, "promoted")
    judged = load.judged(room.ledger())
    assert set(judged.by_version) == {1, 2}
    told = room.why(rollout)
    assert [one["facts"]["event"] for one in told] == ["started", *["entered"] * 4, "promoted"]
    assert [one["facts"]["numbers"]["share_ppm.2"] for one in told[1:]] == [100_000, 500_000, *[1_000_000] * 3]
    left = [one["facts"]["numbers"] for one in told[2:5]]  # what each step had when it was left
    assert all(one["requests.2"] >= 5 and one["stage_s"] >= 1 for one in left), left
    assert room.policy()["stable"] == 2


def test_a_unit_that_has_the_new_version_keeps_it_while_its_share_grows(room: RollingRoom) -> None:
    """Over all the steps of a canary nobody who had got it is given the old one again."""
    units = 50
    got: dict[str, list[int]] = {f"unit-{number}": [] for number in range(units)}
    rollout = room.start({"candidate": 2, "canary": {"needs": "minima", "steps": ["20%", "60%", "100%"], "hold": "1d"}})
    room.comes_to(rollout, "running")
    with httpx.Client(base_url=f"http://{room.host}:{room.port}") as client:
        for step in range(3):
            if step:
                room.moved(rollout, "promote")
            for unit, versions in got.items():
                answer = client.post(f"/v2/models/{MODEL}/infer", json=_ROW, headers={"sluice-unit": unit})
                versions.append(int(answer.headers["sluice-version"]))
    assert all(versions == sorted(versions) for versions in got.values()), got
    counts = [sum(versions[step] == 2 for versions in got.values()) for step in range(3)]
    assert 0 < counts[0] < counts[1] < counts[2] == units


def test_an_ab_test_ends_with_the_version_that_an_operator_names(room: RollingRoom) -> None:
    """It waits for the name though time and samples are complete; then that version has everything."""
    trial = {"arms": {"2": "30%", "3": "30%"}, "for": "1s", "sample_size": 10, "decide": "hand", "watch": "1s"}
    with room.load() as load:
        rollout = room.start({"ab_test": trial})
        room.comes_to(rollout, "running")
        waits = until(lambda: _complete(room, rollout), "both samples")
        assert waits == ["somebody has to name the version that wins, by promoting it"]
        epoch = room.moved(rollout, "promote", version=3, why="fewer complaints")["epoch"]
        room.comes_to(rollout, "promoted")
    assert set(load.judged(room.ledger()).by_version) == {1, 2, 3}
    assert {seen.version for seen in load.seen(staff=False, since=epoch)} == {3}
    assert room.policy()["stable"] == 3


def test_a_blue_green_flip_is_previewed_approved_and_taken_back_at_once(room: RollingRoom) -> None:
    """Staff alone see the new colour before the flip, everybody after it, and nobody after the rollback."""
    base = room.policy()
    colours = {"preview": [STAFF], "bake": "1s", "approval": True, "keep_warm": "1h"}
    with room.load() as load:
        rollout = room.start({"candidate": 2, "blue_green": colours})
        baking = room.comes_to(rollout, "baking")
        room.comes_to(rollout, "waiting for approval")
        flip = room.moved(rollout, "approve")
        there = room.comes_to(rollout, "watching")
        assert (there["next_stage"], room.policy()["stable"], room.ready()) == ("the end", 2, {1, 2, 3})
        until(lambda: {2} == {one.version for one in load.seen(staff=False, since=flip["epoch"])}, "answers of it")
        back = room.moved(rollout, "rollback", why="not after all")
        until(lambda: load.seen(staff=True, since=back["epoch"]), "answers after it")
    load.judged(room.ledger())
    previewed = {"since": baking["epochs"][0], "before": flip["epoch"]}
    assert load.seen(staff=True, **previewed) == {Seen(2, Reason.RULE)}
    assert load.seen(staff=False, **previewed) == {Seen(1, Reason.STABLE)}
    for staff in (True, False):
        assert {one.version for one in load.seen(staff=staff, since=flip["epoch"], before=back["epoch"])} == {2}
        assert load.seen(staff=staff, since=back["epoch"]) == {Seen(1, Reason.STABLE)}
    assert room.policy() == base
    staged = [one["facts"]["epoch"] for one in room.why(rollout) if one["facts"]["event"] == "staged"]
    assert staged == [flip["epoch"] - 1]


def test_a_shadow_a_canary_and_a_header_rule_are_one_plan(room: RollingRoom) -> None:
    """All three at once: staff by the rule, a quarter by their units, copies for a third version, each exactly."""
    stage = {
        "name": "all three",
        "shares": {"2": "25%"},
        "rules": [{"version": 2, "when": [STAFF]}],
        "shadows": [{"version": 3, "sample_ppm": "50%"}],
        "min_s": "1d",
    }
    before = room.inferences(3)
    with room.load() as load:
        rollout = room.start({"plan": {"form": 1, "end": "promote", "candidate": 2, "stages": [stage]}})
        [epoch] = room.comes_to(rollout, "running")["epochs"]
        until(lambda: room.rollout(rollout)["requests"].get("3", 0) >= 30, "copies")
        back = room.moved(rollout, "rollback", why="seen enough")["epoch"]
    entries = room.ledger()
    load.judged(entries)
    assert load.seen(staff=True, since=epoch, before=back) == {Seen(2, Reason.RULE)}
    canary = {Seen(2, Reason.CANARY), Seen(1, Reason.STABLE)}
    assert load.seen(staff=False, since=epoch, before=back) == canary
    until(lambda: room.inferences(3) - before == load.copies_due(entries, 3), "the last copies", 5)


def test_commands_move_a_rollout_and_say_how_it_went(room: RollingRoom, tmp_path: Path) -> None:
    """`apply` twice, `wait`, `set`, `pause`, `resume`, `approve`, `rollback`: each with its exit code."""
    canary = {"steps": ["5%", "50%"], "needs": "minima", "hold": "1d", "approve": ["50%"]}
    document = {"model": MODEL, "candidate": 2, "canary": canary}
    file = tmp_path / "rollout.yaml"
    file.write_text(yaml.safe_dump({**document, "again": True}))
    rollout = str(json.loads(room.sluice("apply", "-f", str(file), "--json"))["rollout"]["id"])
    assert f"unchanged: {MODEL} has this rollout already, {rollout}" in room.sluice("apply", "-f", str(file))
    assert "5 %" in room.sluice("rollout", "wait", MODEL, "--for", "running", "--timeout", "30s")
    room.sluice("rollout", "wait", MODEL, "--for", "promoted", "--timeout", "1s", code=3)
    room.sluice("rollout", "set", MODEL, "12.5%", "--why", "slower")
    assert room.rollout(rollout)["shares"] == {"1": 875_000, "2": 125_000}
    room.sluice("rollout", "pause", MODEL, "--why", "lunch")
    assert room.rollout(rollout)["phase"] == "paused"
    room.sluice("rollout", "resume", MODEL)
    room.sluice("rollout", "approve", MODEL, code=1)  # nothing waits yet
    room.sluice("rollout", "promote", MODEL)
    assert room.rollout(rollout)["phase"] == "waiting for approval"
    room.sluice("rollout", "approve", MODEL, "--stage", "50%")
    assert room.rollout(rollout)["shares"] == {"1": 500_000, "2": 500_000}
    room.sluice("rollout", "rollback", MODEL, code=2)  # without a reason
    room.sluice("rollout", "rollback", MODEL, "--reason", "the test")
    room.sluice("rollout", "wait", rollout, "--timeout", "1s", code=1)  # it ended otherwise
    room.sluice("rollout", "wait", rollout, "--for", "rolled-back", "--timeout", "1s")
    told = json.loads(room.sluice("rollout", "why", rollout, "--json"))
    events = ["started", "entered", "set", "paused", "resumed", "waiting", "entered", "rolled_back"]
    assert [one["facts"]["event"] for one in told["entries"]] == events
    assert len(told["story"]) == len(events)


def test_moves_are_streamed_as_they_happen(room: RollingRoom) -> None:
    """`/events` has them in their order; and whoever comes back with the last id misses none."""
    heard: list[dict[str, Any]] = []
    with room.api.stream("GET", "/events") as stream:
        events = _events(stream)
        reader = threading.Thread(target=lambda: heard.extend(next(events) for _ in range(3)))
        reader.start()
        rollout = room.start(HALF)
        room.comes_to(rollout, "running")
        room.moved(rollout, "rollback", why="the test")
        reader.join(10)
        assert not reader.is_alive(), heard
    assert [one["event"] for one in heard] == ["rollout.started", "rollout.entered", "rollout.rolled_back"]
    assert {one["data"]["facts"]["rollout"]["id"] for one in heard} == {rollout}
    with room.api.stream("GET", "/events", headers={"Last-Event-ID": heard[0]["id"]}) as stream:
        events = _events(stream)
        assert [next(events) for _ in range(2)] == heard[1:]


def test_hooks_are_told_and_a_gate_holds_until_it_says_yes(room: RollingRoom) -> None:
    """A 500 halts the rollout, a 200 lets it on; what hooks get is signed, and says each thing once."""
    gate = {"type": "confirm-promotion", "url": room.receiver.origin + GATE, "name": "ci"}
    hook = {"url": room.receiver.origin + HOOK, "secret": SECRET, "events": ["waiting", "promoted", "rolled_back"]}
    outward = {"gates": [gate], "webhooks": [hook]}
    room.receiver.gate = 500
    steps = {"steps": ["50%"], "needs": "minima", "hold": "0s", "approve": ["end"]}
    with room.load() as load:
        rollout = room.start({"candidate": 2, "canary": steps, **outward})
        room.comes_to(rollout, "waiting for approval")
        room.asked("POST", f"/rollouts/{rollout}/approve", {})
        promoted = room.comes_to(rollout, "promoted")
    load.judged(room.ledger())
    assert promoted["gates"][0]["url"] == room.receiver.origin + "/…"
    second = room.start({"candidate": 1, "canary": {"needs": "minima", "steps": ["50%"], "hold": "0s"}, **outward})
    until(lambda: any("answered 500" in one for one in room.rollout(second)["waits"]), "the gate's no")
    assert room.policy()["stable"] == 2
    room.receiver.gate = 200
    room.comes_to(second, "promoted")
    third = room.start({**HALF, "candidate": 2, **outward})
    room.comes_to(third, "running")
    room.moved(third, "rollback", why="the test")
    wanted = {
        (rollout, "rollout.waiting"), (rollout, "rollout.promoted"), (second, "rollout.promoted"),
        (third, "rollout.rolled_back"),
    }  # fmt: skip

    def told() -> Counter[tuple[str, str]]:
        said = [one.said for one in room.receiver.at(HOOK)]
        return Counter((one["data"]["rollout"]["id"], one["type"]) for one in said)

    until(lambda: set(told()) == wanted, f"{wanted}")
    assert set(told().values()) == {1}
    assert all(one.signed_with(SECRET) for one in room.receiver.at(HOOK))
    assert not any(one.signed_with("whsec_" + "A" * 32) for one in room.receiver.at(HOOK))
    asked = [one.said for one in room.receiver.at(GATE)]
    assert {(one["name"], one["metadata"]["rollout"]) for one in asked} == {(MODEL, second)}


def test_operators_of_two_models_never_meet(room: RollingRoom) -> None:
    """Shares of one model and policies of another, changed at once fifty times: not one is refused."""
    rollout = room.start(HALF)
    room.comes_to(rollout, "running")

    def of_the_one(number: int) -> httpx.Response:
        etag = f'"{room.rollout(rollout)["revision"]}"'
        return _patch(room, rollout, etag, 1_000 + number)

    def of_the_other(number: int) -> httpx.Response:
        there = room.asked("GET", f"/models/{OTHER}/policy")
        wanted = {"policy": {"stable": 1, "arms": [], "unit_header": f"x-unit-{number}"}}
        match = {"If-Match": f'"{there["revision"]}"'}
        return room.api.put(f"/models/{OTHER}/policy", json=wanted, headers=match, params={"wait_s": 0})

    with ThreadPoolExecutor(2) as both:
        operators = [both.submit(_fifty, change) for change in (of_the_one, of_the_other)]
        answers = [answer for operator in operators for answer in operator.result()]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["epoch"] for answer in answers}) == 100


@pytest.mark.slow
def test_of_two_operators_that_race_one_is_told_that_it_was_late(room: RollingRoom) -> None:
    """A thousand times, both with the revision that they saw: one applied, one 409, and the ledger has those."""
    rollout = room.start(HALF)
    there = room.comes_to(rollout, "running")
    first, applied = there["epochs"][-1], []
    etag = f'"{there["revision"]}"'
    with ThreadPoolExecutor(2) as operators:
        for race in range(RACES):
            shares = (1 + 2 * race, 2 + 2 * race)
            racing = [operators.submit(_patch, room, rollout, etag, share) for share in shares]
            answers = [one.result() for one in racing]
            assert sorted(answer.status_code for answer in answers) == [200, 409], [one.text for one in answers]
            [(won, share)] = [(one, mine) for one, mine in zip(answers, shares, strict=True) if one.is_success]
            applied.append((won.json()["epoch"], share))
            etag = won.headers["etag"]
    told = [
        (one["facts"]["epoch"], one["facts"]["numbers"]["share_ppm.2"])
        for one in room.ledger()
        if one["facts"].get("event") == "set" and one["facts"]["rollout"]["id"] == rollout
    ]
    assert told == applied
    assert [epoch for epoch, _ in applied] == list(range(first + 1, first + 1 + RACES))
    assert room.asked("GET", "/epochs")["epoch"] == applied[-1][0]


def test_the_story_and_the_epochs_are_one(room: RollingRoom) -> None:
    """Every epoch has one entry, of a move that is known, with the very digest that was current; none is left out."""
    rollout = room.start(HALF)
    room.comes_to(rollout, "running")
    room.moved(rollout, "rollback", why="the test")
    entries = room.ledger()
    published = [one for one in entries if one["facts"].get("epoch")]
    epochs = [one["facts"]["epoch"] for one in published]
    current = room.api.get("/epochs", params={"limit": 1_000}).json()
    assert epochs == list(range(1, current["epoch"] + 1))
    digests = {one["facts"]["epoch"]: [one["facts"]["digest"]] for one in published}
    assert all(digests[one["epoch"]] == one["digests"] for one in current["lineage"])
    known = [one["id"] for one in room.asked("GET", f"/models/{MODEL}/rollouts?limit=1000")["rollouts"]]
    of_the_model = [one for one in published if one["facts"]["model"] == MODEL]
    assert {_move(one) for one in of_the_model} <= {"manual", *known}
    for one in known:
        told = [entry["facts"]["epoch"] for entry in room.why(one) if entry["facts"].get("epoch")]
        of_it = [entry["facts"]["epoch"] for entry in of_the_model if _move(entry) == one]
        assert told == of_it[-len(told) :], one
        assert set(room.rollout(one)["epochs"]) <= set(of_it), one
    assert json.loads(room.sluice("rollout", "why", rollout, "--json"))["entries"] == room.why(rollout)


_ROW = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]}


def _move(entry: dict[str, Any]) -> str:
    about = entry["facts"]["rollout"]
    return str(about.get("id", about["kind"]))


def _complete(room: RollingRoom, rollout: str) -> list[str]:
    """What it waits for, once it waits for neither time nor requests."""
    there = room.rollout(rollout)
    enough = there["stage_s"] >= 1 and all(there["requests"].get(one, 0) >= 10 for one in ("2", "3"))
    return list(there["waits"]) if enough else []


def _fifty(change: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    return [change(number) for number in range(50)]


def _patch(room: RollingRoom, rollout: str, etag: str, share_ppm: int) -> httpx.Response:
    said = {"shares": {"2": f"{share_ppm}ppm"}, "why": "a race"}
    return room.api.patch(f"/rollouts/{rollout}", json=said, headers={"If-Match": etag}, params={"wait_s": 0})


def _events(stream: httpx.Response) -> Iterator[dict[str, Any]]:
    """The server-sent events of an answer."""
    said: dict[str, Any] = {}
    for line in stream.iter_lines():
        name, _, value = line.partition(": ")
        if line:
            said[name] = json.loads(value) if name == "data" else value
        elif "event" in said:
            yield said
            said = {}
        else:
            said = {}
