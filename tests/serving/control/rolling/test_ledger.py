"""The ledger loses nothing where it is shortened, is read by model and by rollout, and tells a story."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.commands import RollBack
from serving.control.api.ledger import ENTRY_ID
from serving.control.fake_store import FakeStore
from serving.control.publishing import Beside, LedgerEntry, Recorded
from serving.control.rolling import shelf
from serving.control.rolling.archive import Archive, place_of
from serving.control.rolling.ledger import Ledger
from serving.control.rolling.story import story_of
from tests.contracts.conftest import Bench
from tests.contracts.test_rollouts_in_store import back, base, begun
from tests.examples import examples
from tests.serving.control.rolling.rooms import STEPS, fake_room


async def written(store: FakeStore, count: int) -> None:
    """So many entries."""
    for number in range(count):
        await store.note(Beside(entries=(LedgerEntry("x", f"who {number}", "", {"model": f"m{number % 2}"}),)))


async def exported(ledger: Ledger) -> list[str]:
    """Who is in it, oldest first."""
    return [json.loads(line)["who"] async for line in ledger.export()]


async def test_what_is_let_go_of_is_in_the_archive(bench: Bench, tmp_path: Path) -> None:
    """Archive and store together have every entry once and in order."""
    await written(bench.store, 25)  # type: ignore[arg-type]
    archive = Archive(tmp_path / "ledger")
    assert await archive.keep(bench.store, 0, most=10) == 15
    assert await archive.keep(bench.store, 0, most=10) == 0
    assert await bench.store.ledger_length() == 10
    await written(bench.store, 5)  # type: ignore[arg-type]
    assert await archive.keep(bench.store, 0, most=10) == 5
    everything = [f"who {number}" for number in [*range(25), *range(5)]]
    assert await exported(Ledger(bench.store, tmp_path / "ledger")) == everything
    assert await exported(Ledger(bench.store)) == everything[20:]


def broken_off(folder: Path) -> Path:
    """The one file that is there, its last line broken off."""
    [file] = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    return file


async def test_a_death_between_archive_and_store_doubles_nothing(tmp_path: Path) -> None:
    """The entries are written once, and a line that broke off is written again."""
    store = FakeStore()
    await written(store, 20)
    archive = Archive(tmp_path)

    async def dies(last: str, fence: int) -> None:
        raise KeyboardInterrupt

    whole, store.trim_ledger = store.trim_ledger, dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await archive.keep(store, 0, most=10)
    file = broken_off(tmp_path)
    store.trim_ledger = whole  # type: ignore[method-assign]
    await Archive(tmp_path).keep(store, 0, most=10)
    assert await exported(Ledger(store, tmp_path)) == [f"who {number}" for number in range(20)]
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_long_ledger_is_shortened_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is held in memory than one piece."""
    monkeypatch.setattr("serving.control.rolling.archive._AT_ONCE", 7)
    monkeypatch.setattr("serving.control.rolling.ledger._PAGE", 4)
    store = FakeStore()
    await written(store, 50)
    assert await Archive(tmp_path).keep(store, 0, most=1) == 49
    assert await exported(Ledger(store, tmp_path)) == [f"who {number}" for number in range(50)]


async def test_an_export_loses_nothing_while_the_archive_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly it is read: what the store lets go of meanwhile is taken from the archive."""
    monkeypatch.setattr("serving.control.rolling.ledger._PAGE", 4)
    store, archive = FakeStore(), Archive(tmp_path)
    await written(store, 50)
    await archive.keep(store, 0, most=40)
    found = []
    async for line in Ledger(store, tmp_path).export():
        found.append(json.loads(line)["who"])
        await archive.keep(store, 0, most=max(1, await store.ledger_length() - 3))
    assert found == [f"who {number}" for number in range(50)]


async def test_appending_reads_the_end_of_a_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much the month has brought; a line that broke off there is taken away all the same."""
    monkeypatch.setattr("serving.control.rolling.archive._TAIL_BYTES", 300)
    store, archive = FakeStore(), Archive(tmp_path)
    await written(store, 20)
    await archive.keep(store, 0, most=10)
    broken_off(tmp_path)

    def whole(self: Path) -> bytes:
        raise AssertionError(f"all of {self} was read")

    monkeypatch.setattr(Path, "read_bytes", whole)
    await written(store, 5)
    await archive.keep(store, 0, most=10)
    assert len(await exported(Ledger(store, tmp_path))) == 24  # the store had let go of the one that was broken since


async def test_entries_are_found_by_model(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page, newest first, and no more than were asked for; or those after one."""
    monkeypatch.setattr("serving.control.rolling.ledger._AT_ONCE", 3)
    await written(bench.store, 20)  # type: ignore[arg-type]
    ledger = Ledger(bench.store)
    found = (await ledger.newest(4, model="m1")).entries
    assert [one.entry.who for one in found] == ["who 19", "who 17", "who 15", "who 13"]
    later = (await ledger.newest(100, model="m1", after=found[-1].id)).entries
    assert [one.entry.who for one in later] == ["who 19", "who 17", "who 15"]


async def paged(ledger: Ledger, limit: int, **asked: str) -> list[list[str]]:
    """Who is in it, newest first, page by page."""
    pages, before = [], ""
    while True:
        page = await ledger.newest(limit, before=before, **asked)
        pages.append([one.entry.who for one in page.entries])
        if not page.next:
            return pages
        before = page.next


async def test_the_newest_go_on_in_the_archive(bench: Bench, tmp_path: Path) -> None:
    """One order, page by page, wherever an entry is by now; nothing is missing and nothing is there twice."""
    await written(bench.store, 25)  # type: ignore[arg-type]
    ledger = Ledger(bench.store, tmp_path)
    everything = await paged(ledger, 7)
    await Archive(tmp_path).keep(bench.store, 0, most=4)
    assert await paged(ledger, 7) == everything
    assert [who for page in everything for who in page] == [f"who {number}" for number in reversed(range(25))]
    of_one = [who for page in await paged(ledger, 3, model="m1") for who in page]
    assert of_one == [f"who {number}" for number in reversed(range(1, 25, 2))]


async def test_an_entry_that_moves_between_two_pages_is_there_once(bench: Bench, tmp_path: Path) -> None:
    """The store lets go of it after the first page was read: the second finds it in the archive."""
    await written(bench.store, 20)  # type: ignore[arg-type]
    ledger = Ledger(bench.store, tmp_path)
    first = await ledger.newest(8)
    await Archive(tmp_path).keep(bench.store, 0, most=5)
    second = await ledger.newest(20, before=first.next)
    found = [one.entry.who for one in (*first.entries, *second.entries)]
    assert found == [f"who {number}" for number in reversed(range(20))]


async def test_a_page_reads_what_a_page_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty of many thousand entries cost fifty, and a model that hardly occurs costs no more than the bound."""
    monkeypatch.setattr("serving.control.rolling.ledger.MOST_LOOKED_AT", 200)
    monkeypatch.setattr("serving.control.rolling.ledger._AT_ONCE", 50)
    store = FakeStore()
    await written(store, 3_000)
    await Archive(tmp_path).keep(store, 0, most=100)
    read = 0
    whole = shelf._read

    def counted(line: bytes) -> Recorded | None:
        nonlocal read
        read += 1
        return whole(line)

    monkeypatch.setattr(shelf, "_read", counted)
    ledger = Ledger(store, tmp_path)
    far = (await ledger.newest(50, before="1000-0")).entries
    assert [one.entry.who for one in far] == [f"who {number}" for number in range(998, 948, -1)]
    assert read < 50 + 40  # a page, and the halves of the file that led there
    read = 0
    nothing = await ledger.newest(50, model="none")
    assert (nothing.entries, bool(nothing.next)) == ([], True)
    assert read < 200 + 40


async def test_why_is_told_from_the_archive_as_well(bench: Bench, tmp_path: Path) -> None:
    """Oldest first, in pages, though the store has let go of most of it, and others wrote in between."""
    await base(bench)
    record = await begun(bench)
    await written(bench.store, 10)  # type: ignore[arg-type]
    record = await back(bench, record)
    await written(bench.store, 10)  # type: ignore[arg-type]
    ledger = Ledger(bench.store, tmp_path)
    whole = await ledger.of_rollout(record.id)
    assert [one.entry.facts["what"] for one in whole.entries] == ["start", "roll back"]
    await Archive(tmp_path).keep(bench.store, 0, most=11)
    assert await ledger.of_rollout(record.id) == whole
    first = await ledger.of_rollout(record.id, 1)
    second = await ledger.of_rollout(record.id, 1, first.next)
    assert ([*first.entries, *second.entries], second.next) == (whole.entries, "")
    assert list((await ledger.newest(9, rollout=record.id)).entries) == whole.entries[::-1]
    assert (await ledger.newest(9, rollout=record.id, model="other")).entries == []


async def noted_no_more(bench: Bench, rollout: str) -> None:
    """The store as a release left it that did not note which entries are a rollout's."""
    if isinstance(bench.store, FakeStore):
        bench.store._entries_about.pop(rollout)
    else:
        await bench.store._redis.delete(bench.store.keys.rollout_entries(rollout))


@pytest.mark.parametrize("archived", [False, True], ids=["in the store", "archived"])
async def test_why_of_the_release_before_is_told_whole(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, archived: bool
) -> None:
    """Its entries are looked for, whether the rollout is over or has had others since; pages go on as ever."""
    monkeypatch.setattr("serving.control.rolling.ledger._AT_ONCE", 3)
    await base(bench)
    record = await begun(bench)
    await written(bench.store, 10)  # type: ignore[arg-type]
    await noted_no_more(bench, record.id)
    ledger = Ledger(bench.store, tmp_path)
    assert [one.entry.facts["what"] for one in (await ledger.of_rollout(record.id)).entries] == ["start"]
    record = await back(bench, record)
    await written(bench.store, 10)  # type: ignore[arg-type]
    if archived:
        await Archive(tmp_path).keep(bench.store, 0, most=2)
    whole = await ledger.of_rollout(record.id)
    assert [one.entry.facts["what"] for one in whole.entries] == ["start", "roll back"]
    first = await ledger.of_rollout(record.id, 1)
    second = await ledger.of_rollout(record.id, 1, first.next)
    assert ([*first.entries, *second.entries], second.next) == (whole.entries, "")
    assert list((await ledger.newest(9, rollout=record.id)).entries) == whole.entries[::-1]
    newest = await ledger.newest(1, rollout=record.id)
    older = await ledger.newest(1, rollout=record.id, before=newest.next)
    assert [*newest.entries, *older.entries] == whole.entries[::-1]
    assert (await ledger.newest(9, rollout=record.id, after=whole.entries[-1].id)).entries == []


async def test_what_is_looked_for_a_beginning_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A story without its beginning is better than a request that reads a whole ledger."""
    monkeypatch.setattr("serving.control.rolling.ledger._AT_ONCE", 3)
    monkeypatch.setattr("serving.control.rolling.ledger.MOST_LOOKED_AT", 6)
    await base(bench)
    record = await begun(bench)
    await noted_no_more(bench, record.id)
    await written(bench.store, 10)  # type: ignore[arg-type]
    record = await back(bench, record)
    found = await Ledger(bench.store).of_rollout(record.id)
    assert [one.entry.facts["what"] for one in found.entries] == ["roll back"]


@pytest.mark.parametrize("before", ["0", "0-0", "000-0"])
async def test_nothing_is_before_the_beginning(bench: Bench, before: str) -> None:
    """Which is an answer, and no error of the store."""
    await written(bench.store, 2)  # type: ignore[arg-type]
    assert await bench.store.ledger(5, before) == []
    assert (await Ledger(bench.store).newest(5, before=before)).entries == []


@pytest.mark.parametrize("said", ["١٢", "1-٢", "1-", "-1"])
def test_an_id_is_made_of_plain_digits(said: str) -> None:
    """Others are refused where they come in: the store would take them for garbage."""
    assert ENTRY_ID.fullmatch("12-3")
    assert not ENTRY_ID.fullmatch(said)


PLACES = st.sets(st.tuples(st.integers(1, 40), st.integers(0, 3)), max_size=60).map(sorted)


@given(places=PLACES, at=st.tuples(st.integers(0, 41), st.integers(0, 4)), torn=st.booleans())
@settings(max_examples=examples(150))
def test_a_file_is_bisected_to_what_is_asked_for(
    tmp_path_factory: pytest.TempPathFactory,
    places: list[tuple[int, int]],
    at: tuple[int, int],
    torn: bool,  # noqa: FBT001 - drawn
) -> None:
    """What is after a place, and what is before it, however long the lines are, and whatever broke off at the end."""
    path = tmp_path_factory.mktemp("shelf") / "2026-01.jsonl"
    lines = [
        json.dumps({"id": f"{ms}-{nth}", "at_ms": ms, "kind": "x", "who": "w" * (ms * 7), "why": "", "facts": {}})
        for ms, nth in places
    ]
    path.write_text("".join(f"{line}\n" for line in lines) + ('{"id": "50-' if torn else ""))
    assert [place_of(one.id) for one in shelf.entries_after(path, at)] == [one for one in places if one > at]
    assert [place_of(one.id) for one in shelf.entries_before(path, at)] == [one for one in places if one < at][::-1]
    assert shelf.last_in(path) == (places[-1] if places else (0, 0))


async def test_a_rollouts_story_says_who_did_what_and_why() -> None:
    """One sentence for each entry, oldest first, with the epoch and the shares."""
    room = await fake_room()
    record = await room.start(STEPS)
    await room.tick(1)
    await room.ask(record, RollBack(who="ada", why="errors on the new form"))
    story = story_of((await Ledger(room.store).of_rollout(record.id)).entries)
    assert len(story) == 3
    assert "ada: start" in story[0]
    assert "enter stage '1 %' (warming → running, stage '1 %')" in story[1]
    assert "version 2 1 %" in story[1]
    assert story[1].endswith("epoch 2.")
    assert "because errors on the new form" in story[2]


async def test_a_stop_of_everything_is_found_by_every_model(bench: Bench) -> None:
    """It concerns those that come later as well, and names none."""
    await bench.store.note(Beside(entries=(LedgerEntry("stop", "ada", "", {"models": [], "all": True}),)))
    assert len((await Ledger(bench.store).newest(5, model="whatever")).entries) == 1
