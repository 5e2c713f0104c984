"""The kit against Triton alone and against the gateway in front of it, and their answers side by side.

    python -m tests.conformance [arguments for pytest]

What `make conformance` runs: 0 where both pass and every difference is one that the protocol lists.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conformance.comparing import compare, entries, is_sound, written
from tests.conformance.servers import pair
from tests.conformance.targets import Target

_KIT = Path(__file__).parent


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        folder = Path(name)
        with pair(folder / "servers") as both:
            runs = {target: run(target, folder / f"{target.column}.json", arguments) for target in both.targets}
        (alone, _), (behind, _) = found = list(runs.values())
        rows = compare(entries(), alone, behind)
    say(written(rows))
    if not rows:
        say("no vector was asked of either: nothing is shown")
    return 0 if rows and is_sound(rows) and all(code == 0 for _, code in found) else 1


def run(target: Target, place: Path, arguments: Sequence[str]) -> tuple[dict[str, Any], int]:
    """What the server answered, by the vector's name, and pytest's exit status."""
    say(f"\n{target.column}: {target.http.url if target.http else ''} {target.grpc or ''}\n")
    aimed = [f"--endpoint={target.http.url}"] if target.http else []
    aimed += [f"--grpc={target.grpc}"] if target.grpc else []
    command = [sys.executable, "-m", "pytest", str(_KIT), *aimed, f"--column={target.column}"]
    done = subprocess.run([*command, f"--save-answers={place}", "--quiet", *arguments], check=False)
    answers: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    return answers, done.returncode


def say(text: str) -> None:
    """To whoever started it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
