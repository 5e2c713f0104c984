"""What a listener shows and what it takes, and that a new certificate is taken up whole or not at all."""

from __future__ import annotations

import logging
import shutil
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from serving.errors import StartFailed
from serving.tls import ServerCertificate, client_context
from tests.serving.certificates import Authority, Files, serial_of


def shaken(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> ssl.SSLObject:
    """The client's side of a handshake that went well, without a socket."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    ours.do_handshake()
    return ours


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom the clients here trust."""
    return Authority(tmp_path)


@pytest.fixture
def files(authority: Authority) -> Files:
    """A certificate of theirs."""
    return authority.issue()


@pytest.mark.parametrize(("newest", "version"), [("1.2", "TLSv1.2"), ("1.3", "TLSv1.3")])
def test_what_is_spoken(files: Files, newest: str, version: str) -> None:
    """TLS 1.2 and 1.3 with forward secrecy and authenticated encryption, HTTP/1.1, nothing compressed."""
    client = files.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2 if newest == "1.2" else ssl.TLSVersion.TLSv1_3
    client.set_alpn_protocols(["h2", "http/1.1"])
    shown = shaken(files.server().context, client)
    cipher = shown.cipher()
    assert cipher is not None
    assert shown.version() == version
    assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]
    assert version == "TLSv1.3" or cipher[0].startswith("ECDHE")
    assert (shown.selected_alpn_protocol(), shown.compression()) == ("http/1.1", None)
    assert files.server().context.options & (ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION)


@pytest.mark.parametrize("ciphers", ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA256"])
def test_what_is_not_spoken(files: Files, ciphers: str) -> None:
    """Neither a key exchange that a stolen key would open later, nor the old modes of encryption."""
    client = files.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(ciphers)
    with pytest.raises(ssl.SSLError):
        shaken(files.server().context, client)


def test_a_client_that_is_too_old(files: Files) -> None:
    """Where 1.3 is the least, one of 1.2 is turned away."""
    client = files.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shaken(files.server("1.3").context, client)


def test_new_files_are_for_new_handshakes(authority: Authority, files: Files) -> None:
    """The context stays the one that the listener has; with a name and without one, the new certificate is shown."""
    certificate = files.server()
    context = certificate.context
    before = serial_of(shaken(context, files.client()))
    assert not certificate.renew()
    authority.issue()
    assert serial_of(shaken(context, files.client())) == before
    assert certificate.renew()
    after = {serial_of(shaken(context, files.client(), name)) for name in ("localhost", "127.0.0.1")}
    assert len(after) == 1
    assert before not in after
    assert certificate.context is context
    assert not certificate.renew()


def _empty(files: Files, _: Files) -> None:
    files.certificate.write_text("")


def _half(files: Files, _: Files) -> None:
    files.certificate.write_bytes(files.certificate.read_bytes()[:400])


def _gone(files: Files, _: Files) -> None:
    files.key.unlink()


def _other_key(files: Files, other: Files) -> None:
    shutil.copy(other.key, files.key)


def _locked(files: Files, _: Files) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )


BREAKS = {"empty": _empty, "half": _half, "gone": _gone, "of another": _other_key, "with a passphrase": _locked}


@pytest.mark.parametrize("how", BREAKS)
def test_files_that_do_not_fit_change_nothing(
    authority: Authority, files: Files, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The old certificate stays and the log says so once; what mends the files is taken up."""
    certificate = files.server()
    before = serial_of(shaken(certificate.context, files.client()))
    BREAKS[how](files, authority.issue(called="other"))
    with caplog.at_level(logging.ERROR):
        assert [certificate.renew() for _ in range(3)] == [False] * 3
    assert len(caplog.records) == 1
    assert serial_of(shaken(certificate.context, files.client())) == before
    authority.issue()
    assert certificate.renew()
    assert serial_of(shaken(certificate.context, files.client())) != before


@pytest.mark.parametrize("how", BREAKS)
def test_a_start_with_such_files_is_refused_in_a_sentence(authority: Authority, files: Files, how: str) -> None:
    """Which names the files and shows nothing of what they hold."""
    BREAKS[how](files, authority.issue(called="other"))
    with pytest.raises(StartFailed, match="cannot be used") as caught:
        files.server()
    assert str(files.certificate) in caught.value.sentence
    assert "PRIVATE" not in caught.value.sentence


def test_an_old_session_goes_on_with_a_new_certificate(authority: Authority, files: Files) -> None:
    """A client that resumes what it had before is not turned away."""
    certificate, client = files.server(), files.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # where the session is known as soon as hands are shaken
    first = shaken(certificate.context, client)
    authority.issue()
    assert certificate.renew()
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="localhost", session=first.session)
    theirs = certificate.context.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs, ours):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert ours.version() == "TLSv1.2"


def test_a_server_must_be_who_it_says(tmp_path: Path, files: Files) -> None:
    """One of another authority, and one of another name, are nobody's."""
    (tmp_path / "elsewhere").mkdir()
    stranger = Authority(tmp_path / "elsewhere").issue()
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(stranger.server().context, files.client())
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(files.server().context, files.client(), "example.com")
    with pytest.raises(StartFailed, match=r"missing\.pem"):
        client_context(str(tmp_path / "missing.pem"))
    with pytest.raises(StartFailed, match=r"server\.key"):
        client_context(files.key)


def test_our_own_certificate_is_shown_to_a_server_that_asks(tmp_path: Path, authority: Authority, files: Files) -> None:
    """And a pair that does not fit is a sentence."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    server.load_verify_locations(files.authority)
    server.verify_mode = ssl.CERT_REQUIRED
    ours = authority.issue("client.example.com", called="ours")
    context = client_context(files.authority, (ours.certificate, ours.key))
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # where the client hears of it while hands are shaken
    assert shaken(server, context).version() == "TLSv1.2"
    with pytest.raises(StartFailed, match=r"ours\.pem.*server\.key"):
        client_context(files.authority, (ours.certificate, files.key))


def test_a_certificate_is_a_value_of_files(files: Files) -> None:
    """It says where it lies, for whoever reports how long it is good."""
    assert ServerCertificate(files.certificate, files.key).certificate == files.certificate
