"""How our processes log: lines for people, or one JSON object a line, for the programs that collect them.

What is logged through `logging` and what through structlog comes out alike. A line is one line whatever was put into
it, but for a traceback that people are shown. Who logs what, and how often, is left to the callers; which form it is,
to the settings (`logs.format`).
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

FORMS: Final = ("console", "json")
OURS: Final = ("serving", "router", "registry", "drift", "loadtests")
"""The loggers of our packages."""
_BARE: Final = re.compile(r"[A-Za-z0-9_.:/@%+,-]+")
_KNOWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def line_of(form: str, at_s: float, event: str, fields: Mapping[str, object]) -> str:
    """One line, without its end.

    Args:
        form: one of `FORMS`.
        at_s: seconds since 1970.
        event: what happened.
        fields: what else is said of it.
    """
    at = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
    if form == "json":
        return json.dumps({"at": at, "event": event, **fields}, default=str)
    return " ".join([at, event, *(f"{name}={_shown(value)}" for name, value in fields.items())])


def set_up(form: str, loggers: Sequence[str] = ("",), *, level: int = logging.INFO) -> None:
    """From here on these loggers, and structlog where it is used, write to the standard error.

    Args:
        form: one of `FORMS`.
        loggers: names; the root's is empty. Those with a name write nowhere else from here on.
        level: the least that is written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(form))
    for name in loggers:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = not name


def set_up_structlog() -> None:
    """What is logged through structlog goes where `logging` writes, with its fields."""
    import structlog  # noqa: PLC0415 (a worker of the gateway does without it)

    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


class Formatter(logging.Formatter):
    """Writes what was logged in one of the two forms.

    Args:
        form: one of `FORMS`.

    Raises:
        ValueError: it is none of them.
    """

    def __init__(self, form: str) -> None:
        if form not in FORMS:
            raise ValueError(f"{form!r} is no form of a log: {' and '.join(FORMS)} are")
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """Part of `logging.Formatter`."""
        fields = {name: value for name, value in record.__dict__.items() if name not in _KNOWN}
        event = record.getMessage()
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._form == "json":
            more = {"exception": trace} if trace else {}
            known = {"level": record.levelname.lower(), "logger": record.name}
            return line_of("json", record.created, event, {**known, **fields, **more})
        said = event if event.isprintable() else event.encode("unicode_escape").decode()
        words = line_of("console", record.created, f"{record.levelname} {record.name}: {said}", fields)
        return f"{words}\n{trace}" if trace else words


def _shown(value: object) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)
