"""What the kit is aimed at: the servers that the command line names, or else a real Triton and a gateway before it.

    pytest tests/conformance --endpoint http://127.0.0.1:8000 --grpc 127.0.0.1:8001 --profile core,binary

Without an endpoint both servers are started here, and both columns are judged.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.recording import Recording, recorded
from tests.conformance.targets import Column, Place, Profile, Target

_PROFILE = "profile"
_OUTCOMES = ("passed", "failed", "error", "skipped")
_RECORDED = Path(__file__).with_name("recorded")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Part of pytest."""
    group = parser.getgroup("conformance", "the Open Inference Protocol")
    group.addoption("--endpoint", metavar="URL", help="the server to test over HTTP, such as http://127.0.0.1:8000")
    group.addoption("--grpc", metavar="ADDRESS", help="the same over gRPC, such as 127.0.0.1:8001")
    every = ",".join(Profile)
    group.addoption("--profile", default=every, metavar="NAMES", help=f"some of {every}; without it all")
    group.addoption(
        "--column",
        default=Column.PROTOCOL.value,
        choices=[column.value for column in Column],
        help="what its answers are held against: the protocol (without this), or every byte of Triton 2.51 or Sluice",
    )
    group.addoption("--save-answers", metavar="FILE", help="write what was answered to each vector there, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Part of pytest; refuses what names no server and no profile."""
    config.addinivalue_line("markers", "profile(name): the part of the protocol that a conformance test is about")
    try:
        _target(config)
        _profiles(config)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The kit's tests of itself say nothing of a server."""
    return True if collection_path.name == "own" and _target(config) is not None else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What belongs to a profile that was not asked for is shown as skipped."""
    asked = _profiles(config)
    for item in items:
        marker = item.get_closest_marker("profile")
        if marker is None:
            continue
        item.user_properties.append((_PROFILE, marker.args[0].value))
        if marker.args[0] not in asked:
            item.add_marker(pytest.mark.skip(reason=f"profile {marker.args[0]} was not asked for (--profile)"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What became of each profile, where a server is named."""
    if _target(config) is None:
        return
    terminalreporter.section("conformance")
    became = Counter(
        (dict(report.user_properties).get(_PROFILE), outcome)
        for outcome in _OUTCOMES
        for report in terminalreporter.stats.get(outcome, [])
    )
    for profile in Profile:
        counts = ", ".join(f"{n} {outcome}" for outcome in _OUTCOMES if (n := became[profile, outcome]))
        asked = "" if profile in _profiles(config) else " (not asked for)"
        terminalreporter.line(f"{profile}: {counts or 'nothing run'}{asked}")


def _profiles(config: pytest.Config) -> set[Profile]:
    named = config.getoption("--profile", None)
    try:
        return set(map(Profile, named.split(","))) if named else set(Profile)
    except ValueError as error:
        raise ValueError(f"--profile {named}: {error}; there are {', '.join(Profile)}") from error


def _target(config: pytest.Config) -> Target | None:
    """What the command line names; None where it names nothing."""
    endpoint, grpc = config.getoption("--endpoint", None), config.getoption("--grpc", None)
    if not endpoint and not grpc:
        return None
    return Target(Column(config.getoption("--column")), Place.from_url(endpoint) if endpoint else None, grpc or None)


@pytest.fixture(scope="session")
def targets(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, ...]]:
    """Every server under test."""
    named = _target(request.config)
    if named is not None:
        yield (named,)
        return
    from tests.conformance.servers import pair  # noqa: PLC0415 (needs the gateway, which others do not have)

    with pair(tmp_path_factory.mktemp("conformance")) as both:
        yield both.targets


@pytest.fixture(scope="session")
def over_http(targets: tuple[Target, ...]) -> tuple[tuple[Column, Place], ...]:
    """Those that are tested over HTTP."""
    found = tuple((target.column, target.http) for target in targets if target.http is not None)
    if not found:
        pytest.skip("no --endpoint is named")
    return found


@pytest.fixture(scope="session")
def over_grpc(targets: tuple[Target, ...]) -> tuple[tuple[Column, str], ...]:
    """Those that are tested over gRPC."""
    found = tuple((target.column, target.grpc) for target in targets if target.grpc is not None)
    if not found:
        pytest.skip("no --grpc is named")
    return found


@pytest.fixture(scope="session")
def http_recording() -> Iterator[Recording]:
    """What Triton 2.51 answered over HTTP when it was last recorded."""
    with recorded(_RECORDED / "http.json") as recording:
        yield recording


@pytest.fixture(scope="session")
def grpc_recording() -> Iterator[Recording]:
    """The same over gRPC."""
    with recorded(_RECORDED / "grpc.json") as recording:
        yield recording


@pytest.fixture(scope="session")
def answers(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What was answered, by the vector's name; written down at the end where the command line says so."""
    kept: dict[str, Any] = {}
    yield kept
    place = request.config.getoption("--save-answers", None)
    if place:
        Path(place).write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


@pytest.fixture
def http_place(over_http: tuple[tuple[Column, Place], ...]) -> Place:
    """The server that clients are tried on: the one that is named, or the gateway."""
    return over_http[-1][1]


@pytest.fixture
def grpc_address(over_grpc: tuple[tuple[Column, str], ...]) -> str:
    """The same over gRPC."""
    return over_grpc[-1][1]
