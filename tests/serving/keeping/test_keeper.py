"""A keeper hears several workers, tells what it finds, and loses nothing of it while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from router.agreement import Agree, Comparison, OutputRule, comparison_as_dict
from serving.captured import Captured, Kind, ModelTerms, ShadowShed, Shed, Terms, framed
from serving.diffs import Diff
from serving.keeping.keeper import Keeper
from serving.keeping.reception import Reception, Rules, Sheds
from serving.keeping.sinks import Disagreement
from serving.pair_totals import PairMessage, PairTotals, pair_message_from
from tests.serving.control.waiting import until
from tests.serving.keeping.pairs import labels

_WITHIN_S = 60.0


class FakeStore:
    """A store in memory that may be away."""

    def __init__(self) -> None:
        self.away = False
        self.told: list[PairMessage] = []
        self.kept: dict[tuple[str, str], Diff] = {}

    async def tell(self, message: bytes) -> None:
        """One more message."""
        self._reach()
        self.told.append(pair_message_from(message))

    async def leave(self, diff: Diff) -> None:
        """What was found."""
        self._reach()
        self.kept[diff.totals.model, diff.totals.salt] = diff

    async def left(self, totals: PairTotals) -> Diff | None:
        """What was found before."""
        self._reach()
        return self.kept.get((totals.model, totals.salt))

    def _reach(self) -> None:
        if self.away:
            raise OSError("away")


class FakeSink:
    """Remembers what it got."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, Comparison | None, Disagreement | None]] = []
        self.closed = False

    def take(self, captured: Captured, comparison: Comparison | None, found: Disagreement | None) -> None:
        """One more."""
        self.taken.append((captured.request_id, comparison, found))

    def dropped(self) -> Mapping[str, int]:
        """Nothing."""
        return {}

    async def close(self) -> None:
        """The end."""
        self.closed = True


def captured_frame(captured: Captured) -> bytes:
    """As a worker sends it."""
    return framed(Kind.CAPTURED, captured.encode())


async def test_workers_hand_over_and_the_keeper_tells(tmp_path: Path) -> None:
    """Two workers' pairs come to one series; what came before the end is told at the end."""
    store, sink, path = FakeStore(), FakeSink(), tmp_path / "keeper"
    path.write_bytes(b"left by an earlier one")
    keeper, stop = Keeper("gw boot", Reception(path, 1 << 20), store, [sink]), asyncio.Event()
    running = asyncio.create_task(keeper.run(stop))
    rules = Comparison({"label": OutputRule(Agree.IGNORE)})
    terms = Terms({"other": ModelTerms(1, comparison_as_dict(rules))})
    await until(path.is_socket, _WITHIN_S)
    assert path.stat().st_mode & 0o777 == 0o600
    for worker in range(2):
        _, writer = await asyncio.open_unix_connection(str(path))
        frames = framed(Kind.TERMS, terms.encode())
        frames += b"".join(captured_frame(labels("cat", "dog", nonce=10 * worker + nth)) for nth in range(3))
        frames += captured_frame(labels("a", "b", nonce=90 + worker, model="other"))
        for at in range(0, len(frames), 700):
            writer.write(frames[at : at + 700])
            await writer.drain()
        writer.close()
    await until(lambda: len(sink.taken) == 8, _WITHIN_S)
    stop.set()
    await running
    digits, other = sorted(store.told[-1].series, key=lambda one: one.model)
    assert (digits.compared, digits.disagreed, other.compared, other.disagreed) == (6, 6, 2, 0)
    assert store.told[-1].whole
    assert store.told[0] == PairMessage("gw boot", (), whole=True), "whoever reads has a beginning"
    assert {model: one.totals.compared for (model, _), one in store.kept.items()} == {"digits": 6, "other": 2}
    assert [found is None for _, _, found in sink.taken].count(True) == 2
    assert {comparison for _, comparison, _ in sink.taken} == {None, rules}
    assert (sink.closed, path.exists()) == (True, False)


async def test_what_is_told_while_the_store_is_away_is_told_when_it_is_back(tmp_path: Path) -> None:
    """Totals are running ones: the next message has what the lost one would have said."""
    store = FakeStore()
    keeper = Keeper("gw boot", Reception(tmp_path / "k", 1 << 20), store)
    await keeper.tell()
    store.away = True
    keeper.look_at(labels("a", "b"))
    for call in (keeper.tell, keeper.leave):
        with pytest.raises(OSError, match="away"):
            await call()
    store.away = False
    await keeper.tell()
    await keeper.leave()
    await keeper.tell()
    assert [sum(one.disagreed for one in message.series) for message in store.told] == [0, 1]
    assert store.kept["digits", "ro_1"].totals.disagreed == 1


async def test_a_series_that_is_over_is_let_go_of(tmp_path: Path) -> None:
    """A day after its last pair; what was found stays in the store, and is gone on from should there be another."""
    store, now = FakeStore(), [1_000.0]
    keeper = Keeper("gw boot", Reception(tmp_path / "k", 1 << 20), store, wall=lambda: now[0])
    keeper.look_at(labels("a", "b"))
    for later_s in (0.0, 80_000.0, 90_000.0):
        now[0] = 1_000.0 + later_s
        await keeper.leave()
        assert bool(keeper.findings.series) is (later_s < 86_400)
    keeper.look_at(labels("a", "b", nonce=2))
    await keeper.leave()
    assert store.kept["digits", "ro_1"].totals.compared == 2


async def test_more_than_may_wait_is_dropped_and_counted(tmp_path: Path) -> None:
    """And what waited is still looked at."""
    reception, frame = Reception(tmp_path / "k", 10_000), labels("a", "b").encode()
    for _ in range(100):
        reception.take(Kind.CAPTURED, frame)
    kept = 100 - reception.dropped["queue"]
    assert 0 < kept < 10
    for _ in range(kept):
        assert await reception.next() == labels("a", "b")
    assert reception.all_dropped() == {"queue": 100 - kept}


async def test_a_stream_that_makes_no_sense_is_closed_and_hurts_no_other(tmp_path: Path) -> None:
    """Frames without end, terms that are none; and a request that cannot be read costs only itself."""
    store, sink, path = FakeStore(), FakeSink(), tmp_path / "keeper"
    reception, stop = Reception(path, 1 << 20), asyncio.Event()
    running = asyncio.create_task(Keeper("gw boot", reception, store, [sink]).run(stop))
    await until(path.is_socket, _WITHIN_S)
    for nonsense in (b"\xff" * 100, framed(Kind.TERMS, b"[]"), framed(Kind.SHED, b"{}")):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(nonsense)
        assert await reader.read() == b"", "it hangs up"
        writer.close()
    _, writer = await asyncio.open_unix_connection(str(path))
    later = framed(Kind.CAPTURED, b"")[:4] + b"\x63"
    writer.write(framed(Kind.CAPTURED, b"\0\0\0\1x") + later + captured_frame(labels("a", "b")))
    await until(lambda: bool(sink.taken), _WITHIN_S)
    writer.close()
    stop.set()
    await running
    assert reception.all_dropped() == {"damaged": 1}


def test_the_rules_of_the_newest_policy_hold() -> None:
    """Whichever worker tells of them first; what cannot be read is as good as none."""
    rules, exact = Rules(), Comparison(keep=1)
    rules.take(Terms({"m": ModelTerms(2, comparison_as_dict(exact))}))
    rules.take(Terms({"m": ModelTerms(1, None)}))
    assert (rules.of("m"), rules.of("n")) == (exact, None)
    rules.take(Terms({"m": ModelTerms(3, {"keep": "many"})}))
    assert rules.of("m") is None


def test_what_workers_did_not_send_adds_up_from_where_it_was_first_heard() -> None:
    """A worker that was there before this keeper has told the one before it what came until then."""

    def shed(worker: str, offered: int, sent: int, dropped: int) -> Shed:
        shadow = ShadowShed("m", 2, "s", offered, sent, {"full": offered - sent} if offered > sent else {})
        return Shed(worker, "boot", (shadow,), {"pair_full": dropped})

    sheds = Sheds()
    for said in (shed("old", 100, 90, 5), shed("new", 0, 0, 0), shed("old", 130, 100, 6), shed("new", 10, 9, 0)):
        sheds.take(said)
    ((named, told),) = sheds.told().items()
    assert (named, told.offered, told.sent, told.shed) == (("m", "s", 2), 40, 19, {"full": 21})
    assert sheds.dropped() == {"pair_full": 1}


async def test_no_sink_waits_for_another_at_the_end(tmp_path: Path) -> None:
    """All are closed at once: one after the other they would take longer than whoever stops a keeper waits."""

    class Waits(FakeSink):
        """Is closed once the other one has begun to be."""

        def __init__(self, mine: asyncio.Event, other: asyncio.Event) -> None:
            super().__init__()
            self._mine, self._other = mine, other

        async def close(self) -> None:
            """The end."""
            self._mine.set()
            await self._other.wait()
            self.closed = True

    one, two, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
    sinks = [Waits(one, two), Waits(two, one)]
    stop.set()
    await Keeper("gw boot", Reception(tmp_path / "keeper", 1 << 20), FakeStore(), sinks).run(stop)
    assert [sink.closed for sink in sinks] == [True, True]
