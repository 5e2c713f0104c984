"""Where one process keeps what its server needs, and what is done about those of processes that are gone."""

import os
import re
import shutil
from pathlib import Path

from serving.triton.arguments import PoolArguments

_KEPT_LOGS = 4


def own_folder(pool: PoolArguments) -> Path:
    """This process's folder for the pool, not made yet; those that earlier replicas may have left are removed."""
    parent = Path(pool.state_dir) / "triton"
    name = f"{pool.model}-{pool.version}"
    for folder in parent.glob(f"{name}-*"):
        if folder.name.rpartition("-")[0] == name and not _runs(folder.name.rpartition("-")[2]):
            shutil.rmtree(folder, ignore_errors=True)
    own = parent / f"{name}-{os.getpid()}"
    if own.exists():  # of an earlier process that had this number
        shutil.rmtree(own)
    return own


def log_file(pool: PoolArguments) -> Path | None:
    """Where this process's server writes; of earlier replicas of the version, the newest few logs are kept."""
    if pool.log_dir is None:
        return None
    name = f"triton-{pool.model}-{pool.version}"
    # Not only what begins so: model `a-1` may have a version too.
    ours = re.compile(rf"{re.escape(name)}-(\d+)\.log(\.\d+)?")
    found = [(file, ours.fullmatch(file.name)) for file in Path(pool.log_dir).glob(f"{name}-*")]
    logs = [file for file, match in found if match and not _runs(match[1])]
    for old in sorted(logs, key=_age)[:-_KEPT_LOGS]:
        old.unlink(missing_ok=True)
    return Path(pool.log_dir) / f"{name}-{os.getpid()}.log"


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _runs(pid: str) -> bool:
    return pid.isdigit() and Path("/proc", pid).exists()
