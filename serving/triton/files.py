"""A file in a second place, without a second copy of its bytes where the file system allows it.

A link that points at the file is followed, for where it points may be somewhere else from the second place.

A hard link is as good as a copy here: packages and artifacts are replaced whole, never written in place, and a
link outlives the replacement. Where links are not possible (another file system, somebody else's file) the bytes
are copied. Which files go where is the callers' business.
"""

import os
import shutil
from pathlib import Path


def place(source: Path, target: Path) -> None:
    """Puts the file `source`, or what it points at, at `target`, which must not exist yet; its folder is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy(source, target)


def place_program(source: Path, target: Path) -> None:
    """The same, executable at `target`. The source's own mode stays what it is."""
    if os.access(source, os.X_OK):
        place(source, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        target.chmod(0o755)


def place_tree(source: Path, target: Path) -> None:
    """Puts every file below the folder `source` at the same place below `target`, which must not exist yet."""
    shutil.copytree(source, target, copy_function=lambda file, copy: place(Path(file), Path(copy)))
