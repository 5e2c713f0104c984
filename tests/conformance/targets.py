"""What the kit is aimed at: a server's places, and by which column its answers are judged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import NamedTuple, Self
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@unique
class Profile(StrEnum):
    """A part of the protocol that a server may leave out."""

    CORE = "core"
    BINARY = "binary"
    TRITON = "triton"
    GENERATE = "generate"


@unique
class Column(StrEnum):
    """What an answer is held against.

    `PROTOCOL` asks that good requests get their values and bad ones an error; `TRITON` that every byte is what Triton
    2.51 answers; `GATEWAY` the same, save for the cases of `differences.Why`.
    """

    PROTOCOL = "protocol"
    TRITON = "triton"
    GATEWAY = "gateway"


class Place(NamedTuple):
    """Where a server listens for HTTP.

    Attributes:
        host: its name or address, without brackets.
        port: its port.
        tls: whether it speaks TLS.
    """

    host: str
    port: int
    tls: bool = False

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The place that a URL names.

        Raises:
            ValueError: it is no http or https URL of a server's root.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(f"{url!r} is no endpoint: name one such as http://127.0.0.1:8000, without a path.")
        return cls(parts.hostname, parts.port or _PORTS[parts.scheme], parts.scheme == "https")

    @property
    def authority(self) -> str:
        """host:port, as tritonclient and the Host header have it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The root of the server."""
        return f"{'https' if self.tls else 'http'}://{self.authority}"


@dataclass(frozen=True)
class Target:
    """A server under test.

    Attributes:
        column: by which its answers are judged.
        http: where it listens for HTTP; None where that is not tested.
        grpc: host:port of its gRPC listener; None where that is not tested.
    """

    column: Column
    http: Place | None
    grpc: str | None
