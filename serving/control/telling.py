"""Telling of duties that fail: once when one begins to, once for each new reason, and once when it works again."""

from __future__ import annotations

import logging

from serving.control.errors import StoreUnavailable


class Telling:
    """What was last told of each duty.

    Args:
        log: where it is told.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._told: dict[str, str] = {}

    def tell(self, name: str, error: Exception | None) -> None:
        """How the duty of this name has ended; None where nothing went wrong."""
        words = "" if error is None else f"{type(error).__name__}: {error}"
        if self._told.get(name, "") == words:
            return
        self._told[name] = words
        if error is None:
            self._log.info("%s: works again", name)
        elif isinstance(error, StoreUnavailable):
            self._log.warning("%s: has to wait: %s", name, error)
        else:
            self._log.error("%s: failed, and will be tried again", name, exc_info=error)
