"""What one worker runs, as values: the head, its snapshot and policies, and what one look at the store brought."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from router.codec import decode_snapshot
from router.epoch import NO_HEAD, Head
from router.policy import Policy
from serving.endpoint import Endpoint
from serving.endpoint import decode as decode_endpoint
from serving.leases import Recovery, decode_gateway

_Value = TypeVar("_Value")
_log = logging.getLogger(__name__)


class Running:
    """What this worker runs: a head, the snapshot it names, and the policies that names, blobs kept."""

    def __init__(self) -> None:
        self.head: Head = NO_HEAD
        self.snapshot = b""
        self.policies: dict[str, Policy] = {}
        """By model."""
        self.staged: dict[str, Policy] = {}
        """By digest: those that the next head may make active, read and understood before anything uses them."""
        self.blobs: dict[str, bytes] = {}
        """By digest."""

    def recovery(self) -> Recovery:
        """All of it, for the disk and for a store that has forgotten."""
        return Recovery(self.head, self.snapshot, self.blobs)

    def digests(self) -> dict[str, str]:
        """Of the policies, by model."""
        if not self.snapshot:
            return {}
        return {model: entry.digest for model, entry in decode_snapshot(self.snapshot).models.items()}


class Seen(NamedTuple):
    """What one look at the store brought, as it came: each may be the error that came in its place (`sound`).

    Attributes:
        head: the hash with the head that is shown.
        digest: that the store has for the epoch that runs.
        endpoints: keys of the endpoints' leases.
        id_keys: the hash with the keys for request ids.
        access: the revision of who is let in.
        gateways: how many workers there are.
    """

    head: Mapping[bytes, bytes] | Exception
    digest: bytes | Exception | None
    endpoints: set[bytes] | Exception
    id_keys: Mapping[bytes, bytes] | Exception
    access: bytes | Exception | None
    gateways: int | Exception


def sound(value: _Value | Exception) -> _Value:
    """The value; raises the error that came in its place."""
    if isinstance(value, Exception):
        raise value
    return value


def endpoint_in(value: bytes) -> Endpoint | None:
    """The endpoint in a lease. One that nobody can read must not hide all the others, nor hold up a policy."""
    try:
        return decode_endpoint(value)
    except (ValueError, RecursionError) as error:
        _log.warning("an endpoint's lease cannot be used: %s", error)
        return None


def epoch_in(value: bytes) -> int:
    """The epoch that a gateway's lease speaks of; 0 where nobody can read it."""
    try:
        return decode_gateway(value).epoch
    except (ValueError, RecursionError):
        return 0
