"""A worker keeps what it will want again."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
from serving.gateway import heap
if sys.argv[1] == "keep":
    heap.keep()
def once():
    held = [b"x" * 1_000_000 for _ in range(8)]
    del held
once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the C library has no such switch")
def test_a_heap_that_is_kept_is_not_asked_for_again() -> None:
    """Large blocks that come and go cost page faults at first, and not each time."""
    kept, given_back = (_faults(how) for how in ("keep", "give back"))
    assert kept * 10 < given_back


def _faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)
