"""TLS for every listener of ours and for every server we dial: one way to build a context, one way to renew one.

A listener is given a context once and keeps it. Which certificate a handshake is shown is looked up at that moment, so
that new files are taken up for new connections while the old ones go on undisturbed. New files are loaded into a
context of their own first: half-written ones, or a key that belongs to another certificate, change nothing.

Imports the standard library alone: the gateway's worker processes load it. Who looks at the files, and how often, is
left to whoever owns a clock.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Final

from serving.errors import StartFailed

_log = logging.getLogger(__name__)

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has no others."""
HTTP_1: Final = "http/1.1"
HTTP_2: Final = "h2"
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

_Looks = tuple[tuple[int, int, int], ...]


class ServerCertificate:
    """The certificate of our listeners, as its files have it now.

    Args:
        certificate: PEM, the chain.
        key: PEM, without a passphrase.
        min_version: "1.2" or "1.3".
        speaks: which HTTP there is on these listeners (ALPN).

    Attributes:
        context: for the listeners; the same for the life of this object.

    Raises:
        StartFailed: the files cannot be used; the sentence names them, and nothing of what they hold.
    """

    def __init__(self, certificate: Path, key: Path, *, min_version: str = "1.2", speaks: str = HTTP_1) -> None:
        self._files = (certificate, key)
        self._min_version = min_version
        self._speaks = speaks
        self._looked = self._look()
        try:
            self._shown = self._loaded()
            self.context = self._loaded()
        except (OSError, ValueError) as error:  # ssl.SSLError is the first
            raise StartFailed(
                f"The certificate in {certificate} with the key in {key} cannot be used: {_reason(error)}.",
                "tls.certificate takes a chain in PEM, and tls.key the private key of its first certificate.",
            ) from None
        self.context.sni_callback = self._show

    @property
    def certificate(self) -> Path:
        """Where the chain lies."""
        return self._files[0]

    def renew(self) -> bool:
        """Whether the files had changed and new handshakes are shown the new certificate; cheap where they had not."""
        looked = self._look()
        if looked == self._looked:
            return False
        self._looked = looked
        try:
            self._shown = self._loaded()
        except (OSError, ValueError) as error:
            _log.error(
                "the new certificate in %s with the key in %s cannot be used, the one before stays: %s",
                *self._files, _reason(error),
            )  # fmt: skip
            return False
        _log.info("new connections are shown the new certificate in %s", self._files[0])
        return True

    def _show(self, handshake: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        """OpenSSL asks at each handshake, whether or not the client says a name."""
        handshake.context = self._shown

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(context, self._min_version, self._speaks)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.load_cert_chain(*self._files, password=_no_passphrase)
        return context

    def _look(self) -> _Looks:
        return tuple(map(_facts, self._files))


def client_context(
    ca_file: Path | str | None = None, pair: tuple[Path, Path] | None = None, *, speaks: str = HTTP_1
) -> ssl.SSLContext:
    """For a server that we dial: its certificate must be good, and be its own.

    Args:
        ca_file: PEM, whom certificates must come from; None or empty for whom the system trusts.
        pair: PEM, our own certificate and its key, for a server that asks for one.
        speaks: which HTTP it is asked for (ALPN).

    Raises:
        StartFailed: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError) as error:
        raise StartFailed(
            f"The certificates in {ca_file} cannot be used: {_reason(error)}.", "The file takes certificates in PEM."
        ) from None
    _harden(context, "1.2", speaks)
    if pair is not None:
        try:
            context.load_cert_chain(*pair, password=_no_passphrase)
        except (OSError, ValueError) as error:
            raise StartFailed(
                f"The certificate in {pair[0]} with the key in {pair[1]} cannot be used: {_reason(error)}.",
                "They take a chain in PEM, and the private key of its first certificate.",
            ) from None
    return context


def _harden(context: ssl.SSLContext, min_version: str, speaks: str) -> None:
    context.minimum_version = _VERSIONS[min_version]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols([speaks])


def _facts(file: Path) -> tuple[int, int, int]:
    """What differs as soon as a file is written or another takes its place; zeros where there is none."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_mtime_ns, found.st_size


def _no_passphrase() -> str:
    """Without it, OpenSSL would ask the terminal."""
    raise ValueError("the key has a passphrase, and nobody is there to be asked for it")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "the files are no PEM").replace("_", " ").lower()
    return str(error.strerror if isinstance(error, OSError) else error)
