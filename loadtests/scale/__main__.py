"""`python -m loadtests.scale`, which is `make bench-scale`: what more workers, models and servers cost.

Exit codes: 0 it was measured, 2 the run counts for nothing or could not be made. It judges nothing: what is too much is
a question of the machine, and `docs/scale.md` says what grows with what.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from loadtests.compare.errors import NotStarted, Void
from loadtests.compare.machine import surroundings
from loadtests.installation import Failed
from loadtests.scale import report
from loadtests.scale.plan import FULL, QUICK
from loadtests.scale.rounds import rows
from serving.errors import SluiceError

_RECORD = Path(__file__).parents[2] / "docs" / "scale.md"
_ABOUT = ("when", "machine", "Python", "Ray", "load")
_VOID = 2


def main(argv: Sequence[str] | None = None) -> int:
    """One run; what to exit with."""
    arguments = _arguments(argv)
    shown, notes = Console(width=240, highlight=False), Console(stderr=True, highlight=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_VOID))  # so that the installations are taken down
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-scale-") as folder:
            found = list(rows(QUICK if arguments.quick else FULL, Path(folder), notes.print))
    except (NotStarted, Failed, SluiceError) as error:
        notes.print(f"error: {error}")
        return _VOID
    except Void as error:
        notes.print(f"void: {error}")
        return _VOID
    known = surroundings()
    text = report.markdown(found, {name: known[name] for name in _ABOUT})
    shown.print(text, soft_wrap=True)
    if arguments.record:
        report.keep(_RECORD, text)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.scale", description="What more of everything costs.")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and fewer rounds: two minutes")
    parser.add_argument("--record", action="store_true", help="write the table of this full run to docs/scale.md")
    arguments = parser.parse_args(argv)
    if arguments.quick and arguments.record:
        parser.error("--record keeps full runs only")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
