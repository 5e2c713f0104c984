"""What operators ask of episodes of drift: look, approve, acknowledge, silence.

Each word of theirs is in the ledger, with who and why, and is written against the episode's revision together with what
follows from it, as what goes on by itself is (`drift_incidents`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

from drift.attribution import Action, attribute
from drift.circumstances import Circumstances
from drift.incidents import Incident, Kind, Step, Word, approved, is_id
from serving.control.errors import Contended, NotNow, Unacceptable, Unknown
from serving.control.incident_form import encode_word
from serving.control.publication import Answer, Beside, LedgerEntry, Refused
from serving.control.publishing import State, refuse
from serving.control.rolling.drift_incidents import Incidents, Setting
from serving.control.rolling.drift_telling import Hears, entry_of, jobs_of, write_of
from serving.control.rolling.hooks import DRIFT

LONGEST_SILENCE_S: Final = 30 * 86_400
MOST_LISTED: Final = 200
_RETRIES: Final = 50

_Said = Callable[[Incident, Circumstances], Step]


class Keeps(Protocol):
    """Where episodes are."""

    async def incidents(self, limit: int) -> Sequence[Incident]:
        """The newest, newest first."""

    async def incident(self, incident_id: str) -> Incident | None:
        """The one of that id."""

    async def open_incidents(self) -> Mapping[str, Incident]:
        """Those that are not over, by model."""

    async def silences(self) -> Mapping[str, Word]:
        """What operators said of models whose drift nobody is to hear of."""

    async def state(self) -> State:
        """The head and its snapshot."""

    async def note(self, beside: Beside) -> Answer:
        """Writes all of that where no policy changes, or nothing."""


class Models(Protocol):
    """Who knows which models there are (`serving.control.traffic`)."""

    async def refuse_unknown_model(self, state: State, model: str) -> None:
        """Says which models there are, where this is none of them."""


class EpisodeView(NamedTuple):
    """An episode as it is shown.

    Attributes:
        incident: what is kept of it.
        known: what is known now.
        silence: of its model, where one holds.
    """

    incident: Incident
    known: Circumstances
    silence: Word | None


class Episodes:
    """Episodes as operators see and command them.

    Args:
        store: where they are.
        incidents: knows what they rest on.
        hooks: webhooks of the settings, by their number.
        models: which there are.
    """

    def __init__(self, store: Keeps, incidents: Incidents, hooks: Mapping[int, Hears], models: Models) -> None:
        self._store = store
        self._incidents = incidents
        self._hooks = hooks
        self._models = models

    async def newest(self, limit: int, model: str | None = None) -> Sequence[EpisodeView]:
        """The newest, newest first; of one model, or of all."""
        found = [one for one in await self._store.incidents(MOST_LISTED) if model in (None, one.model)][:limit]
        setting = await self._incidents.setting()
        return [await self._view(one, setting) for one in found]

    async def open(self) -> Sequence[Incident]:
        """Those that are not over, by model."""
        return [one for _, one in sorted((await self._store.open_incidents()).items())]

    async def episode(self, episode: str) -> EpisodeView:
        """One of them.

        Raises:
            Unknown: there is none of that id, or not any more.
        """
        return await self._view(await self._there(episode), await self._incidents.setting())

    async def approve(self, episode: str, *, who: str, why: str) -> EpisodeView:
        """Has done what waits for an approval.

        Raises:
            Unknown: there is none of that id.
            NotNow: nothing of it waits for an approval, or what does no longer holds.
        """

        def said(incident: Incident, known: Circumstances) -> Step:
            found = attribute(known.evidence())
            if incident.pending.acts and found.action not in {incident.pending, Action.RECOMMEND}:
                raise NotNow(
                    f"What waits for an approval no longer holds: {found.words}",
                    "Look at the episode, and decide anew.",
                )
            step = approved(incident)
            if step is None:
                raise NotNow(
                    f"Nothing of the episode {episode} waits for an approval.",
                    "Only what is put down to something that calls for an action does, of models with `act: approve` "
                    "(drift.act), as long as it lasts.",
                )
            return step

        return await self._moved(episode, said, who, why)

    async def acknowledge(self, episode: str, *, who: str, why: str, undo: bool = False) -> EpisodeView:
        """Somebody has it in hand: nothing more is told of it, or done, by itself.

        Args:
            episode: its id.
            who: for the ledger.
            why: for the ledger.
            undo: whether that is taken back.

        Raises:
            Unknown: there is none of that id.
            NotNow: it is over, or it is so already.
        """

        def said(incident: Incident, known: Circumstances) -> Step:
            if (incident.acknowledged is None) is undo:
                raise NotNow(f"The episode {episode} is {'not' if undo else 'already'} acknowledged.")
            word = None if undo else Word(who, why, known.now_s)
            words = "It is nobody's any more." if undo else "Somebody has it in hand."
            return Step(replace(incident.next(), acknowledged=word), Kind.ACKNOWLEDGED, words)

        return await self._moved(episode, said, who, why)

    async def silence(self, episode: str, for_s: float, *, who: str, why: str) -> EpisodeView:
        """Nothing more is told of it, or done, by itself for so long; 0 takes that back.

        Raises:
            Unknown: there is none of that id.
            Unacceptable: for longer than anybody may be silent.
            NotNow: it is over.
        """
        _check(for_s)

        def said(incident: Incident, known: Circumstances) -> Step:
            word = Word(who, why, known.now_s, known.now_s + for_s) if for_s else None
            kind = Kind.SILENCED if for_s else Kind.UNSILENCED
            return Step(replace(incident.next(), silenced=word), kind, _silent_words(for_s))

        return await self._moved(episode, said, who, why)

    async def silence_model(self, model: str, for_s: float, *, who: str, why: str) -> Word | None:
        """Nothing is told of that model's drift, or done about it, for so long; 0 takes that back.

        Raises:
            Unknown: there is no such model.
            Unacceptable: for longer than anybody may be silent.
        """
        _check(for_s)
        await self._models.refuse_unknown_model(await self._store.state(), model)
        now_s = (await self._incidents.setting()).look.now_s
        word = Word(who, why, now_s, now_s + for_s) if for_s else None
        kind, words = (Kind.SILENCED if for_s else Kind.UNSILENCED), _silent_words(for_s)
        facts = {"model": model, "episode": "", "event": kind.value, "what": f"drift {kind}", "words": words}
        entry = LedgerEntry(DRIFT, who, why or words, {**facts, "until_s": 0.0 if word is None else word.until_s})
        refuse(await self._store.note(Beside(entries=(entry,), silences={model: encode_word(word) if word else ""})))
        return word

    async def silences(self) -> Mapping[str, Word]:
        """By model, those that hold."""
        now_s = (await self._incidents.setting()).look.now_s
        return {model: word for model, word in sorted((await self._store.silences()).items()) if now_s < word.until_s}

    async def _view(self, incident: Incident, setting: Setting) -> EpisodeView:
        silence = setting.silences.get(incident.model) if setting.is_silent(incident.model) else None
        return EpisodeView(incident, await self._incidents.known(incident, setting), silence)

    async def _there(self, episode: str) -> Incident:
        found = await self._store.incident(episode) if is_id(episode) else None
        if found is None:
            raise Unknown(
                f"There is no episode {episode[:64]!r}.", "`sluice drift episodes` shows those that there are."
            )
        return found

    async def _moved(self, episode: str, said: _Said, who: str, why: str) -> EpisodeView:
        for _ in range(_RETRIES):
            incident = await self._there(episode)
            if incident.over:
                raise NotNow(
                    f"The episode {episode} is over.", "`sluice drift episodes` shows whether there is a newer one."
                )
            setting = await self._incidents.setting()
            step = said(incident, await self._incidents.known(incident, setting))
            known = await self._incidents.known(step.incident, setting)
            if await self._written(step, known, who, why):
                return await self._view(step.incident, setting)
        raise Contended(f"The episode {episode} keeps moving.", "Try again in a moment.")

    async def _written(self, step: Step, known: Circumstances, who: str, why: str) -> bool:
        entry = entry_of(step, known, self._hooks, who=who, why=why)
        jobs = jobs_of(step.kind, 0, self._hooks)
        answer = await self._store.note(Beside(entries=(entry,), jobs=jobs, incidents=(write_of(step.incident),)))
        if answer.refused is Refused.EPISODE:
            return False
        refuse(answer)
        return answer.done


def _check(for_s: float) -> None:
    if not 0 <= for_s <= LONGEST_SILENCE_S:
        raise Unacceptable(
            f"Nobody is silent for {for_s:g} s.", f"Say 0, which takes it back, to {LONGEST_SILENCE_S // 86_400} days."
        )


def _silent_words(for_s: float) -> str:
    return f"Nothing is told or done by itself for {for_s:g} s." if for_s else "It is no longer silent."
