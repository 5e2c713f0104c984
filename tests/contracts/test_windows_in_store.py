"""Rows of episodes in any store: put aside before newer samples take their place, and handed out as Parquet."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest

from drift.attribution import Evidence, attribute
from drift.incidents import Incident, raised_of
from drift.keys import DriftKeys
from drift.samples import Answer, Batch, Request, Role, Totals
from serving.control import fake_windows, windows_store
from serving.control.captured_windows import CapturedWindows, about_of
from serving.control.errors import Overloaded, Unknown
from serving.control.fake_store import FakeStore
from serving.control.incident_form import encode_incident
from serving.control.publication import Beside, IncidentWrite
from serving.control.store import Store
from serving.control.windows_store import WindowAbout
from tests.contracts.conftest import Bench
from tests.serving.drifting import FINDING

MODEL = FINDING.model


def blob(number: int, at_s: float, model: str = MODEL) -> bytes:
    """A batch of one request."""
    request = Request(at_s, number, {}, (), (Answer(1, Role.STABLE, ()),), id=f"id-{number}")
    return Batch(model, "k", number, Totals(), (request,)).encode()


async def captures(store: Store | FakeStore, *blobs: bytes, model: str = MODEL) -> None:
    """What a sidecar captures: these are all there are now."""
    if isinstance(store, FakeStore):
        await store.sidecar_captures(model, *blobs)
        return
    redis: Any = store._redis
    key = DriftKeys(store.keys.namespace).captured(model)
    await redis.delete(key)
    for one in blobs:
        await redis.xadd(key, {"b": one, "t": "0"})


async def began(store: Store | FakeStore, first_s: float, *, decided: bool = True, over: bool = False) -> Incident:
    """An episode that begins with a row of that moment."""
    finding = replace(FINDING, span=replace(FINDING.span, first_s=first_s))
    incident = Incident.begun(raised_of("1-0", finding), MODEL, {}, first_s)
    said = attribute(Evidence(schema=True)) if decided else None
    incident = replace(incident, decided=said, over=over, closed_s=first_s + 5 if over else None)
    write = IncidentWrite(incident.identity, MODEL, 0, 1, encode_incident(incident), over)
    assert (await store.note(Beside(incidents=(write,)))).done
    return incident


async def ids(store: Store | FakeStore, episode: str, clock: float | None = None) -> list[str]:
    """Requests of the episode's file."""
    windows = CapturedWindows(store, lambda: time.time() if clock is None else clock)
    found = await windows.parquet(episode)
    return [str(one) for one in pq.read_table(io.BytesIO(found.parquet))["request_id"].to_pylist()]


async def test_an_episode_that_nobody_knows_has_no_rows(bench: Bench) -> None:
    """404, with what is kept for how long."""
    assert await bench.store.window_about("x") is None
    with pytest.raises(Unknown, match="No rows of an episode x are kept"):
        await CapturedWindows(bench.store).parquet("x")


async def test_rows_are_put_aside_before_newer_ones_take_their_place(bench: Bench) -> None:
    """From the episode's first row on; what is captured since belongs to it as well, each once."""
    now_s = time.time()
    await captures(bench.store, *(blob(nth, now_s - 10 + nth) for nth in range(1, 6)))
    incident = await began(bench.store, now_s - 8)
    windows = CapturedWindows(bench.store)
    await windows.keep()
    await captures(bench.store, blob(5, now_s - 5), blob(6, now_s - 4))
    assert await ids(bench.store, incident.identity) == ["id-2", "id-3", "id-4", "id-5", "id-6"]
    await captures(bench.store)
    await windows.keep()
    assert await ids(bench.store, incident.identity) == ["id-2", "id-3", "id-4", "id-5"]


async def test_an_episode_that_was_put_down_to_nothing_is_not_put_aside(bench: Bench) -> None:
    """Nobody is told of it; asked for, its rows are there all the same."""
    now_s = time.time()
    await captures(bench.store, blob(1, now_s))
    incident = await began(bench.store, now_s - 1, decided=False)
    await CapturedWindows(bench.store).keep()
    assert await bench.store.window_about(incident.identity) is None
    assert await ids(bench.store, incident.identity) == ["id-1"]
    assert await bench.store.window_about(incident.identity) == about_of(incident)


async def test_an_episode_that_is_over_has_an_end(bench: Bench) -> None:
    """Rows that came after the drift are none of it."""
    now_s = time.time()
    about = WindowAbout(MODEL, now_s - 10, now_s - 5)
    await captures(bench.store, blob(1, now_s - 8), blob(2, now_s - 1))
    await bench.store.keep_window("ep", about)
    assert await bench.store.window_about("ep") == about
    assert await ids(bench.store, "ep") == ["id-1"]


async def test_the_oldest_windows_make_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many are kept."""
    for module in (windows_store, fake_windows):
        monkeypatch.setattr(module, "MOST_WINDOWS", 2)
    now_s = time.time()
    await captures(bench.store, blob(1, now_s))
    for nth in range(3):
        await bench.store.keep_window(f"ep{nth}", WindowAbout(MODEL, now_s - nth))
        time.sleep(0.002)  # noqa: ASYNC251 - they are told apart by milliseconds
    assert [await bench.store.window_about(f"ep{nth}") is None for nth in range(3)] == [True, False, False]


async def test_batches_of_another_model_or_of_nobody_are_left_out(bench: Bench) -> None:
    """Whoever wrote them there."""
    now_s = time.time()
    await captures(bench.store, blob(1, now_s), blob(2, now_s, "another"), b"damaged")
    await bench.store.keep_window("ep", WindowAbout(MODEL, now_s - 1))
    assert await ids(bench.store, "ep") == ["id-1"]


async def test_few_files_are_made_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes memory: others are told to ask again."""
    await bench.store.keep_window("ep", WindowAbout(MODEL, 1.0))
    windows = CapturedWindows(bench.store)
    monkeypatch.setattr("serving.control.captured_windows._AT_ONCE", 0)
    with pytest.raises(Overloaded):
        await windows.parquet("ep")


def test_what_is_said_of_a_window_is_plain() -> None:
    """As the store has it."""
    assert json.loads(WindowAbout("m", 1.5).encode()) == ["m", 1.5, None]
