"""What one value in the settings takes: ports, durations, hosts, addresses, each with the words for a wrong one.

Every check here ends in the same kind of sentence, 'it takes …', because `serving.mistakes` puts the key and what was
given before it. Which key takes which kind is left to `serving.settings`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator

from router.policy import LARGEST_VERSION
from serving.addresses import is_loopback

_LARGEST_PORT = 65_535
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_ADDRESS = re.compile(
    r"(?P<tls>https://)?(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):(?P<port>\d{1,5})(?::(?P<grpc>\d{1,5}))?"
)
NUMERAL = re.compile(r"[+-]?\d{1,18}")


def whole(low: int, high: int, *, note: str = "") -> BeforeValidator:
    """A whole number between the two, inclusive. Digits in quotes will do, since the environment has nothing else."""

    def check(value: object) -> int:
        number = int(value) if isinstance(value, str) and NUMERAL.fullmatch(value) else value
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError(f"it takes a whole number from {low} to {high}{note}")
        return number

    return BeforeValidator(check)


def number(low: float, high: float, *, null: str = "") -> BeforeValidator:
    """A number between the two, inclusive; with `null`, which says what it means, also null."""
    allowed = f"it takes a number from {low:g} to {high:g}" + (f", or null ({null})" if null else "")

    def check(value: object) -> float | None:
        if value is None and null:
            return None
        try:
            number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None
        except ValueError:
            number = None
        # NaN is not between anything, so it is refused here as well.
        if number is None or not low <= number <= high:
            raise ValueError(allowed)
        return number

    return BeforeValidator(check)


def text(matches: Callable[[str], object], allowed: str) -> BeforeValidator:
    """A text of which `matches` says something true; `allowed` says in words what that is."""

    def check(value: object) -> str:
        if not isinstance(value, str) or not matches(value):
            raise ValueError(f"it takes {allowed}")
        return value

    return BeforeValidator(check)


def _as_switch(value: object) -> bool:
    """The environment has texts only."""
    said = {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(said, bool):
        raise ValueError("it takes true or false")  # noqa: TRY004 - pydantic lets a TypeError through
    return said


def is_of_a_pod(host: str) -> bool:
    """Loopback, or an address that the internet does not route: not every interface, and nothing public."""
    if is_loopback(host):
        return True
    try:
        found = ip_address(host)
    except ValueError:
        return False
    odd = found.is_unspecified or found.is_multicast or found.is_reserved or found.is_link_local
    return not (odd or found.is_global)


def _as_path(value: object) -> object:
    if value is None or isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError("it takes a path")
    return Path(value).expanduser()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: written 'host:port', an IPv6 address in brackets, 'https://' before it for TLS.

    A third part is its port for gRPC, 0 where it has none.
    """

    host: str
    port: int
    tls: bool = False
    grpc_port: int = 0

    @classmethod
    def parse(cls, text: object) -> Self:
        """The address that a text names.

        Raises:
            ValueError: it is not 'host:port' or 'https://host:port'.
        """
        found = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
        if not found or not all(1 <= int(port) <= _LARGEST_PORT for port in (found["port"], found["grpc"] or 1)):
            raise ValueError(
                "it takes host:port, such as 127.0.0.1:9000, or https://host:port, with a port from 1 to 65535, and "
                "maybe :port for gRPC after that"
            )
        grpc_port = int(found["grpc"] or 0)
        return cls(found["host"].strip("[]"), int(found["port"]), tls=found["tls"] is not None, grpc_port=grpc_port)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        place = f"{place}:{self.grpc_port}" if self.grpc_port else place
        return f"https://{place}" if self.tls else place


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from `low` to `high`, both included; both are 0 where any free port will do."""

    low: int
    high: int

    @classmethod
    def parse(cls, text: object) -> Self:
        """The range that a text such as '21000-21999' names; '0' is any free port.

        Raises:
            ValueError: it is no such range.
        """
        low, _, high = str(text).partition("-")
        if isinstance(text, bool) or not (low.strip().isdecimal() and (high.strip().isdecimal() or low == str(text))):
            raise ValueError("it takes a range of ports such as '21000-21999', or 0 (any free ones)")
        found = cls(int(low), int(high or low))
        if found != cls(0, 0) and not 1 <= found.low <= found.high <= _LARGEST_PORT:
            raise ValueError(
                "it takes a range that rises, within 1 to 65535, such as '21000-21999', or 0 (any free ones)"
            )
        return found

    def __contains__(self, port: int) -> bool:
        return bool(port) and self.low <= port <= self.high

    def __str__(self) -> str:
        """The text that `parse` reads."""
        return f"{self.low}-{self.high}" if self.high else "0"


_address = BeforeValidator(lambda value: value if isinstance(value, Address) else Address.parse(value))
_range = BeforeValidator(lambda value: value if isinstance(value, PortRange) else PortRange.parse(value))

Switch = Annotated[bool, BeforeValidator(_as_switch)]
Port = Annotated[int, whole(0, _LARGEST_PORT, note=" (0: any free one)")]
Count = Annotated[int, whole(1, 1_000_000)]
Size = Annotated[int, whole(1, 2**40)]
Seconds = Annotated[float, number(0.001, 86_400)]
Pause = Annotated[float, number(0, 3_600)]
Host = Annotated[str, text(_HOST.fullmatch, "an address or a name to listen on, such as 127.0.0.1 or 0.0.0.0")]
EACH_NODES_OWN = "node"
"""Instead of an address: on each node the one by which Ray knows it, which there has to be a pod's own."""
PodHost = Annotated[
    str,
    text(
        lambda host: host == EACH_NODES_OWN or is_of_a_pod(host),
        "a loopback address or a pod's own private one, such as 10.0.0.7 (node is what each Ray node is known by): "
        "Triton asks nobody for a key, so never all interfaces and nothing public",
    ),
]
VersionNumber = Annotated[int, whole(1, LARGEST_VERSION)]
AnyPath = Annotated[Path, BeforeValidator(_as_path)]
AnyAddress = Annotated[Address, _address]
Ports = Annotated[PortRange, _range]
