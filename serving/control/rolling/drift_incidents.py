"""Episodes of drift: findings are gathered into them, and what they are put down to is told, and done, once.

What a finding, or a second look at all versions, leads to is written by one script with the episode that it leads to,
against the revision that was read: a conductor may be killed anywhere, or overtaken by an operator or by its own
successor, and nothing is told twice or forgotten.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

from drift.attribution import Act, Evidence, attribute
from drift.circumstances import Circumstances, Roles, windows_of
from drift.findings import Finding
from drift.incidents import Incident, Kind, Step, Word, alerted, raised_of
from drift.settings import DriftSettings
from drift.status import Status
from router.policy import Policy
from router.rollout import Evidence as Weighed
from router.rollout import Says
from serving.control.publication import Answer, Beside, Refused, State
from serving.control.publishing import refuse
from serving.control.rolling.drift_telling import Hears, entry_of, jobs_of, write_of
from serving.control.rolling.kept import Look
from serving.control.rolling.records import Record

_log = logging.getLogger(__name__)

BROKEN: Final = attribute(Evidence(schema=True))


class Reads(Protocol):
    """What this needs of a store."""

    async def look(self) -> Look:
        """The time, the rollouts in progress, and what is stopped."""

    async def state(self) -> State:
        """The head and its snapshot."""

    async def policies(self, digests: Collection[str]) -> Mapping[str, Policy]:
        """Those of these policies that can be read, by digest."""

    async def drift_statuses(self) -> Sequence[Status]:
        """How each version is watched."""

    async def open_incidents(self) -> Mapping[str, Incident]:
        """Those that are not over, by model."""

    async def lost_incidents(self) -> Mapping[str, str]:
        """Ids of those that nobody can read, by model."""

    async def silences(self) -> Mapping[str, Word]:
        """What operators said of models whose drift nobody is to hear of."""

    async def note(self, beside: Beside) -> Answer:
        """Writes all of that where no policy changes, or nothing."""


class Knows(Protocol):
    """What the loop knows."""

    def evidence(self, rollout_id: str) -> Weighed | None:
        """What was last known of that rollout."""


class Gathered(NamedTuple):
    """What one finding leads to, beside its own entry.

    Attributes:
        incident: the episode with it.
        known: what that rests on.
        steps: what is written of it.
        replaces: the model's open episode that nobody can read; empty for none.
    """

    incident: Incident
    known: Circumstances
    steps: tuple[Step, ...]
    replaces: str = ""


class Setting(NamedTuple):
    """What is known at one moment of all models.

    Attributes:
        look: the time, and the rollouts in progress.
        statuses: how each version is watched.
        silences: by model.
    """

    look: Look
    statuses: Sequence[Status]
    silences: Mapping[str, Word]

    def is_silent(self, model: str) -> bool:
        """Whether an operator has said that nothing is to be told or done about the model."""
        word = self.silences.get(model)
        return word is not None and self.look.now_s < word.until_s


class Incidents:
    """Episodes of all models.

    Args:
        store: where they are.
        hooks: webhooks of the settings, by `drift_findings.number_of` their address.
        settings: of drift.
        walks: what the loop knows of rollouts.
    """

    def __init__(self, store: Reads, hooks: Mapping[int, Hears], settings: DriftSettings, walks: Knows) -> None:
        self._store = store
        self._hooks = hooks
        self._settings = settings
        self._walks = walks

    async def setting(self) -> Setting:
        """What is known now."""
        look, statuses = await self._store.look(), await self._store.drift_statuses()
        return Setting(look, statuses, await self._store.silences())

    async def may_pause(self, model: str) -> bool:
        """Whether a broken schema is to pause the model's rollout: not where a person has taken that over."""
        if self._settings.of(model).act is Act.OBSERVE:
            return False
        setting = await self.setting()
        there = (await self._store.open_incidents()).get(model)
        return not (setting.is_silent(model) or (there is not None and there.is_held(setting.look.now_s)))

    async def gathered(self, finding_id: str, finding: Finding, paused: str, fence: int) -> Gathered:
        """What that finding leads to.

        Args:
            finding_id: its id.
            finding: what was found.
            paused: the rollout that was paused for it; empty for none.
            fence: of the conductor that leads.
        """
        setting = await self.setting()
        model, now_s = finding.model, setting.look.now_s
        there = (await self._store.open_incidents()).get(model)
        if there is not None and there.closed_s is not None and now_s - there.closed_s >= self._cool_down_s(model):
            await self._write(Step(replace(there.next(), over=True)), None, fence)
            there = None
        windows = windows_of(model, setting.statuses)
        raised = raised_of(finding_id, finding)
        if there is None:
            incident = Incident.begun(raised, model, windows, now_s)
        else:
            incident = there.with_finding(raised, windows, now_s)
        known = await self.known(incident, setting)
        steps = tuple(self._at_once(incident, finding, paused, held=self._held(incident, setting)))
        last = steps[-1].incident if steps else incident
        replaces = "" if there is not None else await self._lost(model)
        return Gathered(last, known, steps, replaces)

    async def look_at_all(self, fence: int) -> int:
        """Looks at each open episode; how many of them went on.

        Args:
            fence: of the conductor that leads.

        Raises:
            Deposed: another conductor has taken over.
        """
        there = await self._store.open_incidents()
        if not there:
            return 0
        setting, moved = await self.setting(), 0
        for incident in there.values():
            known = await self.known(incident, setting)
            step = known.step(held=setting.is_silent(incident.model))
            if step is not None:
                moved += await self._write(step, known, fence)
        return moved

    async def _lost(self, model: str) -> str:
        """The model's open episode that nobody can read: another takes its place, or no finding would be heard."""
        lost = (await self._store.lost_incidents()).get(model, "")
        if lost:
            _log.warning("the episode %s of %s cannot be read: it is of another release, and is over", lost, model)
        return lost

    def _cool_down_s(self, model: str) -> float:
        return self._settings.of(model).cool_down_s

    def _held(self, incident: Incident, setting: Setting) -> bool:
        observed = self._settings.of(incident.model).act is Act.OBSERVE
        return observed or setting.is_silent(incident.model) or incident.is_held(setting.look.now_s)

    @staticmethod
    def _at_once(incident: Incident, finding: Finding, paused: str, *, held: bool) -> Sequence[Step]:
        """A broken schema waits for nobody."""
        if not finding.breaks or held:
            return ()
        steps = [] if incident.alerted else [alerted(incident, replace(BROKEN, words=f"{BROKEN.words} {finding}"))]
        if paused:
            before = steps[-1].incident if steps else incident
            words = f"The rollout {paused} is paused, for the schema is broken. {finding}"
            steps.append(Step(replace(before, paused=paused, decided=BROKEN), Kind.PAUSED, words))
        return steps

    async def known(self, incident: Incident, setting: Setting) -> Circumstances:
        """All that is known of an episode."""
        model = incident.model
        statuses = tuple(one for one in setting.statuses if one.model == model)
        roles = await self._roles(model, setting.look)
        return Circumstances(incident, statuses, self._settings.of(model), roles, setting.look.now_s)

    async def _roles(self, model: str, look: Look) -> Roles:
        record = next((one for one in look.records if one.model == model), None)
        if record is not None:
            return roles_of(record, self._walks.evidence(record.id))
        found = (await self._store.state()).snapshot.models.get(model)
        policies = {} if found is None else await self._store.policies([found.digest])
        return Roles(next((policy.stable for policy in policies.values()), None))

    async def _write(self, step: Step, known: Circumstances | None, fence: int) -> bool:
        """Whether it is written; else somebody else was first, and it is looked at again."""
        entries = () if step.kind is None or known is None else (entry_of(step, known, self._hooks),)
        jobs = jobs_of(step.kind, 0, self._hooks) if entries else ()
        beside = Beside(entries=entries, jobs=jobs, fence=fence, incidents=(write_of(step.incident),))
        answer = await self._store.note(beside)
        if answer.refused is Refused.EPISODE:
            return False
        refuse(answer)
        if answer.done and step.kind is not None:
            _log.info("%s, episode %s: %s. %s", step.incident.model, step.incident.identity, step.kind, step.words)
        return answer.done


def roles_of(record: Record, evidence: Weighed | None) -> Roles:
    """Who is who in a rollout in progress.

    Args:
        record: of it.
        evidence: what is known of its present leg; None where nothing is.
    """
    rollout = record.rollout
    stable = rollout.base.stable
    against = evidence is not None and evidence.leg == rollout.leg and evidence.says is Says.ROLL_BACK
    candidates = frozenset(record.versions) - {stable}
    return Roles(stable, candidates, record.id, record.arms_tolerance, against)
