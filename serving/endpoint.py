"""Where one version of a model is served: the value that a replica's lease carries to the gateways.

An endpoint is written by the replica that serves it (or by whoever registers a Triton that runs elsewhere) and
read by every gateway. How long it is believed, and how it travels, is left to the store of leases.
"""

import json
import re
from dataclasses import asdict, dataclass, fields

MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
"""What a model may be called: it is a folder's name, a part of a URL's path and a value in a configuration."""

_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_LARGEST_PORT = 65_535
_LARGEST_VERSION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One Triton server that serves one version of one model.

    Args:
        host: its name or address, without brackets.
        http_port: the port of its HTTP listener.
        grpc_port: the port of its gRPC listener; 0 where it has none.
        model: the model's name, as in Triton's paths.
        version: the model's version, 1 or more.
        capacity: how many requests it works on at once, 1 or more.
    """

    host: str
    http_port: int
    grpc_port: int
    model: str
    version: int
    capacity: int = 1

    def __post_init__(self) -> None:
        """Refuses what no request could be sent to.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        _text("host", self.host, _HOST)
        _text("model", self.model, MODEL_NAME)
        _number("http_port", self.http_port, 1, _LARGEST_PORT)
        _number("grpc_port", self.grpc_port, 0, _LARGEST_PORT)
        _number("version", self.version, 1, _LARGEST_VERSION)
        _number("capacity", self.capacity, 1, _LARGEST_PORT)

    @property
    def key(self) -> str:
        """What tells it from every other endpoint: a port that another version reuses is another endpoint."""
        return f"{self.model}/{self.version}@{self.host}:{self.http_port}"

    def encode(self) -> str:
        """The endpoint as JSON, which `decode` reads."""
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)


def decode(text: str | bytes) -> Endpoint:
    """The endpoint that `Endpoint.encode` wrote. Fields of a newer release are passed over.

    Raises:
        ValueError: it is no JSON object, or lacks a field, or a field's value is not allowed.
    """
    known = json.loads(text)
    if not isinstance(known, dict):
        raise ValueError(f"An endpoint is a JSON object, not {type(known).__name__}.")  # noqa: TRY004 - one error for bad text
    names = {field.name for field in fields(Endpoint)}
    if missing := sorted(names - known.keys() - {"capacity"}):
        raise ValueError(f"The endpoint lacks {', '.join(missing)}.")
    return Endpoint(**{name: known[name] for name in names & known.keys()})


def _text(name: str, value: object, allowed: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not allowed.fullmatch(value):
        raise ValueError(f"The endpoint's {name} is {value!r}: it must match {allowed.pattern}.")


def _number(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"The endpoint's {name} is {value!r}: it must be a whole number from {least} to {most}.")
