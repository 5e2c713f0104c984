"""What Triton alone answers to each vector, as a file that is read in reviews and checked on each run.

`RECORD_TRITON=1 pytest tests/conformance tests/e2e/fidelity` writes the files anew; the difference then says what
another release of Triton answers differently. A vector that is no more has to be taken out by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RECORD = "RECORD_TRITON"


class Recording:
    """The recorded outcomes by the vector's name.

    Args:
        place: the file.
        renew: whether what is seen now is to replace what was recorded.
    """

    def __init__(self, place: Path, *, renew: bool) -> None:
        self.renew = renew
        self._place = place
        self._known: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}

    def check(self, name: str, plain: Mapping[str, Any]) -> None:
        """Fails where Triton answers differently from what was recorded."""
        if self.renew:
            self._known[name] = plain
        assert plain == self.known(name), f"Triton answers {name} differently from {self._place.name}"

    def known(self, name: str) -> Mapping[str, Any]:
        """What was recorded."""
        assert name in self._known, f"{name} is not recorded yet: run with {RECORD}=1"
        found: Mapping[str, Any] = self._known[name]
        return found

    def names(self) -> set[str]:
        """The vectors that are recorded."""
        return set(self._known)

    def close(self) -> None:
        """Writes the file where it is to be renewed."""
        if self.renew:
            self._place.write_text(json.dumps(self._known, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def recorded(place: Path) -> Iterator[Recording]:
    """The recording in that file, renewed where the environment says so."""
    kept = Recording(place, renew=bool(os.environ.get(RECORD)))
    yield kept
    kept.close()
