"""What is written down of requests and processes: traces, the access log, the log of errors, and in which form."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator

from router.policy import parse_share
from serving.errors import StartFailed
from serving.kinds import AnyPath, Size, number, text
from serving.logs import FORMS
from serving.settings.section import Section

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def _is_collector(value: str) -> bool:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query


def _as_share(value: object) -> int:
    """Parts per million; a value that was read before is one already."""
    return parse_share(str(value))


Share = Annotated[int, BeforeValidator(_as_share)]
"""In parts per million."""


class TracingSettings(Section):
    """Where spans go, and of which requests there are any."""

    endpoint: Annotated[str, text(_is_collector, "http://host:port or https://…, or null")] | None = None
    share: Share = 10_000
    requests_per_s: Annotated[float, number(0.001, 1_000_000)] = 1_000.0


class LogSettings(Section):
    """What is logged of requests, where, and in which form all processes log."""

    format: Annotated[str, text(FORMS.__contains__, " or ".join(FORMS))] = "console"
    access: Share = 0
    folder: AnyPath | None = None
    max_bytes: Size = 104_857_600

    def folder_in(self, state_dir: Path) -> Path:
        """Where the access log and the log of errors are."""
        return self.folder or state_dir / "logs"


def refuse_missing_exporter(tracing: TracingSettings) -> None:
    """Says it before anything is started.

    Raises:
        StartFailed: spans are to be sent, and what sends them is not installed.
    """
    if tracing.endpoint is not None and not _is_installed(_EXPORTER):
        raise StartFailed(
            "tracing.endpoint is given, but OpenTelemetry's exporter is not installed.",
            "Install the extra: pip install 'sluice-gateway[tracing]'.",
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
