"""What a keeper is told when it starts: places and limits, as one frozen value that travels as JSON over its stdin.

Never as an argument: the address of the store may hold a password, and arguments are for everybody on the machine to
read. The value does not show it either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class KeeperConfig:
    """One keeper's places and limits. Sizes in bytes.

    Attributes:
        gateway: the id of the gateway replica beside which it runs, unique among all gateways.
        socket: the file that workers connect to, in a folder that nobody else may enter.
        redis_url: where its findings go; empty for nowhere.
        namespace: whose names are used there.
        redis_tls: what the client of a rediss:// address is given (ssl_ca_certs and the like), as JSON.
        max_queued: what workers handed over and nobody has looked at yet; more is dropped and counted.
        payloads: what is kept of payloads, and where, as `serving.payloads.rules.PayloadRules` has it; None
            for nothing.
        samples: what is sampled for the drift sidecar, as `drift.sampling.SampleRules` has it as JSON; empty for
            nothing.
        traces: where spans go, an address that takes OTLP over HTTP; empty for nowhere.
        logs: the folder of the access log and the log of errors; empty for neither.
        log_bytes: of each, before it is begun anew.
        log_format: of these and of what this process logs: "console" or "json".
    """

    gateway: str
    socket: str
    redis_url: str = field(default="", repr=False)
    namespace: str = "sluice"
    redis_tls: str = field(default="", repr=False)
    max_queued: int = 64 * 1024 * 1024
    payloads: Mapping[str, Any] | None = None
    samples: str = ""
    traces: str = field(default="", repr=False)
    logs: str = ""
    log_bytes: int = 100 * 1024 * 1024
    log_format: str = "console"

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> KeeperConfig:
        """The configuration in this line; unknown keys are a programming error and raise TypeError."""
        known = {one.name for one in fields(cls)}
        given = json.loads(line)
        if unknown := set(given) - known:
            raise TypeError(f"a keeper knows no {sorted(unknown)}")
        return cls(**given)
