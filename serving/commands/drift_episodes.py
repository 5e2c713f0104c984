"""`sluice drift episodes`, `episode`, `approve`, `acknowledge`, `silence`: whose fault it is, and what people say."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from serving.commands.common import AsJson, Config, Url, Why, client, print_json

if TYPE_CHECKING:
    from serving.control.episodes_client import EpisodeDetail

Episode = Annotated[str, typer.Argument(metavar="EPISODE", help="Its id: sluice drift episodes.")]
_ID = re.compile("ep_[0-9a-f]{16}")


def add_to(app: typer.Typer) -> None:
    """Adds these commands to a group."""
    for command in (episodes, episode, approve, acknowledge, silence):
        app.command()(command)


def episodes(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Of one model only.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 20,
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List what drifted, whose fault it is, and what was done about it, the newest first."""
    from serving.control.episodes_client import EpisodesClient  # noqa: PLC0415 - brings httpx, as all below

    with client(url, config) as control:
        found = EpisodesClient(control)
        answer, silences = found.newest(model, limit), found.silences()["silences"]
    mine = {name: word for name, word in silences.items() if model in (None, name)}
    if as_json:
        print_json({**answer, "silences": mine})
        return
    from serving.episode_tables import show_episodes  # noqa: PLC0415

    show_episodes(answer["episodes"], mine)


def episode(episode: Episode, *, url: Url = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show one of them: what it rests on, and what happens now."""
    from serving.control.episodes_client import EpisodesClient  # noqa: PLC0415

    with client(url, config) as control:
        found = EpisodesClient(control).episode(episode)
    if as_json:
        print_json({**found})
        return
    from serving.episode_tables import show_episode  # noqa: PLC0415

    show_episode(found)


def approve(
    episode: Episode, *, why: Why = "", url: Url = None, config: Config = None, as_json: AsJson = False
) -> None:
    """Have done what waits for an approval (drift.act: approve)."""
    from serving.control.episodes_client import EpisodesClient  # noqa: PLC0415

    with client(url, config) as control:
        _tell(EpisodesClient(control).approve(episode, why), as_json=as_json)


def acknowledge(
    episode: Episode,
    *,
    undo: Annotated[bool, typer.Option("--undo", help="It is nobody's any more.")] = False,
    why: Why = "",
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Say that somebody has it in hand: nothing more is told of it, or done, by itself."""
    from serving.control.episodes_client import EpisodesClient  # noqa: PLC0415

    with client(url, config) as control:
        _tell(EpisodesClient(control).acknowledge(episode, why, undo=undo), as_json=as_json)


def silence(
    what: Annotated[str, typer.Argument(metavar="MODEL|EPISODE", help="A model's name, or an episode's id.")],
    *,
    lasts: Annotated[str, typer.Option("--for", metavar="TIME", help="For so long, such as 2h; 30 days at most.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Hear of it again.")] = False,
    why: Why = "",
    url: Url = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Hear nothing of a model's drift, or of one episode, for a time, and have nothing done about it."""
    for_s = _seconds(lasts, undo=undo)
    from serving.control.episodes_client import EpisodesClient  # noqa: PLC0415

    with client(url, config) as control:
        said = EpisodesClient(control)
        if _ID.fullmatch(what):
            _tell(said.silence(what, for_s, why), as_json=as_json)
            return
        answer = said.silence_model(what, for_s, why)
    if as_json:
        print_json({**answer})
        return
    from serving.episode_tables import show_silence  # noqa: PLC0415

    show_silence(answer["model"], answer["silence"])


def _seconds(lasts: str, *, undo: bool) -> int:
    from serving.amounts import seconds_of  # noqa: PLC0415 - brings the router

    if undo is bool(lasts):
        raise typer.BadParameter("say for how long with --for, such as --for 2h, or take it back with --undo")
    try:
        for_s = 0 if undo else seconds_of(lasts)
    except ValueError as error:
        raise typer.BadParameter(f"--for: {error}") from error
    if not (for_s or undo):
        raise typer.BadParameter("--for: no time at all is no silence")
    return for_s


def _tell(one: "EpisodeDetail", *, as_json: bool) -> None:
    if as_json:
        print_json({**one})
        return
    from serving.episode_tables import show_said  # noqa: PLC0415

    show_said(one)
