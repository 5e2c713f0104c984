"""What a caller of the control API shows, and whom it trusts: a key or a token, and the certificate behind https.

They come from the environment and from files, never from arguments, which everybody on a machine may read. A key is
sent to nobody who could be somebody else: over plain http it goes to this machine only, unless somebody insists.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from serving.errors import ControlError, StartFailed
from serving.tls import client_context

KEY = "SLUICE_KEY"
KEY_FILE = "SLUICE_KEY_FILE"
CA_FILE = "SLUICE_CA_FILE"
INSECURE = "SLUICE_INSECURE"

_LONGEST = 8 * 1024
_SENDABLE = re.compile(r"[!-~]{1,8192}")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What is shown to a control API, and what it must show. Never printed.

    Attributes:
        key: an API key or a token; empty for none.
        source: where it came from, for sentences.
        ca_file: certificates (PEM) of those who may have signed the API's; None for the usual ones.
        certificate: the API's own (PEM), where it runs here: it alone is trusted, whatever name it is for.
        insecure: whether the key may go over plain http to another machine.
    """

    key: str = ""
    source: str = ""
    ca_file: Path | None = None
    certificate: Path | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if self.key and not _SENDABLE.fullmatch(self.key):
            raise ControlError(
                f"{self.source or 'the key'} holds no key or token", "it is one line without blanks, as it was shown"
            )

    def trusting(self, certificate: Path | None) -> Credentials:
        """The same, for an API that runs here with that certificate; SLUICE_CA_FILE has the last word."""
        return replace(self, certificate=certificate) if self.ca_file is None else self

    def headers_for(self, url: str) -> dict[str, str]:
        """What goes with each request.

        Raises:
            ControlError: the key would go over plain http to another machine.
        """
        if not self.key:
            return {}
        if _plain_to_others(url) and not self.insecure:
            raise ControlError(
                f"a key would go to {url} as plain text, for everybody on the way to read",
                f"give the API a certificate (tls.certificate) and write https://, or insist with {INSECURE}=1",
            )
        return {"authorization": f"Bearer {self.key}"}

    def context(self) -> ssl.SSLContext | bool:
        """What a TLS connection trusts, as httpx takes it.

        Raises:
            ControlError: a file cannot be used.
        """
        if self.ca_file is not None:
            try:
                return client_context(str(self.ca_file))
            except StartFailed as error:
                raise _unusable(self.ca_file, CA_FILE) from error
        return True if self.certificate is None else _pinned(self.certificate)

    def hint(self, status: int, hint: str) -> str:
        """What to do about a 401 or 403, in the terms of whoever types commands."""
        if not self.key:
            return f"name a file with a key as {KEY_FILE}, or put the key into {KEY}"
        if status == _UNAUTHENTICATED:
            return f"{self.source} is not accepted: put a key of this installation there"
        return f"{hint} It was {self.source} that was shown.".strip()


_UNAUTHENTICATED = 401
NONE = Credentials()


def from_environment(environ: Mapping[str, str], warn: Callable[[str], None]) -> Credentials:
    """The credentials that the environment names; SLUICE_KEY goes before SLUICE_KEY_FILE.

    Args:
        environ: the variables.
        warn: hears that a key lies where others may read it.

    Raises:
        ControlError: a file cannot be read, or holds no key.
    """
    key, source = environ.get(KEY, "").strip(), KEY
    file = environ.get(KEY_FILE, "")
    if not key and file:
        key, source = _key_in(Path(file).expanduser(), warn), f"{KEY_FILE} ({file})"
    ca_file = Path(environ[CA_FILE]).expanduser() if environ.get(CA_FILE) else None
    return Credentials(key, source if key else "", ca_file, insecure=environ.get(INSECURE) == "1")


def _key_in(path: Path, warn: Callable[[str], None]) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_LONGEST + 1).decode("ascii").strip()
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else "it holds no key or token"
        raise ControlError(f"{KEY_FILE} {path} cannot be read: {words}", "name a file that holds a key") from None
    if not text:
        raise ControlError(f"{KEY_FILE} {path} is empty", "name a file that holds a key")
    if stat.S_ISREG(mode) and mode & _OTHERS:
        warn(f"others on this machine may read the key in {path}: chmod 600 {path}")
    return text


def _plain_to_others(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return True
    return parts.scheme == "http" and not _is_here(host)


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback


def _pinned(file: Path) -> ssl.SSLContext:
    """Trusts the first certificate of the file, the server's, and none that others have signed.

    Its name is not looked at: whoever reads the file of our own settings knows better than any name.
    """
    try:
        found = _CERTIFICATE.search(file.read_text(encoding="ascii"))
        context = ssl.create_default_context(cadata=found[0] if found else "")
    except (OSError, ValueError) as error:
        raise _unusable(file, "tls.certificate") from error
    if found is None:
        raise _unusable(file, "tls.certificate")
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def _unusable(file: Path, name: str) -> ControlError:
    return ControlError(f"{name} {file} holds no certificate that can be read", "it takes a file in PEM form")
