"""What the CLI shows to a control API and what it asks of it in return; nothing of it is ever printed."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from serving.access.keys import create
from serving.control.client import ControlClient
from serving.control.credentials import NONE, Credentials, from_environment
from serving.errors import ControlError
from tests.serving.certificates import Authority, Files

KEY = create().text
SHOWN = Credentials(KEY, "SLUICE_KEY")


def silent(words: str) -> None:
    """Nothing is to be warned of."""
    raise AssertionError(words)


def asked(url: str, credentials: Credentials, status: int = 200) -> tuple[list[httpx.Request], ControlError | None]:
    """What a status call sends to that address, and what it raises."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, json={"title": "No", "status": status, "detail": "No.", "hint": "Ask."})

    try:
        with ControlClient(url, transport=httpx.MockTransport(answer), credentials=credentials) as control:
            control.check(control.answer("GET", "status"))
    except ControlError as error:
        return seen, error
    return seen, None


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:8080", "http://127.1.2.3", "http://localhost:8080", "http://[::1]:8080"),
        *("https://sluice.example", "https://192.0.2.1", "HTTPS://sluice.example"),
    ],
)
def test_a_key_goes_to_this_machine_and_over_https(url: str) -> None:
    """As a bearer, with every request; without one there is no such header."""
    [request], error = asked(url, SHOWN)
    assert (request.headers["authorization"], error) == (f"Bearer {KEY}", None)
    [request], _ = asked(url, NONE)
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    "url",
    [
        *("http://192.0.2.1:8080", "http://sluice.example", "HTTP://sluice.example", "http://localhost.example"),
        *("http://127.0.0.1.example", "http://127.0.0.1@sluice.example", "http://[::ffff:192.0.2.1]", "http://0x7f.1"),
    ],
)
def test_a_key_does_not_go_over_plain_http_to_another_machine(url: str) -> None:
    """Nothing is sent at all; whoever insists may, and without a key nothing is refused."""
    seen, error = asked(url, SHOWN)
    assert seen == []
    assert error is not None
    assert "as plain text" in error.sentence
    assert KEY not in f"{error.sentence} {error.hint}"
    assert len(asked(url, Credentials(KEY, insecure=True))[0]) == 1
    assert len(asked(url, NONE)[0]) == 1


def test_a_redirection_takes_no_key_anywhere() -> None:
    """It is an answer of somebody else, and is not followed."""
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(307, headers={"location": "https://other.example/"})

    with (
        ControlClient("https://sluice.example", transport=httpx.MockTransport(answer), credentials=SHOWN) as control,
        pytest.raises(ControlError, match="no control API"),
    ):
        control.status()
    assert seen == ["https://sluice.example/api/v1/status"]


@pytest.mark.parametrize(
    ("credentials", "status", "hint"),
    [
        (NONE, 401, "name a file with a key as SLUICE_KEY_FILE, or put the key into SLUICE_KEY"),
        (NONE, 403, "name a file with a key as SLUICE_KEY_FILE, or put the key into SLUICE_KEY"),
        (SHOWN, 401, "SLUICE_KEY is not accepted: put a key of this installation there"),
        (SHOWN, 403, "Ask. It was SLUICE_KEY that was shown."),
        (SHOWN, 422, "Ask."),
    ],
)
def test_who_is_not_let_in_is_told_which_variable_to_set(credentials: Credentials, status: int, hint: str) -> None:
    """The API's own sentence stays."""
    _, error = asked("http://127.0.0.1", credentials, status)
    assert error is not None
    assert (error.sentence, error.hint, error.status) == ("No.", hint, status)


def test_the_environment_names_a_key_or_a_file(tmp_path: Path) -> None:
    """The key goes before the file, blanks around it do not count, and what is empty is not there."""
    file = tmp_path / "key"
    file.write_text(f" {KEY}\n")
    file.chmod(0o600)
    by_file = {"SLUICE_KEY_FILE": str(file)}
    assert from_environment({}, silent) == NONE
    assert from_environment({"SLUICE_KEY": "", "SLUICE_KEY_FILE": "", "SLUICE_CA_FILE": ""}, silent) == NONE
    assert from_environment({"SLUICE_KEY": f"{KEY}\n"}, silent) == SHOWN
    assert from_environment(by_file, silent) == Credentials(KEY, f"SLUICE_KEY_FILE ({file})")
    assert from_environment({**by_file, "SLUICE_KEY": "other"}, silent).key == "other"
    assert from_environment({"SLUICE_INSECURE": "1"}, silent).insecure
    assert not from_environment({"SLUICE_INSECURE": "0"}, silent).insecure


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1), (0o644, 1)])
def test_a_file_that_others_may_read_is_warned_of(tmp_path: Path, mode: int, warned: int) -> None:
    """Whether by their group or at all."""
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(mode)
    told: list[str] = []
    assert from_environment({"SLUICE_KEY_FILE": str(file)}, told.append).key == KEY
    assert len(told) == warned
    assert KEY not in "".join(told)


def test_credentials_are_not_printed() -> None:
    """However they are looked at."""
    assert KEY not in f"{SHOWN} {SHOWN!r}"


@pytest.mark.parametrize("key", ["KEY KEY", "KEY\r\nx: y", "schl\u00fcssel", "\x00", "x" * 8_193])
def test_what_cannot_be_a_key_is_refused_without_being_repeated(key: str) -> None:
    """No header of somebody's own making is sent."""
    set_so = key.replace("KEY", KEY)
    with pytest.raises(ControlError) as refused:
        from_environment({"SLUICE_KEY": set_so}, silent)
    assert "SLUICE_KEY" in refused.value.sentence
    assert set_so not in refused.value.sentence


# https.


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class _Server(HTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what these tests are about."""


@contextmanager
def serving(files: Files) -> Iterator[str]:
    """The address of a server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server = _Server(("127.0.0.1", 0), _Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def called(url: str, credentials: Credentials) -> int:
    """The status of an answer of that server."""
    with ControlClient(url, credentials=credentials) as control:
        return control.answer("GET", "status").status_code


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom nobody knows."""
    return Authority(tmp_path)


def test_an_authority_of_ones_own_is_trusted_where_it_is_named(authority: Authority) -> None:
    """And not otherwise: the sentence says which variable to set."""
    files = authority.issue()
    with serving(files) as url:
        assert called(url, Credentials(KEY, ca_file=files.authority)) == 204
        with pytest.raises(ControlError, match="is not trusted") as refused:
            called(url, SHOWN)
    assert "SLUICE_CA_FILE" in refused.value.hint


def test_a_certificate_for_another_name_is_not_trusted(authority: Authority) -> None:
    """Whoever signed it."""
    files = authority.issue("sluice.example")
    with serving(files) as url, pytest.raises(ControlError, match="is not trusted"):
        called(url, Credentials(KEY, ca_file=files.authority))


def test_the_certificate_of_our_own_settings_is_trusted_whatever_its_name(authority: Authority) -> None:
    """It alone: another one of the same authority is not."""
    ours, other = authority.issue("sluice.example"), authority.issue("127.0.0.1", called="other")
    here = SHOWN.trusting(ours.certificate)
    with serving(ours) as url:
        assert called(url, here) == 204
    with serving(other) as url, pytest.raises(ControlError, match="is not trusted"):
        called(url, here)
    named = Credentials(ca_file=ours.authority)
    assert named.trusting(ours.certificate) is named


@pytest.mark.parametrize(
    "text", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----"]
)
def test_a_file_without_certificates_is_named(tmp_path: Path, text: str | None) -> None:
    """By its variable or its setting."""
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    for credentials, name in ((Credentials(ca_file=file), "SLUICE_CA_FILE"), (Credentials(certificate=file), "tls.")):
        with pytest.raises(ControlError) as refused:
            ControlClient("https://127.0.0.1", credentials=credentials)
        assert name in refused.value.sentence
        assert str(file) in refused.value.sentence


def test_nobody_there_is_still_said_of_https(authority: Authority) -> None:
    """A refused connection is no matter of trust."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ControlError, match="nothing answers"):
        called(f"https://127.0.0.1:{port}", Credentials(ca_file=authority.issue().authority))
