"""What follows from drift once all versions were looked at: told once, done once, and as far as operators let it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from drift.attribution import Act, Action
from drift.findings import Finding
from drift.incidents import Incident
from drift.reading import Layer
from drift.settings import DriftSettings
from drift.status import Status
from drift.webhooks import ACTIONS, ActionTold
from router.commands import Resume, RollBack
from router.phases import Phase
from serving.control.errors import Deposed, NotNow, Unacceptable, Unknown
from serving.control.rolling.drift_episodes import Episodes
from serving.control.rolling.drift_findings import FindingsHeard
from serving.control.rolling.drift_incidents import Incidents
from serving.control.rolling.hooks import Courier
from serving.control.rolling.records import Record
from serving.control.rolling.standing import StandingHook
from tests.drift.incidents import CANDIDATE, MODEL, STABLE, finding, status
from tests.serving.control.rolling.rooms import STEPS, Room, delivered, fake_room
from tests.serving.drifting import BROKEN

SECRET = "whsec_" + "c2VjcmV0IHNlY3JldCBzZWNyZXQ="
HOOKS = {7: StandingHook(7, "ops", "https://hooks.example.com/drift", tuple(map(str, ACTIONS)), (SECRET,))}
TIMES = {"settle_s": 100.0, "cool_down_s": 600.0, "window": {"seconds": 10.0}}


@dataclass
class Desk:
    """A room, and everybody in it who has to do with drift."""

    room: Room
    incidents: Incidents
    hearing: FindingsHeard
    episodes: Episodes

    async def finds(self, one: Finding) -> str:
        """What a sidecar has found is heard; its id."""
        found: str = await self.room.store.sidecar_finds(one)
        assert await self.hearing.hear(self.room.fence) == 1
        return found

    async def tells(self, *statuses: Status) -> None:
        """How versions stand, by the room's clock."""
        for one in statuses:
            await self.room.store.sidecar_tells(replace(one, last_s=await self.now_s()))

    async def look(self, *statuses: Status, after_s: float = 20.0) -> None:
        """Time passes, windows close, and all versions are looked at."""
        self.room.store.later_s += after_s
        await self.tells(*statuses)
        await self.incidents.look_at_all(self.room.fence)

    async def now_s(self) -> float:
        """The store's time."""
        return float((await self.room.store.look()).now_s)

    async def told(self) -> Sequence[tuple[str, Any]]:
        """Kinds of messages that webhooks got, with their data, as their own schema reads them."""
        courier = Courier(self.room.store, self.room.post, self.room.clock, standing=HOOKS)
        while await delivered(courier, self.room):
            pass
        said = [json.loads(body) for _, body, _ in self.room.post.sent]
        for one in said:
            ActionTold.model_validate(one["data"])
        return [(one["type"], one["data"]) for one in said]

    async def kinds(self) -> list[str]:
        """What webhooks were told."""
        return [kind for kind, _ in await self.told()]

    async def events(self) -> list[str]:
        """What the ledger says of episodes."""
        entries = [one.entry.facts for one in await self.room.entries()]
        return [one["event"] for one in entries if str(one.get("what", "")).startswith("drift ")]

    async def one(self) -> Incident:
        """The only episode."""
        (found,) = await self.room.store.incidents(10)
        kept: Incident = found
        return kept


async def desk(act: Act = Act.ACT, room: Room | None = None, hooks: Mapping[int, StandingHook] = HOOKS) -> Desk:
    """With a model for which so much is done."""
    room = room or await fake_room()
    _with_time(room)
    incidents = Incidents(room.store, hooks, DriftSettings.model_validate({**TIMES, "act": act}), room.walker)
    hearing = FindingsHeard(room.store, room.rollouts, hooks, incidents)
    return Desk(room, incidents, hearing, Episodes(room.store, incidents, hooks, room.service.traffic))


def _with_time(room: Room) -> None:
    """The store's time goes forward as a test says."""
    real = room.store.look
    room.store.later_s = 0.0

    async def look() -> Any:  # noqa: ANN401
        found = await real()
        return replace(found, now_s=found.now_s + room.store.later_s)

    room.store.look = look


async def with_rollout(here: Desk, **more: object) -> Record:
    """A canary of version 2."""
    record = await here.room.start({**STEPS, **more})
    await here.room.tick(1)
    return record


async def test_only_the_candidates_answers_moved() -> None:
    """Nobody is blamed before stable was looked at; then one message to go back, and never a second one."""
    here = await desk()
    record = await with_rollout(here)
    await here.tells(status(STABLE, 10), status(CANDIDATE, 10, Layer.PREDICTION))
    found = await here.finds(finding(CANDIDATE, Layer.PREDICTION))
    await here.look(status(STABLE, 10), status(CANDIDATE, 12, Layer.PREDICTION))
    assert await here.events() == []
    await here.look(status(STABLE, 12), status(CANDIDATE, 14, Layer.PREDICTION))
    for windows in range(16, 22, 2):
        await here.look(status(STABLE, windows), status(CANDIDATE, windows, Layer.PREDICTION))
    ((kind, data),) = await here.told()
    assert (kind, data["action"], data["cause"], data["rollout"]) == (
        "drift.rollback",
        "rollback",
        "candidate",
        record.id,
    )
    assert (data["findings"], data["model"], data["episode"]) == ([found], MODEL, (await here.one()).identity)
    assert data["features"] == [{"feature": "price", "variation": 0.3, "share": 1.0}]
    assert {one["version"]: one["role"] for one in data["versions"]} == {1: "stable", 2: "candidate"}
    assert data["versions"][1]["layers"]["prediction"]["log_sum"] == 15.0
    assert not data["harm"]["shown"]
    assert data["window"]["parquet"] == f"/api/v1/drift/episodes/{data['episode']}/window.parquet"
    assert await here.events() == ["rollback"]
    assert (await here.room.now(record)).rollout.phase is Phase.RUNNING, "whoever hears it takes it back"


async def test_harm_comes_late() -> None:
    """Inputs that moved are worth a word; labels that say that it does harm are worth an action in the same episode."""
    here = await desk()
    await here.tells(status(STABLE, 10))
    await here.finds(finding(STABLE, Layer.UNIVARIATE))
    await here.look(status(STABLE, 12, Layer.UNIVARIATE))
    await here.finds(finding(STABLE, Layer.LABELS))
    await here.look(status(STABLE, 14, Layer.UNIVARIATE, Layer.LABELS))
    await here.finds(finding(STABLE, Layer.MULTIVARIATE))
    await here.look(status(STABLE, 16, Layer.UNIVARIATE, Layer.LABELS, Layer.MULTIVARIATE))
    told = await here.told()
    assert [kind for kind, _ in told] == ["drift.notify", "drift.retrain"]
    assert len({data["episode"] for _, data in told}) == 1
    assert told[1][1]["harm"]["shown"]
    assert told[1][1]["window"]["rows"] == 500
    assert told[1][1]["versions"][0]["role"] == "stable", "the policy says who is, where no rollout does"


@pytest.mark.parametrize(
    ("act", "kinds", "events"),
    [
        (Act.OBSERVE, [], ["observed"]),
        (Act.RECOMMEND, ["drift.recommend"], ["recommend"]),
        (Act.APPROVE, ["drift.recommend"], ["recommend"]),
        (Act.ACT, ["drift.retrain"], ["retrain"]),
    ],
)
async def test_as_much_is_done_as_the_settings_say(act: Act, kinds: list[str], events: list[str]) -> None:
    """What is recommended says what would be done."""
    here = await desk(act)
    await here.finds(finding(STABLE, Layer.LABELS))
    await here.look(status(STABLE, 12, Layer.LABELS))
    await here.look(status(STABLE, 14, Layer.LABELS))
    assert await here.events() == events
    told = await here.told()
    assert [kind for kind, _ in told] == kinds
    assert all(data["action"] == "retrain" for _, data in told)


async def test_an_operator_approves() -> None:
    """Then it goes out once, by that operator; before there is nothing, and afterwards nothing more."""
    here = await desk(Act.APPROVE)
    await here.finds(finding(STABLE, Layer.LABELS))
    episode = (await here.one()).identity
    with pytest.raises(NotNow, match="waits for an approval"):
        await here.episodes.approve(episode, who="ada", why="")
    await here.look(status(STABLE, 12, Layer.LABELS))
    view = await here.episodes.approve(episode, who="ada", why="labels are right")
    assert (view.incident.acted, view.incident.pending) == (Action.RETRAIN, Action.NOTHING)
    with pytest.raises(NotNow):
        await here.episodes.approve(episode, who="ada", why="again")
    assert await here.kinds() == ["drift.recommend", "drift.retrain"]
    (entry,) = [one.entry for one in await here.room.entries() if one.entry.facts.get("event") == "retrain"]
    assert (entry.who, entry.why) == ("ada", "labels are right")


async def test_what_no_longer_holds_is_not_approved() -> None:
    """Another rollout is in progress by now: it is not taken back for what the one before did."""
    here = await desk(Act.APPROVE)
    record = await with_rollout(here)
    await here.tells(status(STABLE, 10), status(CANDIDATE, 10))
    await here.finds(finding(CANDIDATE, Layer.PREDICTION))
    await here.look(status(STABLE, 12), status(CANDIDATE, 12, Layer.PREDICTION))
    episode = (await here.one()).identity
    assert (await here.one()).pending is Action.ROLLBACK
    await here.room.ask(record, RollBack(who="bob", why="it was slow"))
    await here.room.start({**STEPS, "candidate": 3})
    with pytest.raises(NotNow, match="no longer holds"):
        await here.episodes.approve(episode, who="ada", why="")
    await here.look(status(STABLE, 14), status(CANDIDATE, 14, Layer.PREDICTION))
    assert (await here.events())[-1] == "withdrawn"
    assert "drift.rollback" not in await here.kinds()


async def test_an_episode_of_another_release_hides_no_finding(caplog: pytest.LogCaptureFixture) -> None:
    """Another begins in its place, and that is said."""
    here = await desk()
    await here.finds(finding(STABLE, Layer.UNIVARIATE))
    before = (await here.one()).identity
    here.room.store._incidents[before] = 1, "{}"
    await here.finds(finding(STABLE, Layer.LABELS))
    assert (await here.one()).identity != before
    assert f"the episode {before} of {MODEL} cannot be read" in caplog.text


async def test_whoever_has_it_in_hand_hears_nothing_more() -> None:
    """Until that is taken back; who and why are in the ledger."""
    here = await desk()
    await here.finds(finding(STABLE, Layer.UNIVARIATE))
    episode = (await here.one()).identity
    await here.episodes.acknowledge(episode, who="ada", why="the migration")
    with pytest.raises(NotNow, match="already acknowledged"):
        await here.episodes.acknowledge(episode, who="bob", why="")
    await here.finds(finding(STABLE, Layer.LABELS))
    await here.look(status(STABLE, 12, Layer.UNIVARIATE, Layer.LABELS))
    assert await here.kinds() == []
    assert await here.events() == ["acknowledged", "observed"]
    await here.episodes.acknowledge(episode, who="ada", why="", undo=True)
    await here.look(status(STABLE, 14, Layer.UNIVARIATE, Layer.LABELS))
    assert await here.kinds() == ["drift.retrain"]


@pytest.mark.parametrize("of", ["episode", "model"])
async def test_a_silence_ends(of: str) -> None:
    """What still holds then is told then; of an episode or of a whole model."""
    here = await desk()
    await here.finds(finding(STABLE, Layer.UNIVARIATE))
    episode = (await here.one()).identity
    if of == "model":
        await here.episodes.silence_model(MODEL, 60, who="ada", why="the migration")
        assert (await here.episodes.silences())[MODEL].who == "ada"
    else:
        await here.episodes.silence(episode, 60, who="ada", why="the migration")
    await here.look(status(STABLE, 12, Layer.UNIVARIATE))
    assert await here.kinds() == []
    await here.look(status(STABLE, 14, Layer.UNIVARIATE), after_s=41.0)
    assert await here.kinds() == ["drift.notify"]
    assert await here.events() == ["silenced", "observed", "notify"]
    assert await here.episodes.silences() == {}


async def test_a_silence_is_taken_back_and_has_its_bounds() -> None:
    """Of a model that there is, for a month at most."""
    here = await desk()
    await here.episodes.silence_model(MODEL, 60, who="ada", why="")
    await here.episodes.silence_model(MODEL, 0, who="ada", why="")
    assert await here.episodes.silences() == {}
    with pytest.raises(Unacceptable, match="Nobody is silent"):
        await here.episodes.silence_model(MODEL, 31 * 86_400, who="ada", why="")
    with pytest.raises(Unknown, match="no model"):
        await here.episodes.silence_model("another", 60, who="ada", why="")
    with pytest.raises(Unknown, match="no episode"):
        await here.episodes.silence("ep_0123456789abcdef", 60, who="ada", why="")


@pytest.mark.parametrize("act", [Act.OBSERVE, Act.RECOMMEND, Act.ACT])
async def test_a_broken_schema_calls_somebody_and_pauses(act: Act) -> None:
    """At once, once, and in all cases but that of a model that is only observed."""
    here = await desk(act)
    record = await with_rollout(here)
    for _ in range(2):
        await here.finds(BROKEN)
    await here.look(status(CANDIDATE, 12, Layer.SCHEMA))
    paused = (await here.room.now(record)).rollout.phase is Phase.PAUSED
    assert paused is (act is not Act.OBSERVE)
    assert await here.kinds() == ([] if act is Act.OBSERVE else ["drift.alert", "drift.paused"])
    if act is not Act.OBSERVE:
        told = dict(await here.told())
        assert (told["drift.alert"]["cause"], told["drift.paused"]["action"]) == ("schema", "pause")
        assert (told["drift.paused"]["rollout"], (await here.one()).paused) == (record.id, record.id)


async def test_whoever_resumes_and_is_silent_is_not_paused_again() -> None:
    """A schema that somebody knows to be broken pauses nothing while they are silent."""
    here = await desk()
    record = await with_rollout(here)
    await here.finds(BROKEN)
    await here.room.ask(record, Resume(who="ada"))
    await here.episodes.silence_model(MODEL, 60, who="ada", why="known")
    await here.finds(replace(BROKEN, episode="ep-3"))
    assert (await here.room.now(record)).rollout.phase is Phase.RUNNING
    here.room.store.later_s += 61
    await here.finds(replace(BROKEN, episode="ep-4"))
    assert (await here.room.now(record)).rollout.phase is Phase.PAUSED


@pytest.mark.parametrize(("arms", "kinds"), [(None, ["drift.recommend"]), (0.4, []), (0.2, ["drift.rollback"])])
async def test_a_rollout_says_how_far_its_arms_may_differ(arms: float | None, kinds: list[str]) -> None:
    """In its document; by more than that, it goes back."""
    here = await desk()
    await with_rollout(here, **({} if arms is None else {"drift": {"arms": arms}}))
    await here.tells(status(STABLE, 10), status(CANDIDATE, 10))
    await here.finds(finding(CANDIDATE, Layer.ARMS, variation=0.3))
    await here.look(status(STABLE, 12), status(CANDIDATE, 12, Layer.ARMS))
    assert await here.kinds() == kinds


async def test_what_comes_back_is_another_episode_after_the_cool_down() -> None:
    """Within it, it is the same, and nothing more is told."""
    here = await desk()
    await here.finds(finding(STABLE, Layer.UNIVARIATE))
    await here.look(status(STABLE, 12, Layer.UNIVARIATE))
    await here.look(status(STABLE, 14))
    assert await here.events() == ["notify", "over"]
    await here.finds(finding(STABLE, Layer.UNIVARIATE))
    await here.look(status(STABLE, 16, Layer.UNIVARIATE))
    await here.look(status(STABLE, 18))
    assert await here.events() == ["notify", "over", "over"]
    here.room.store.later_s += 601
    await here.finds(finding(STABLE, Layer.UNIVARIATE))
    await here.look(status(STABLE, 20, Layer.UNIVARIATE))
    assert await here.events() == ["notify", "over", "over", "notify"]
    assert [one.over for one in await here.room.store.incidents(10)] == [False, True]
    first = (await here.room.store.incidents(10))[1].identity
    with pytest.raises(NotNow, match="is over"):
        await here.episodes.acknowledge(first, who="ada", why="")


async def test_it_is_over_by_itself() -> None:
    """And is then found by its name alone."""
    here = await desk()
    await here.finds(finding(STABLE, Layer.UNIVARIATE))
    await here.look(status(STABLE, 12, Layer.UNIVARIATE))
    await here.look(status(STABLE, 14))
    await here.look(status(STABLE, 16), after_s=601.0)
    assert await here.episodes.open() == []
    assert [one.incident.over for one in await here.episodes.newest(10)] == [True]


async def test_an_action_that_nobody_hears_says_so() -> None:
    """In the ledger, with the key that names webhooks."""
    here = await desk(hooks={})
    await here.finds(finding(STABLE, Layer.LABELS))
    await here.look(status(STABLE, 12, Layer.LABELS))
    (entry,) = [one.entry for one in await here.room.entries() if one.entry.facts.get("event") == "retrain"]
    assert "No webhook hears of it: name drift.retrain in `events` of drift.webhooks." in entry.why


async def test_an_operator_and_the_loop_never_write_over_each_other() -> None:
    """Who comes second looks again: what was acknowledged in between stays so."""
    here = await desk()
    await here.finds(finding(STABLE, Layer.LABELS))
    episode = (await here.one()).identity
    real = here.room.store.note
    once = [True]

    async def overtaken(beside: Any) -> Any:  # noqa: ANN401
        if once and beside.fence is not None:
            once.clear()
            await here.episodes.acknowledge(episode, who="ada", why="mine")
        return await real(beside)

    here.room.store.note = overtaken
    await here.look(status(STABLE, 12, Layer.LABELS))
    assert await here.events() == ["acknowledged"]
    await here.look(status(STABLE, 14, Layer.LABELS))
    assert await here.events() == ["acknowledged", "observed"]
    assert await here.kinds() == []


async def test_whoever_no_longer_leads_tells_nothing() -> None:
    """Another one does."""
    here = await desk()
    await here.finds(finding(STABLE, Layer.LABELS))
    here.room.store.later_s += 200
    with pytest.raises(Deposed):
        await here.incidents.look_at_all(here.room.fence - 1)
    assert await here.events() == []


async def test_episodes_are_listed_by_model() -> None:
    """The newest first; each with what is known now."""
    here = await desk()
    await here.finds(finding(STABLE, Layer.UNIVARIATE))
    await here.finds(replace(finding(STABLE, Layer.UNIVARIATE), model="words"))
    assert [one.incident.model for one in await here.episodes.newest(10)] == ["words", MODEL]
    (only,) = await here.episodes.newest(10, MODEL)
    view = await here.episodes.episode(only.incident.identity)
    assert view.incident == only.incident
    assert view.incident.decided is None
