"""A writer that is killed at a random moment leaves readable files, nothing twice, and nothing behind."""

from __future__ import annotations

import multiprocessing
import random
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from serving.payloads.files import finished_in, sweep
from serving.payloads.log import PayloadLog
from serving.payloads.reading import rows_in
from serving.payloads.rows import rows_of
from serving.payloads.rules import Kept
from tests.serving.payloads.made import captured, rules
from tests.serving.payloads.writer import run

_PER_WRITER = 10_000_000


@pytest.fixture(scope="module")
def forks() -> ForkServerContext:
    """Processes that have imported everything already: a round takes a fraction of a second."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.serving.payloads.writer"])
    return context


def killed(forks: ForkServerContext, folder: Path, first: int, after_s: float, *, files: bool = True) -> None:
    """Starts a writer, and kills it (SIGKILL) so long after its first file is there, or after its start."""
    process = forks.Process(target=run, args=(str(folder), first), daemon=True)
    before = {one.path for one in finished_in(folder)}
    process.start()
    deadline_s = time.monotonic() + 120
    while files and {one.path for one in finished_in(folder)} <= before:
        assert process.is_alive()
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    time.sleep(after_s)
    process.kill()
    process.join(60)
    assert process.exitcode == -9


def check(folder: Path) -> int:
    """Every file that exists can be read to its end, and no row is there twice; says how many rows there are."""
    seen: set[tuple[int, str, int]] = set()
    count = 0
    for one in finished_in(folder):
        table = pq.read_table(one.path, partitioning=None)
        rows = table.select(["nonce", "role", "answered"]).to_pylist()
        assert rows
        assert [row["input.amount"] for row in table.slice(0, 1).to_pylist()] == [[1.5, 2.5]]
        seen |= {(row["nonce"], row["role"], row["answered"]) for row in rows}
        count += len(rows)
    assert len(seen) == count
    return count


def rounds(forks: ForkServerContext, folder: Path, how_many: int, seed: int) -> None:
    """Kills a writer so many times in one folder, and looks at it after each."""
    draws = random.Random(seed)
    for one in range(how_many):
        early = one % 3 == 2
        killed(forks, folder, one * _PER_WRITER, draws.random() * (0.8 if early else 0.15), files=not early)
        assert check(folder) > 0
        left = list(folder.rglob("*.part"))
        assert len(left) <= 1
    PayloadLog(rules(folder, max_bytes=1_000_000, file_bytes=12_000), time.time())
    assert list(folder.rglob("*.part")) == []
    assert check(folder) > 0
    assert sum(one.size for one in finished_in(folder)) <= 1_000_000


def test_a_writer_may_be_killed_at_any_moment(forks: ForkServerContext, tmp_path: Path) -> None:
    """Eight times over: what is there is whole and there once, and the next one sweeps what was not finished."""
    rounds(forks, tmp_path / "log", 8, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_writer_may_be_killed_very_often(forks: ForkServerContext, tmp_path: Path) -> None:
    """The same a hundred times."""
    rounds(forks, tmp_path / "log", 100, seed=2)


def test_what_another_process_is_writing_is_not_swept(forks: ForkServerContext, tmp_path: Path) -> None:
    """A second writer in one folder takes nothing from the first; once that one is killed, its rest is swept."""
    folder = tmp_path / "log"
    log = PayloadLog(rules(folder), time.time())
    log.add(rows_of(captured(5), Kept.SAMPLE), time.time())
    [unfinished] = folder.rglob("*.part")
    killed(forks, folder, 100, 0.0)
    assert unfinished.exists()
    assert sweep(folder) <= 1
    assert unfinished.exists()
    log.close(time.time())
    assert check(folder) > 0
    assert 5 in {row.about["nonce"] for row in rows_in(one.path for one in finished_in(folder))}
