"""Certificates for tests: an authority of their own, and files as an operator would put them there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme

from serving.tls import ServerCertificate, client_context


@dataclass(frozen=True)
class Files:
    """Where a certificate, its key and the authority's certificate lie."""

    certificate: Path
    key: Path
    authority: Path

    def server(self, min_version: str = "1.2") -> ServerCertificate:
        """For a listener."""
        return ServerCertificate(self.certificate, self.key, min_version=min_version)

    def client(self) -> ssl.SSLContext:
        """That trusts this authority and nobody else."""
        return client_context(str(self.authority))


class Authority:
    """Issues certificates.

    Args:
        folder: where files come to lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self._file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(self._file)

    def issue(self, *names: str, called: str = "server", until: datetime | None = None) -> Files:
        """A new certificate for these names, in the files of that name; whatever was there is replaced."""
        files = Files(self._folder / f"{called}.pem", self._folder / f"{called}.key", self._file)
        issued = self._authority.issue_cert(*(names or ("127.0.0.1", "localhost", "::1")), not_after=until)
        files.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(files.key)
        return files


def serial_of(shown: ssl.SSLObject | ssl.SSLSocket) -> str:
    """Which certificate the other side has shown."""
    found = shown.getpeercert()
    assert found is not None
    return str(found["serialNumber"])
