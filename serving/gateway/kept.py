"""The last good snapshot on disk, so that a worker can start while the store is away.

Written whole and moved into place, readable by its owner alone. What cannot be written or read is a line in the log,
never a reason not to serve. It names the namespace whose policies it holds: in a state folder that another installation
had before, what that one ran is nothing to serve by. What was written before it named one is taken.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from router.epoch import NO_HEAD, Head
from serving.endpoint import Endpoint, decode
from serving.leases import Recovery, decode_recovery

_log = logging.getLogger(__name__)
_OWNER_ONLY = 0o600


class Kept(NamedTuple):
    """What ran last, and where versions answered then."""

    recovery: Recovery
    endpoints: tuple[Endpoint, ...]

    def outlives(self, shown: Head) -> bool:
        """Whether a store that shows this has forgotten what ran: nothing is kept that was not published."""
        ran = self.recovery.head
        return shown != NO_HEAD and ran[:2] != shown[:2] and ran.epoch >= shown.epoch


def keep(file: str, namespace: str, recovery: Recovery, endpoints: Iterable[Endpoint]) -> None:
    """Writes what runs in that namespace of Redis; an empty file name keeps nothing."""
    if file:
        said = {
            "namespace": namespace,
            "recovery": recovery.encode(),
            "endpoints": [endpoint.encode() for endpoint in endpoints],
        }
        write(Path(file), json.dumps(said), "the snapshot")


def write(path: Path, text: str, what: str) -> None:
    """Writes a file whole, for its owner alone; `what` names it in the log where that fails."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", opener=lambda name, flags: os.open(name, flags, _OWNER_ONLY)) as out:
            out.write(text)
        temporary.replace(path)
    except OSError as error:
        _log.warning("%s cannot be kept at %s: %s", what, path, error)


def recall(file: str, namespace: str) -> Kept | None:
    """What was kept of that namespace, None where there is nothing or nothing usable."""
    if not file:
        return None
    try:
        kept = json.loads(Path(file).read_text())
        theirs = kept.get("namespace", namespace)
        if theirs != namespace:
            _log.warning("the snapshot kept at %s is of namespace %.64r: not used for %s", file, theirs, namespace)
            return None
        return Kept(decode_recovery(kept["recovery"]), tuple(decode(text) for text in kept["endpoints"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _log.warning("the snapshot kept at %s cannot be used: %s", file, error)
        return None
