"""What a worker process is told when it starts: limits and places, as one frozen value that travels as JSON.

The settings file is the supervisor's to read and refuse; a worker gets numbers that are known to be good, and keeps
no framework in memory to check them with.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Final

INHERITED: Final = ("--listener-fd", "--channel-fd", "--shares-fd", "--slots", "--slot")
"""Options of a worker process with which its supervisor names what it inherits."""
INHERITED_FOR_GRPC: Final = ("--grpc-listener-fd", "--grpc-shares-fd")
"""The same where gRPC is served."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """One worker's limits and places. Sizes in bytes, times in seconds.

    Attributes:
        worker: this worker's id, unique among all gateways.
        redis_url: where epochs and leases come from; empty for a worker with static routing.
        snapshot_file: where the last good snapshot is kept; empty for nowhere.
        reached_at: the host under which others reach it; empty for the one that it is bound to.
        max_held: bytes of large gRPC messages that may be held at once until they are whole.
        max_in_flight: requests of this worker that may be at a model at once.
        max_in_flight_per_version: the same for each version of a model.
        max_shadows: copies for shadows that may be under way at once; further ones are dropped and counted.
        attempt_timeout_s: how long an attempt may take where another can be made: half the deadline, this at most.
        repeat_max_request: requests up to this size are held until answered, so that they can be sent again.
        repeat_max_response: answers up to this size are held until complete, so that they can come from elsewhere.
        repeat_budget: which share of a model's requests may be sent a second time.
        ejection_s: how long a failing replica is left alone before it is asked how it is.
        brake_s: how long stable answers for a candidate that fails too often, before one request finds out how it is.
        quarantine_s: how long a body that broke two replicas is refused.
        tls_certificate: PEM file of the listener's certificate; empty where it speaks in the clear.
        tls_key: PEM file of its key.
        tls_reload_s: how often the two files are looked at.
        tls_min_version: "1.2" or "1.3".
        triton_ca_file: PEM file of whom certificates of encrypted endpoints must come from; empty for the system's.
        deals: whether it is counted who was dealt which version: only where somebody is told.
        access_required: whether everybody is asked for a key or a token.
        token_rules: `serving.access.config.TokenRules` as JSON; empty where no tokens are taken.
        own_key: the record, as JSON, of the key with which this gateway's replica asks itself; empty for none.
        drift_key: likewise of the key with which the drift sidecar asks encoders; empty for none.
        keys_file: where the keys that are known are kept, for a start while the store is away; empty for nowhere.
        security_log: where refused attempts are written; empty for the log.
        redis_tls: what the client of a rediss:// address is given (ssl_ca_certs and the like), as JSON.
        keeper_socket: where the keeper listens, which is handed requests with their answers; empty for no keeper.
        capture_max_body: bodies up to this size are handed over.
        payload_share_ppm: how many requests are handed over with their answers whatever becomes of them, in parts per
            million; those that failed, and those that were copied, always are.
        samples: whose requests are handed over for the drift sidecar, and how many, as `drift.sampling.SampleRules` has
            it as JSON; empty for nobody's.
        copy_timeout_s: how long a copy may take, or four times as long as the answer that the client got, if that is
            longer; never longer than an attempt.
        copy_read_per_s: bytes of all copies' answers that are read in a second.
        traces_per_s: requests that are traced in a second, at most; 0 for none, and what callers say of traces goes on
            to models untouched.
        trace_share_ppm: how many requests are traced whose caller says nothing of it, in parts per million.
        access_ppm: how many stand in the access log, in parts per million.
        log_format: of what this process logs: "console" or "json".
    """

    worker: str
    redis_url: str = ""
    namespace: str = "sluice"
    lease_s: float = 3.0
    poll_s: float = 1.0
    snapshot_file: str = ""
    reached_at: str = ""
    max_connections: int = 10_000
    max_body: int = 64 * 1024 * 1024
    max_header: int = 64 * 1024
    max_held: int = 512 * 1024 * 1024
    max_in_flight: int = 1_000
    max_in_flight_per_version: int = 1_000
    max_shadows: int = 256
    upstream_timeout_s: float = 60.0
    connect_timeout_s: float = 2.0
    header_timeout_s: float = 10.0
    idle_timeout_s: float = 620.0
    upstream_idle_timeout_s: float = 55.0
    attempt_timeout_s: float = 10.0
    repeat_max_request: int = 1024 * 1024
    repeat_max_response: int = 64 * 1024
    repeat_budget: float = 0.2
    ejection_s: float = 30.0
    brake_s: float = 30.0
    quarantine_s: float = 60.0
    drain_delay_s: float = 0.0
    drain_limit_s: float = 20.0
    tls_certificate: str = ""
    tls_key: str = ""
    tls_reload_s: float = 5.0
    tls_min_version: str = "1.2"
    triton_ca_file: str = ""
    deals: bool = True
    access_required: bool = False
    token_rules: str = ""
    own_key: str = ""
    drift_key: str = ""
    keys_file: str = ""
    security_log: str = ""
    redis_tls: str = ""
    keeper_socket: str = ""
    capture_max_body: int = 1024 * 1024
    payload_share_ppm: int = 0
    samples: str = ""
    copy_timeout_s: float = 10.0
    copy_read_per_s: int = 32 * 1024 * 1024
    traces_per_s: float = 0.0
    trace_share_ppm: int = 0
    access_ppm: int = 0
    log_format: str = "console"

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> WorkerConfig:
        """The configuration in this line; unknown keys are a programming error and raise TypeError."""
        known = {field.name for field in fields(cls)}
        given = json.loads(line)
        if unknown := set(given) - known:
            raise TypeError(f"a worker knows no {sorted(unknown)}")
        return cls(**given)
