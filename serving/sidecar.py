"""The drift sidecar beside an installation on one machine: started with it, started again when it dies, ended with it.

Nothing else waits for it and nothing else fails with it: without it drift goes unnoticed, and predictions go on. So a
sidecar that does not start is told in the log, and tried again after growing pauses. What it is told lies in a file
that nobody else may read, for the store's address holds a password, and process arguments are everybody's to see.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from drift.settings import DriftSettings, Installation
from serving import child
from serving.run_folder import write_private

PAUSES_S: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Before it is started again, each time that it did not live for `SOUND_S`; the last one from then on."""
SOUND_S: Final = 60.0

_GRACE_S: Final = 5.0
_LARGEST_LOG: Final = 4 * 1024 * 1024


class Sidecar:
    """One process. `start` it from a thread that lives as long as this process (`serving.child`).

    Args:
        folder: where what it is told and its log lie; made if it is not there.
        told: where the store is, and what is to be watched.
        program: what is run with the file's name behind it; None for `python -m drift`.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        folder: Path,
        told: Installation,
        *,
        program: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder.absolute()
        self._told = told
        self._program = tuple(program or (sys.executable, "-m", "drift"))
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._began_s = 0.0
        self._deaths = 0
        self._due_s: float | None = None

    @property
    def log(self) -> Path:
        """What it says."""
        return self._folder / "sidecar.log"

    @property
    def pid(self) -> int | None:
        """Its process, None while none runs."""
        return self._process.pid if self._process is not None and child.alive(self._process) else None

    def start(self) -> None:
        """Starts it, and waits for nothing.

        Raises:
            StartFailed: there is no interpreter to start it with.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._folder / "sidecar.json"
        write_private(file, self._told.to_json())
        if self.log.exists() and self.log.stat().st_size > _LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self._process = child.spawn(
                [*self._program, str(file)], cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._began_s, self._due_s = self._clock(), None

    def ensure_running(self) -> bool:
        """Starts it again if it has died, once its pause is over; whether it did."""
        if self.pid is not None:
            return False
        now_s = self._clock()
        if self._due_s is None:
            if self._process is not None:
                child.stop(self._process, 0.0)  # what it left behind, and the process itself
            self._deaths = self._deaths + 1 if now_s - self._began_s < SOUND_S else 0
            self._due_s = now_s + PAUSES_S[min(self._deaths, len(PAUSES_S) - 1)]
        if now_s < self._due_s:
            return False
        self.start()
        return True

    def stop(self) -> None:
        """Ends it; its windows are in the store. Stopping twice is harmless."""
        if self._process is not None:
            child.stop(self._process, _GRACE_S)


def is_wanted(drift: DriftSettings) -> bool:
    """Whether there is anything to be watched by these settings."""
    return drift.watches_any
