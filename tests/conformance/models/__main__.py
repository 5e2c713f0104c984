"""Writes the model repository: `python -m tests.conformance.models FOLDER`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.conformance.models.repository import MODELS, write


def main() -> None:
    """Refuses a folder that holds something."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.models", description=__doc__)
    parser.add_argument("folder", type=Path, help="where it comes to lie; made where it is missing")
    folder: Path = parser.parse_args().folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        sys.exit(f"{folder} is there already: name a folder that is empty or missing.")
    write(folder)
    print(f"{folder}: {', '.join(MODELS)}")  # noqa: T201 (told to who asked)


if __name__ == "__main__":
    main()
