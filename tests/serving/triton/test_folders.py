"""A process keeps its server's things apart from others', and takes away what the dead have left."""

import os
from dataclasses import replace
from pathlib import Path

from serving.triton.arguments import PoolArguments
from serving.triton.folders import log_file, own_folder


def arguments(folder: Path) -> PoolArguments:
    """A pool that writes there."""
    return PoolArguments("m", 1, str(folder), "redis://h", path=str(folder), log_dir=str(folder / "logs"))


def test_folders_of_replicas_that_are_gone_are_removed(tmp_path: Path) -> None:
    """A replica removes what killed replicas of its own version left, and nothing of anyone else."""
    pool = arguments(tmp_path)
    home = tmp_path / "triton"
    kept = [home / f"m-1-{os.getppid()}", home / "m-11-4194999", home / "m-2-4194999"]
    gone = home / "m-1-4194999"
    namesake = home / f"m-1-{os.getpid()}"
    for folder in (*kept, gone, namesake):
        folder.mkdir(parents=True)
    assert own_folder(pool) == namesake
    assert [folder.exists() for folder in kept] == [True] * 3
    assert not gone.exists()
    assert not namesake.exists()


def test_only_the_newest_logs_are_kept(tmp_path: Path) -> None:
    """Logs of replicas that are gone do not pile up."""
    pool = arguments(tmp_path)
    (tmp_path / "logs").mkdir()
    for age in range(8):
        old = tmp_path / "logs" / f"triton-m-1-{4_194_900 + age}.log"
        old.touch()
        os.utime(old, (1_000 + age, 1_000 + age))
    assert log_file(pool) == tmp_path / "logs" / f"triton-m-1-{os.getpid()}.log"
    left = sorted(file.name for file in (tmp_path / "logs").iterdir())
    assert left == [f"triton-m-1-{4_194_900 + age}.log" for age in range(4, 8)]
    assert log_file(replace(pool, log_dir=None)) is None


def test_logs_of_a_namesake_are_left(tmp_path: Path) -> None:
    """What model `m` version 1 removes is not what `m-1` or `m-1.log` has, whose files' names begin as its own do."""
    pool = arguments(tmp_path)
    (tmp_path / "logs").mkdir()
    names = [f"triton-{other}-{4_194_900 + age}.log" for other in ("m-1-1", "m-1.log-1") for age in range(6)]
    for name in names:
        (tmp_path / "logs" / name).touch()
    log_file(pool)
    assert sorted(file.name for file in (tmp_path / "logs").iterdir()) == sorted(names)
