"""`sluice stop`: break glass. All traffic to stable, and nothing grows until somebody takes that back.

It writes to Redis by itself, because it has to work when the control room does not: the address is that of the
settings, or of the embedded Valkey that was started from the state folder. Only where an API is named is that asked
instead.
"""

import asyncio
import getpass
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.commands.common import AsJson, Config, StateDir, Url, Why, print_json, settings_from
from serving.commands.rollout_common import rollouts_at
from serving.errors import SluiceError

if TYPE_CHECKING:
    from serving.control.rollouts_client import StoppedAnswer, UnstoppedAnswer
    from serving.settings import Settings

_PATIENCE_S = 2.0
"""For the gateways to run it; the stop is written before, and stays so."""


def stop(
    model: Annotated[str | None, typer.Argument(help="The model.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every model.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Let it move again; traffic stays as it is.")] = False,
    why: Why = "",
    url: Url = None,
    config: Config = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Break glass: all traffic to stable at once, and frozen. Needs nothing but Redis, unless an API is named."""
    if (model is None) is not every:
        raise typer.BadParameter("name one model, or give --all")
    if url:
        _by_api(url, config, model, why, undo=undo, as_json=as_json)
    else:
        _by_redis(settings_from(config, state_dir), model, why, undo=undo, as_json=as_json)


def _by_api(url: str, config: Path | None, model: str | None, why: str, *, undo: bool, as_json: bool) -> None:
    with rollouts_at(url, config) as rollouts:
        if undo:
            _tell_undone(rollouts.unstop(model, {"why": why}), as_json=as_json)
        else:
            _tell_stopped(rollouts.stop(model, {"why": why}), model, as_json=as_json)


def _by_redis(settings: "Settings", model: str | None, why: str, *, undo: bool, as_json: bool) -> None:
    glass = _Glass(redis_url(settings), settings.redis.namespace, _who(), why)
    if undo:
        _tell_undone(asyncio.run(glass.mended(model)), as_json=as_json)
    else:
        _tell_stopped(asyncio.run(glass.broken(model)), model, as_json=as_json)


def redis_url(settings: "Settings") -> str:
    """Where Redis is, password included: as the settings say, or the embedded one with its data in the state folder.

    Raises:
        SluiceError: nobody knows; says what would.
    """
    if settings.redis.url is not None:
        return settings.redis.url.get_secret_value()
    from serving.control.valkey import kept_url  # noqa: PLC0415 - as all here, only where it is needed

    found = kept_url(settings.state_dir / "valkey")
    if found is None:
        raise SluiceError(
            f"no Redis is known here: redis.url is not set, and none was started from {settings.state_dir}",
            "name the settings file with --config, the state folder with --state-dir, or the control API with --url",
        )
    return found


@dataclass(frozen=True, slots=True, repr=False)
class _Glass:
    """The store, as far as this command needs it; its address may hold a password, and is not shown."""

    url: str
    namespace: str
    who: str
    why: str

    async def broken(self, model: str | None) -> "StoppedAnswer":
        """The stop, written, and who runs it by then."""
        from serving.control.acknowledging import until_acknowledged  # noqa: PLC0415
        from serving.control.rolling.stopping import stop as break_glass  # noqa: PLC0415
        from serving.control.store import connect  # noqa: PLC0415

        store, began = connect(self.url, self.namespace), time.monotonic()
        try:
            done = await break_glass(store, None if model is None else (model,), who=self.who, why=self.why)
            seen = await until_acknowledged(store, done.answer, _PATIENCE_S, time.monotonic) if done.published else None
        finally:
            await store.close()
        return {
            "stopped": list(done.models),
            "rolled_back": list(done.rolled_back),
            "unread": list(done.unread),
            "epoch": done.answer.head.epoch if done.published else None,
            "acknowledged": None
            if seen is None
            else {"of": seen.of, "by": seen.by, "expired": list(seen.expired), "waiting": list(seen.waiting)},
            "took_ms": round((time.monotonic() - began) * 1000, 1),
        }

    async def mended(self, model: str | None) -> "UnstoppedAnswer":
        """What may move again."""
        from serving.control.rolling.stopping import unstop  # noqa: PLC0415
        from serving.control.store import connect  # noqa: PLC0415

        store = connect(self.url, self.namespace)
        try:
            return {"unstopped": list(await unstop(store, model, who=self.who, why=self.why))}
        finally:
            await store.close()


def _who() -> str:
    """Whoever is logged in, and where: there is no API that would know."""
    try:
        name = getpass.getuser()
    except OSError:  # an account without a name, as in some containers
        name = "somebody"
    return f"{name} at {socket.gethostname()}"


def _tell_stopped(answer: "StoppedAnswer", model: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json({**answer})
        return
    from serving.rollout_tables import acknowledged_words  # noqa: PLC0415 - slow to import

    typer.echo(f"stopped, all traffic to stable, and frozen: {', '.join(answer['stopped']) or 'there is no model yet'}")
    for rollout_id in answer["rolled_back"]:
        typer.echo(f"rolled back: {rollout_id}")
    if unread := answer["unread"]:
        typer.echo(f"frozen, but left as they are, for the store has lost what they run: {', '.join(unread)}")
    if answer["acknowledged"] is not None:
        typer.echo(acknowledged_words(answer["acknowledged"], answer["epoch"], answer["took_ms"]))
    typer.echo(f"let it move again with: sluice stop --undo {model or '--all'}")


def _tell_undone(answer: "UnstoppedAnswer", *, as_json: bool) -> None:
    if as_json:
        print_json({**answer})
        return
    names = ["everything" if name == "*" else name for name in answer["unstopped"]]
    typer.echo(f"may move again: {', '.join(names)}" if names else "nothing was stopped")
