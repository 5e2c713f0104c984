"""A listening socket is taken first, or refused in words, and is handed on as often as somebody asks."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from serving.errors import PortTaken
from serving.sockets import Handover, ask_for, open_listener, url_of


def open_any() -> socket.socket:
    """A listener on a free port."""
    return open_listener("127.0.0.1", 0, "The gateway", "gateway.http_port")


def test_it_listens_at_once() -> None:
    """A client that connects before anybody serves waits, and is not refused."""
    with open_any() as listener, socket.create_connection(listener.getsockname(), timeout=5) as client:
        accepted, place = listener.accept()
        with accepted:
            assert place == client.getsockname()


def test_a_taken_port() -> None:
    """A port that somebody has is refused with its number, what it was for, and the setting that chooses another."""
    with open_any() as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"The gateway cannot listen on 127\.0\.0\.1:{port}: somebody") as caught:
            open_listener("127.0.0.1", port, "The gateway", "gateway.http_port")
        assert "gateway.http_port" in caught.value.hint


def test_an_address_that_is_not_ours() -> None:
    """An address of another machine is refused in the system's words."""
    with pytest.raises(PortTaken, match=r"192\.0\.2\.1:0: Cannot assign requested address"):
        open_listener("192.0.2.1", 0, "The gateway", "gateway.http_port")
    with pytest.raises(PortTaken, match=r"no\.such\.name\.invalid:0: .*[a-z]"):
        open_listener("no.such.name.invalid", 0, "The gateway", "gateway.http_port")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:"),
        ("0.0.0.0", "http://127.0.0.1:"),  # noqa: S104
        ("::1", "http://[::1]:"),
        ("::", "http://[::1]:"),
    ],
)
def test_a_listener_is_reached_from_here(host: str, url: str) -> None:
    """By the address that it has, and by loopback where it has all."""
    with open_listener(host, 0, "The gateway", "gateway.http_port") as listener:
        port = listener.getsockname()[1]
        assert url_of(listener, tls=False) == f"{url}{port}"
        assert url_of(listener, tls=True) == f"{url}{port}".replace("http:", "https:")


def test_two_never_share_a_port() -> None:
    """A second listener on the same port is refused even while the first has not accepted anybody."""
    with open_any() as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
        with pytest.raises(PortTaken):
            open_listener("127.0.0.1", listener.getsockname()[1], "The gateway", "gateway.http_port")


def test_a_handover(tmp_path: Path) -> None:
    """Whoever asks gets the socket of that name, as often as it asks, and connections survive the one who had it."""
    path = tmp_path / "handover"
    listener = open_any()
    place = listener.getsockname()
    with Handover(path, {"http": listener}):
        for _ in range(3):
            received = ask_for(str(path), "http")
            assert received is not None
            with received, socket.create_connection(place, timeout=5):
                received.settimeout(5)
                received.accept()[0].close()
        waiting = socket.create_connection(place, timeout=5)  # between two replicas
        received = ask_for(str(path), "http")
        assert received is not None
        with waiting, received:
            received.settimeout(5)
            received.accept()[0].close()


def test_an_unknown_name(tmp_path: Path) -> None:
    """A name that is not there gets nothing, and neither does one who asks for garbage; the next one is served."""
    path = tmp_path / "handover"
    with Handover(path, {"http": open_any()}):
        for name in ("grpc", "", "x" * 1000, "\u00e9"):
            if name:
                assert ask_for(str(path), name) is None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as rude:
            rude.connect(str(path))
            rude.sendall(b"\xff")
        received = ask_for(str(path), "http")
        assert received is not None
        received.close()


def test_nobody_hands_over(tmp_path: Path) -> None:
    """Where there is no handover, or none any more, the answer is that there is no socket."""
    path = tmp_path / "handover"
    assert ask_for(str(path), "http") is None
    with Handover(path, {"http": open_any()}):
        pass
    assert not path.exists()
    assert ask_for(str(path), "http") is None


def test_a_listener_names_its_protocol() -> None:
    """Without it asyncio leaves Nagle's algorithm on, and every small answer waits for the client's acknowledgement."""
    with open_any() as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_handover_is_private(tmp_path: Path) -> None:
    """Only the user who opened it may ask, and what a crashed one left in its place is no obstacle."""
    path = tmp_path / "handover"
    path.write_text("left behind")
    with Handover(path, {"http": open_any()}):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_end_of_a_handover_closes_its_sockets(tmp_path: Path) -> None:
    """When it ends, its listeners are closed, and the port is free again."""
    listener = open_any()
    port = listener.getsockname()[1]
    with Handover(tmp_path / "handover", {"http": listener}):
        pass
    with open_listener("127.0.0.1", port, "The gateway", "gateway.http_port"):
        pass
