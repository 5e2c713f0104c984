"""The settings of traces and logs: what they take, and what is refused before anything is started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from serving.errors import SettingsError, StartFailed
from serving.settings import TracingSettings, load_settings
from serving.settings.seeing import refuse_missing_exporter


@pytest.fixture(autouse=True)
def _an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the machine's takes part."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLUICE_CONFIG", raising=False)


def written(text: str) -> Path:
    """A settings file."""
    file = Path("sluice.yaml")
    file.write_text(text)
    return file


def test_without_a_word_nothing_is_traced_and_no_request_logged(tmp_path: Path) -> None:
    """Failures are, in the state folder; all for people."""
    settings = load_settings()
    assert (settings.tracing.endpoint, settings.logs.access, settings.logs.format) == (None, 0, "console")
    assert settings.logs.folder_in(settings.state_dir) == tmp_path / ".sluice" / "logs"


def test_shares_and_folders_are_read(tmp_path: Path) -> None:
    """In percent, and from the file's folder on."""
    text = "tracing: {endpoint: 'https://otel:4318', share: 0.5%}\nlogs: {access: 100%, folder: seen, format: json}"
    settings = load_settings(written(text))
    assert (settings.tracing.endpoint, settings.tracing.share) == ("https://otel:4318", 5_000)
    assert (settings.logs.access, settings.logs.format) == (1_000_000, "json")
    assert settings.logs.folder_in(settings.state_dir) == tmp_path / "seen"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "tracing: {endpoint: 'otel:4318'}",
            "tracing.endpoint: 'otel:4318' is given, but it takes http://host:port or",
        ),
        (
            "tracing: {endpoint: 'grpc://otel'}",
            "tracing.endpoint: 'grpc://otel' is given, but it takes http://host:port",
        ),
        ("tracing: {endpoint: 'http://h:x'}", "tracing.endpoint: 'http://h:x' is given, but it takes http://host:port"),
        ("tracing: {share: 101%}", "tracing.share: '101%' is given, but"),
        ("tracing: {requests_per_s: 0}", "tracing.requests_per_s: 0 is given, but it takes a number from 0.001"),
        ("logs: {format: xml}", "logs.format: 'xml' is given, but it takes console or json"),
        ("logs: {access: some}", "logs.access: 'some' is given, but"),
        ("logs: {max_bytes: 0}", "logs.max_bytes: 0 is given, but it takes a whole number from 1"),
    ],
)
def test_mistakes_are_said_by_key(text: str, line: str) -> None:
    """With what was given, and what is taken."""
    with pytest.raises(SettingsError) as caught:
        load_settings(written(text))
    (mistake,) = caught.value.mistakes
    assert mistake.startswith(line)


def test_spans_without_what_sends_them_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of the extra; with it, or without an endpoint, there is nothing to say."""
    wanted = TracingSettings(endpoint="http://127.0.0.1:4318")
    refuse_missing_exporter(wanted)
    for name in [one for one in sys.modules if one.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    refuse_missing_exporter(TracingSettings())
    with pytest.raises(StartFailed) as caught:
        refuse_missing_exporter(wanted)
    assert "sluice-gateway[tracing]" in caught.value.hint
