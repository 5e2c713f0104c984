"""What is open is said in sentences, and what must not be is refused."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from serving.openings import Found, Socket, judge, listening, openings, sidecar_opening, warnings
from serving.settings import Settings

TOKEN = {"RAY_AUTH_MODE": "token"}
DRIVER = 10


def settings(**sections: Any) -> Settings:  # noqa: ANN401 - of the settings
    """These, and the defaults."""
    return Settings.model_validate(sections)


def test_every_listener_is_one_sentence() -> None:
    """It says who reaches it, whether a key is asked for, and whether it is encrypted."""
    assert list(map(str, openings(settings()))) == [
        f"{name} (port {port}): open to this machine alone, nobody is asked for a key, in the clear."
        for name, port in (
            ("predictions", 8000),
            ("predictions over gRPC", 8001),
            ("control API", 8080),
            ("metrics", 8002),
        )
    ]
    exposed = settings(
        listen={"host": "0.0.0.0", "http_port": 0, "grpc": False},  # noqa: S104
        control={"host": "10.0.0.5"},
        metrics={"enabled": False},
        access={"required": True},
        tls={"certificate": "c.pem", "key": "k.pem"},
    )
    assert list(map(str, openings(exposed))) == [
        (
            "predictions (a free port): open to whoever reaches every address of this machine, "
            "a key or a token is asked for, encrypted."
        ),
        "control API (port 8080): open to whoever reaches 10.0.0.5, a key or a token is asked for, encrypted.",
    ]


def test_the_sidecars_metrics_are_one_more() -> None:
    """Nobody is asked for a key there, which is warned of where other machines reach it; nothing where it is off."""
    here = sidecar_opening(settings())
    assert (
        str(here) == "drift metrics (port 9465): open to this machine alone, nobody is asked for a key, in the clear."
    )
    assert sidecar_opening(settings(drift={"enabled": False})) is None
    exposed = settings(drift={"sidecar": {"metrics_host": "10.0.0.5"}}, access={"required": True})
    assert any("drift.sidecar.metrics_host" in one for one in warnings(exposed, {}))


def test_all_is_well_on_loopback() -> None:
    """With the defaults there is nothing to warn of."""
    assert warnings(settings(), {}) == ()


@pytest.mark.parametrize(
    ("sections", "environment", "words"),
    [
        ({"listen": {"host": "0.0.0.0"}, "access": {"required": True}}, {}, "(predictions and predictions over gRPC)"),  # noqa: S104
        ({"ray": {"address": "10.0.0.1:6379"}}, {}, "asks nobody for a token"),
        ({"ray": {"address": "10.0.0.1:6379"}}, {"RAY_AUTH_MODE": "disabled"}, "asks nobody for a token"),
        ({"redis": {"url": "redis://:secret@db.example.com:6379/0"}}, {}, "Redis is spoken to in the clear"),
        (
            {"models": [{"name": "m", "versions": [{"version": 1, "endpoints": ["10.0.0.9:8000"]}]}]},
            {},
            "in the clear to 10.0.0.9:8000",
        ),
    ],
)
def test_what_should_be_changed_is_said(sections: dict[str, Any], environment: dict[str, str], words: str) -> None:
    """One sentence, without a password."""
    [said] = warnings(settings(**sections), environment)
    assert words in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("sections", "environment"),
    [
        ({"ray": {"address": "10.0.0.1:6379"}}, TOKEN),
        ({"redis": {"url": "rediss://db.example.com"}}, {}),
        ({"redis": {"url": "redis://localhost"}}, {}),
        ({"redis": {"url": "unix:///run/redis.sock"}}, {}),
        ({"models": [{"name": "m", "versions": [{"version": 1, "endpoints": ["https://t:8000", "[::1]:1"]}]}]}, {}),
    ],
)
def test_what_is_encrypted_or_here_is_well(sections: dict[str, Any], environment: dict[str, str]) -> None:
    """Nothing is said of it."""
    assert warnings(settings(**sections), environment) == ()


def judged(*sockets: Socket, environment: dict[str, str] | None = None, pods: str = "127.0.0.1") -> Found:
    """What is said of these, where 8000 is a port of ours."""
    return judge(sockets, [8000], DRIVER, pods, TOKEN if environment is None else environment)


RAYLET = Socket("::", 4001, 21, "raylet /x/ray/raylet")
TRITON = Socket("0.0.0.0", 21000, 22, "tritonserver --model-repository=x")  # noqa: S104


def test_ours_and_what_is_on_loopback_need_no_word() -> None:
    """Nor does the kernel's way to write IPv4 as IPv6."""
    assert judged(
        Socket("0.0.0.0", 8000, 20, "python -m serving.gateway"),  # noqa: S104
        Socket("127.0.0.1", 24000, 21, "valkey-server"),
        Socket("::1", 1, 22, "tritonserver"),
        Socket("::ffff:127.0.0.1", 2, 23, "tritonserver"),
    ) == Found()  # fmt: skip


def test_ray_is_noted_behind_its_token_and_warned_of_without() -> None:
    """Its processes, and the one that has started it; in one sentence."""
    driver, worker = Socket("::", 4002, DRIVER, "python sluice up"), Socket("10.0.0.5", 4003, 23, "ray::A")
    found = judged(RAYLET, driver, worker)
    assert found.noted == (
        "Ray listens on every address of this machine (ports 4001, 4002, 4003), behind its token.",
    )  # fmt: skip
    assert (found.refused, found.warned) == ((), ())
    without = judged(RAYLET, environment={})
    assert (without.noted, len(without.warned)) == ((), 1)
    assert "RAY_AUTH_MODE=token" in without.warned[0]


def test_a_triton_that_others_reach_is_refused() -> None:
    """Unless that is the private address that the settings give to pods."""
    assert "tritonserver (process 22)" in judged(TRITON).refused[0]
    own = Socket("10.0.0.5", 21000, 22, "tritonserver")
    assert judged(own).refused
    assert judged(own, pods="10.0.0.5") == Found()


def test_whatever_else_is_open_is_named() -> None:
    """With its process and port."""
    assert judged(Socket("::", 24000, 30, "valkey-server *:24000")).warned == (
        "Valkey (process 30) listens on every address of this machine port 24000.",
    )
    assert "python (process 31)" in judged(Socket("10.0.0.5", 5000, 31, "python -m model")).warned[0]


def test_what_this_process_listens_on_is_found() -> None:
    """As the kernel has it; a process that is gone listens on nothing."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        ports = {place[1]: place[0] for place in (one.getsockname(), other.getsockname())}
        found = {each.port: each for each in listening(os.getpid()) if each.port in ports}
    assert {port: each.host for port, each in found.items()} == ports
    assert all(each.pid == os.getpid() and "python" in each.command for each in found.values())
    assert listening(2**22 + 1) == ()
