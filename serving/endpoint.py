"""Where one version of a model is served: the value that a replica's lease carries to the gateways.

An endpoint is written by the replica that serves it (or by whoever registers a Triton that runs elsewhere) and
read by every gateway. How long it is believed, and how it travels, is left to the store of leases. Beside it stands
what else a replica says of itself, to the control room alone: how busy its server is, and how earlier ones died.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
"""What a model may be called: it is a folder's name, a part of a URL's path and a value in a configuration."""

_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_LARGEST_PORT = 65_535
_LARGEST_VERSION = 2**63 - 1
_MOST_LEVELS = 2**32 - 1
_LATE = frozenset(("tls", "priority_levels"))
"""Fields that are only there where they say something, so that other leases stay what they were."""

LONGEST_WORDS = 2_000
"""Characters of a server's last words that are kept."""

RECENT_MS = 10 * 60 * 1000
"""For how long a crash makes the next start wait."""

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


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
        tls: whether its listeners are encrypted. A gateway of a release before this field dials them in the clear and
            finds nobody: take up such endpoints once all gateways know it.
        priority_levels: that its model's queue has; 0 for none.
    """

    host: str
    http_port: int
    grpc_port: int
    model: str
    version: int
    capacity: int = 1
    tls: bool = False
    priority_levels: int = 0

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
        _number("priority_levels", self.priority_levels, 0, _MOST_LEVELS)
        if type(self.tls) is not bool:
            raise ValueError(f"The endpoint's tls is {self.tls!r}: it must be true or false.")

    @property
    def key(self) -> str:
        """What tells it from every other endpoint: a port that another version reuses is another endpoint."""
        return f"{self.model}/{self.version}@{'https://' if self.tls else ''}{self.host}:{self.http_port}"

    def plain(self) -> dict[str, Any]:
        """The fields as JSON can hold them; late ones only where they say something."""
        return {name: value for name, value in asdict(self).items() if name not in _LATE or value}

    def encode(self) -> str:
        """The endpoint as JSON, which `decode` reads."""
        return json.dumps(self.plain(), separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Load:
    """What a replica says of its server, beside where it is.

    Args:
        pending: requests that Triton holds and has not answered; None where that is not known.
        throughput: requests per second that it answered in its warm-up burst; None where none was measured.
    """

    pending: int | None = None
    throughput: float | None = None

    def __post_init__(self) -> None:
        """Refuses what is no count and no rate.

        Raises:
            ValueError: naming the field and its value.
        """
        if self.pending is not None and (type(self.pending) is not int or self.pending < 0):
            raise ValueError(f"A load's pending is {self.pending!r}: it must be a whole number, 0 or more, or null.")
        rate = self.throughput
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not _is_rate(rate)):
            raise ValueError(f"A load's throughput is {rate!r}: it must be a finite number, 0 or more, or null.")


NO_LOAD = Load()
"""Of a replica that says nothing of it, and of every static endpoint."""


@dataclass(frozen=True, slots=True)
class Crash:
    """A server that ended without being asked to, or did not come up.

    Args:
        at_ms: when, milliseconds since 1970; the store that keeps it puts its own clock's time here.
        exit_code: of the process, negative for a signal; None where there is none (it hung and was ended).
        host: where it ran.
        words: its last lines; only the last 2,000 characters are kept.
        pool: the digest of its pool; empty in what an earlier release wrote.
    """

    at_ms: int
    exit_code: int | None
    host: str
    words: str
    pool: str = ""

    def __post_init__(self) -> None:
        """Cuts the words."""
        object.__setattr__(self, "words", self.words[-LONGEST_WORDS:])


def crashes_in(pool: str, crashes: Sequence[Crash]) -> Sequence[Crash]:
    """Those of that pool alone, for other options of a version are another matter; those of no known pool count too."""
    return [one for one in crashes if one.pool in ("", pool)]


def pause_s(crashes: Sequence[Crash]) -> float:
    """How many seconds a start waits after so many crashes: 1, 2, 4 … 60; 0 after none."""
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(len(crashes) - 1, 16)) if crashes else 0.0


def next_start_ms(crashes: Sequence[Crash], now_ms: int) -> int | None:
    """Until when the next start waits, milliseconds since 1970; None where it does not. A first crash costs no pause.

    Args:
        crashes: of one pool, newest first.
        now_ms: the time, by the clock that the crashes have theirs from.
    """
    recent = [crash for crash in crashes if now_ms - crash.at_ms < RECENT_MS]
    if len(recent) < 2:  # noqa: PLR2004 - see above
        return None
    until = recent[0].at_ms + round(pause_s(recent[1:]) * 1000)
    return until if until > now_ms else None


def encode_leased(endpoint: Endpoint, load: Load | None) -> str:
    """What a lease holds: the endpoint's JSON, and the load as one more field, which `decode` passes over."""
    if load is None:
        return endpoint.encode()
    return json.dumps({**endpoint.plain(), "load": asdict(load)}, separators=(",", ":"), sort_keys=True)


def decode_load(text: str | bytes) -> Load:
    """The load in a lease; `NO_LOAD` where it says none, or none that can be read."""
    try:
        said: Any = json.loads(text)["load"]
        return Load(said.get("pending"), said.get("throughput"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return NO_LOAD


def decode(text: str | bytes) -> Endpoint:
    """The endpoint that `Endpoint.encode` wrote. Fields of a newer release are passed over.

    Raises:
        ValueError: it is no JSON object, or lacks a field, or a field's value is not allowed.
    """
    known = json.loads(text)
    if not isinstance(known, dict):
        raise ValueError(f"An endpoint is a JSON object, not {type(known).__name__}.")  # noqa: TRY004 - one error for bad text
    names = {field.name for field in fields(Endpoint)}
    if missing := sorted(names - known.keys() - {"capacity", *_LATE}):
        raise ValueError(f"The endpoint lacks {', '.join(missing)}.")
    return Endpoint(**{name: known[name] for name in names & known.keys()})


def _text(name: str, value: object, allowed: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not allowed.fullmatch(value):
        raise ValueError(f"The endpoint's {name} is {value!r}: it must match {allowed.pattern}.")


def _number(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"The endpoint's {name} is {value!r}: it must be a whole number from {least} to {most}.")


def _is_rate(value: float) -> bool:
    return math.isfinite(value) and value >= 0
