"""What the API says of episodes of drift, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from serving.control.episodes_client import EpisodeDetail, EpisodeRow, WordAnswer
from serving.rollout_standing import printable
from serving.tables import console, moment, table

_MOST_FEATURES: Final = 5


def show_episodes(episodes: Sequence[EpisodeRow], silences: Mapping[str, WordAnswer]) -> None:
    """Episodes at a glance, and of which models nobody hears."""
    out = console()
    if episodes:
        names = ("episode", "model", "since", "until", "cause", "to be done", "done", "what happens now")
        out.print(table("episodes", names, map(_row, episodes)))
    else:
        out.print("Nothing has drifted.")
    for model, word in silences.items():
        out.print(f"{printable(model)} is silent until {moment(word['until'] or '')} UTC: {_by(word)}", soft_wrap=True)


def show_episode(one: EpisodeDetail) -> None:
    """One episode: what it is put down to, what follows, what operators said, and what was found."""
    out = console()
    data = one["data"]
    out.print(f"{one['id']}, {printable(one['model'])}: {one['cause'] or 'not put down to anything yet'}")
    for line in _lines(one):
        out.print(line, soft_wrap=True)
    out.print(f"harm: {printable(data['harm']['words'])}", soft_wrap=True)
    rows = (
        (one["finding"], str(one["version"]), one["layer"], moment(one["since"]), f"{one['rows']:,}", one["words"])
        for one in one["raised"]
    )
    names = ("finding", "version", "layer", "since", "rows", "what")
    out.print(table("what was found", names, ([printable(cell) for cell in row] for row in rows)))
    for feature in data["features"][:_MOST_FEATURES]:
        out.print(f"{printable(feature['feature'])}: moved by {feature['variation']:.3f}, {feature['share']:.0%} of it")
    window = data["window"]
    out.print(f"{window['rows']:,} rows, as Parquet at {window['parquet']}", soft_wrap=True)


def show_said(one: EpisodeDetail) -> None:
    """What is so now that an operator has said something."""
    console().print(f"{one['id']}, {printable(one['model'])}: {printable(one['next'])}", soft_wrap=True)


def show_silence(model: str, word: WordAnswer | None) -> None:
    """Until when nobody hears of a model."""
    until = "is no longer silent" if word is None else f"is silent until {moment(word['until'] or '')} UTC"
    console().print(f"{printable(model)} {until}", soft_wrap=True)


def _lines(one: EpisodeDetail) -> Iterator[str]:
    until = f" to {moment(one['closed'])}" if one["closed"] else ""
    yield f"since {moment(one['opened'])}{until} UTC"
    if one["words"]:
        yield f"{one['action']}: {printable(one['words'])}"
    if one["next"]:
        yield printable(one["next"])
    for said, word in (("acknowledged", one["acknowledged"]), ("silenced", one["silenced"])):
        if word is not None:
            yield f"{said} by {_by(word)}"
    if one["paused"]:
        yield f"the rollout {one['paused']} was paused for it"


def _by(word: WordAnswer) -> str:
    why = f", because {word['why']}" if word["why"] else ""
    return printable(f"{word['who']}{why}")


def _row(one: EpisodeRow) -> tuple[str, ...]:
    until = moment(one["closed"]) if one["closed"] else ""
    cause, done = one["cause"] or "", "" if one["acted"] == "nothing" else one["acted"]
    when = (moment(one["opened"]), until)
    return (one["id"], printable(one["model"]), *when, cause, one["action"], done, printable(one["next"]))
