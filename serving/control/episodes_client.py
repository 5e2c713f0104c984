"""The control API's paths for episodes of drift, from the caller's side."""

from __future__ import annotations

from typing import Any, TypedDict, cast

from serving.control.client import ControlClient, path_part


class WordAnswer(TypedDict):
    """What an operator said, and until when it holds; null is for good."""

    who: str
    why: str
    at: str
    until: str | None


class EpisodeRow(TypedDict):
    """An episode at a glance."""

    id: str
    model: str
    opened: str
    closed: str | None
    over: bool
    cause: str | None
    action: str
    words: str
    told: str
    acted: str
    pending: str
    paused: str
    acknowledged: WordAnswer | None
    silenced: WordAnswer | None
    next: str
    raised: list[dict[str, Any]]


class EpisodesAnswer(TypedDict):
    """Episodes, the newest first."""

    episodes: list[EpisodeRow]


class EpisodeDetail(EpisodeRow):
    """One episode, with what webhooks would be told of it now."""

    revision: int
    data: dict[str, Any]


class SilencesAnswer(TypedDict):
    """By model, the silences that hold."""

    silences: dict[str, WordAnswer]


class SilenceAnswer(TypedDict):
    """A model's silence; null where it was taken back."""

    model: str
    silence: WordAnswer | None


class EpisodesClient:
    """Episodes of drift, as that control API knows them.

    Args:
        control: the connection.
    """

    def __init__(self, control: ControlClient) -> None:
        self._control = control

    def newest(self, model: str | None, limit: int) -> EpisodesAnswer:
        """The newest, newest first.

        Raises:
            ControlError: as for every call here: no answer, a refusal, or somebody else at that address.
        """
        params = {"limit": str(limit), **({} if model is None else {"model": model})}
        return cast("EpisodesAnswer", self._control.call("GET", "drift/episodes", EpisodesAnswer, params=params))

    def silences(self) -> SilencesAnswer:
        """Of which models nobody hears."""
        return cast("SilencesAnswer", self._control.call("GET", "drift/silences", SilencesAnswer))

    def episode(self, episode: str) -> EpisodeDetail:
        """One of them."""
        return cast("EpisodeDetail", self._control.call("GET", _path(episode), EpisodeDetail))

    def approve(self, episode: str, why: str) -> EpisodeDetail:
        """Has done what waits for an approval."""
        return self._said(episode, "approve", {"why": why})

    def acknowledge(self, episode: str, why: str, *, undo: bool = False) -> EpisodeDetail:
        """Somebody has it in hand."""
        return self._said(episode, "acknowledge", {"why": why, "undo": undo})

    def silence(self, episode: str, for_s: float, why: str) -> EpisodeDetail:
        """Nothing more is told of it, or done, for so long; 0 takes that back."""
        return self._said(episode, "silence", {"for_s": for_s, "why": why})

    def silence_model(self, model: str, for_s: float, why: str) -> SilenceAnswer:
        """Nothing is told of that model's drift, or done about it, for so long; 0 takes that back."""
        path = f"drift/models/{path_part(model)}/silence"
        answer = self._control.call("POST", path, SilenceAnswer, json={"for_s": for_s, "why": why})
        return cast("SilenceAnswer", answer)

    def _said(self, episode: str, what: str, body: dict[str, Any]) -> EpisodeDetail:
        answer = self._control.call("POST", f"{_path(episode)}/{what}", EpisodeDetail, json=body)
        return cast("EpisodeDetail", answer)


def _path(episode: str) -> str:
    return f"drift/episodes/{path_part(episode)}"
