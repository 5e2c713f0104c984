"""Where a control room keeps the ledger's archive and what must not be forgotten: a folder that is one namespace's.

In a state folder that another installation had before, its archive would be read as part of this one's history, and
new entries would be appended to its files. So the folder says whose it is, and who finds somebody else's there takes
one beside it. A folder from before it said so is taken: its installation has come to a new release far more often than
to a new namespace at the same moment.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

MARK: Final = "namespace"
"""The file that says whose the folder is."""


def ledger_folder(state_dir: Path, namespace: str) -> Path:
    """The folder of that namespace of Redis in that state folder; it is made, and marked as its own.

    What cannot be read or written is a line in the log: a control room without an archive still serves.
    """
    folder = state_dir / "ledger"
    try:
        theirs = _marked(folder) or namespace
        if theirs != namespace:
            _log.warning("%s is of namespace %.64r: %s has a folder beside it", folder, theirs, namespace)
            folder = state_dir / f"ledger-{namespace}"
        _mark(folder, namespace)
    except (OSError, ValueError) as error:
        _log.warning("whose the ledger's folder %s is cannot be told: %s", folder, error)
    return folder


def _marked(folder: Path) -> str:
    """Whose it is; empty where nobody has said so."""
    try:
        return (folder / MARK).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _mark(folder: Path, namespace: str) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if _marked(folder) != namespace:
        temporary = folder / f"{MARK}.new"
        temporary.write_text(f"{namespace}\n", encoding="utf-8")
        temporary.replace(folder / MARK)
