"""Health, metadata, configuration, statistics, index, and what is not there to be asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Any

from tests.conformance.differences import Why
from tests.conformance.http.exchange import After, Own, Vector
from tests.conformance.http.requests import FINE, INFER, post, request
from tests.conformance.http.rows import UNKNOWN_PATH, get, one
from tests.conformance.models.repository import MODELS, UNSERVED

_UNKNOWN_MODEL = Own(404, Why.UNKNOWN_MODEL, "There is no model 'nope'")
_UNKNOWN_VERSION = Own(404, Why.UNKNOWN_MODEL, "has no version")
_NOT_OFFERED = Own(501, Why.NOT_OFFERED, "belong to one Triton")
_LOADS = Own(403, Why.LOADS, "not loaded or unloaded")


def questions() -> Iterator[Vector]:
    """Health and metadata."""
    yield get("live", "/v2/health/live")
    yield get("ready", "/v2/health/ready")
    yield get("server metadata", "/v2", Own(200, Why.OWN_VIEW, document=server()))
    yield get("model metadata", "/v2/models/echo")
    yield get("model metadata of a version", "/v2/models/echo/versions/1")
    yield get("model metadata with a query", "/v2/models/echo?a=b")
    yield get("model metadata, versions of the gateway", "/v2/models/compass", _compass())
    yield get("model ready", "/v2/models/echo/ready")
    yield get("model ready, of a version", "/v2/models/echo/versions/1/ready")
    yield one("a question with a body", request("GET", "/v2/health/live", b"hello"), None, "GET")


def extensions() -> Iterator[Vector]:
    """What Triton alone can be asked beside them: configuration, statistics, index."""
    yield get("model config", "/v2/models/compass/config")
    yield get("model config of a version", "/v2/models/compass/versions/1/config")
    yield get("model statistics", "/v2/models/idle/stats")
    yield get("model statistics of a version", "/v2/models/idle/versions/1/stats")
    everything = request("GET", "/v2/models/stats")
    yield Vector("statistics of all models", (everything,), method="GET", seen=_who_counts)
    yield one("index", request("POST", "/v2/repository/index", b""), Own(200, Why.OWN_VIEW, document=index()))
    yield one(
        "index without a length", request("POST", "/v2/repository/index"), Own(200, Why.OWN_VIEW, document=index())
    )
    only_ready = request("POST", "/v2/repository/index", b'{"ready": true}')
    yield one("index of what is ready", only_ready, Own(200, Why.OWN_VIEW, document=index()))


def server() -> dict[str, Any]:
    """The gateway's own metadata."""
    extensions = ["classification", "sequence", "schedule_policy", "model_configuration", "binary_tensor_data",
                  "parameters", "statistics", "generate"]  # fmt: skip
    return {"name": "sluice", "version": _version(), "extensions": extensions}


def _version() -> str:
    """The gateway's; nothing where the kit is used without it."""
    try:
        return version_of("sluice-gateway")
    except PackageNotFoundError:
        return ""


def _compass() -> Own:
    tensors = [{"name": "fp32", "datatype": "FP32", "shape": [-1, 4]}]
    metadata = {"name": "compass", "versions": ["1", "2"], "platform": "python", "inputs": tensors, "outputs": tensors}
    return Own(200, Why.VERSIONS, document=metadata)


def index() -> list[dict[str, str]]:
    """As Triton writes it: sorted by name, and without a reason where there is nothing to explain."""
    versions = sorted([*((model, 1) for model in MODELS), UNSERVED])
    return [{"name": model, "version": str(version), "state": "READY"} for model, version in versions]


def _who_counts(body: bytes) -> bytes:
    """Of statistics, whose they are: the counters differ from run to run."""
    counted = json.loads(body).get("model_stats", [])
    return json.dumps(sorted([one["name"], one["version"]] for one in counted)).encode()


def unknown() -> Iterator[Vector]:
    """Models and versions that are not there."""
    yield from _nowhere("", "/ready")
    yield from _nowhere_to_post("infer")
    yield one("unknown version, routed to", post(FINE, target="/v2/models/compass/versions/2/infer"))


def unknown_beyond() -> Iterator[Vector]:
    """The same of Triton's extensions, numbers that are no version, and paths that are not there."""
    yield from _nowhere("/config", "/stats")
    for verb in ("generate", "generate_stream"):
        yield from _nowhere_to_post(verb)
    for number in ("0", "-1", "abc", "1.0", "99999999999999999999", ""):
        target = f"/v2/models/echo/versions/{number}/infer"
        yield one(f"version {number!r}", post(FINE, target=target), Own(404, Why.UNKNOWN_MODEL))
    yield one("version '01'", post(FINE, target="/v2/models/echo/versions/01/infer"))
    yield one(
        "a verb where the version belongs",
        post(FINE, target="/v2/models/echo/versions/infer"),
        Own(404, Why.UNKNOWN_MODEL),
    )
    yield get("server metadata, with a slash", "/v2/", UNKNOWN_PATH)
    for target in (
        "/",
        "/v2/nope",
        "/v2/models",
        "/v2/models/echo/",
        "/v2/models/echo/nope",
        "/v2/health",
        "/v2/health/live/",
        "/v1/models/echo:predict",
    ):
        yield get(f"unknown path {target}", target, UNKNOWN_PATH)
    yield one("unknown path, with a slash after infer", post(FINE, target=f"{INFER}/"), UNKNOWN_PATH)


def _nowhere(*parts: str) -> Iterator[Vector]:
    for what in parts:
        yield get(f"unknown model{what}", f"/v2/models/nope{what}", _UNKNOWN_MODEL)
        yield get(f"unknown version{what}", f"/v2/models/echo/versions/9{what}", _UNKNOWN_VERSION)


def _nowhere_to_post(verb: str) -> Iterator[Vector]:
    yield one(f"unknown model/{verb}", post(FINE, target=f"/v2/models/nope/{verb}"), _UNKNOWN_MODEL)
    yield one(f"unknown version/{verb}", post(FINE, target=f"/v2/models/echo/versions/9/{verb}"), _UNKNOWN_VERSION)


def methods() -> Iterator[Vector]:
    """Methods that a path does not answer to."""
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        own = Own(405, Why.WRONG_METHOD, "use POST", allow="POST")
        yield one(f"{method} infer", request(method, INFER), own, method)
    for target in (
        "/v2",
        "/v2/health/live",
        "/v2/models/echo",
        "/v2/models/echo/config",
        "/v2/models/echo/ready",
        "/v2/models/echo/stats",
    ):
        own = Own(405, Why.WRONG_METHOD, "use GET", allow="GET")
        yield one(f"POST {target}", request("POST", target, b"{}"), own)
    yield one("HEAD live", request("HEAD", "/v2/health/live"), Own(405, Why.WRONG_METHOD, allow="GET"), "HEAD")
    yield one("GET index", request("GET", "/v2/repository/index"), Own(405, Why.WRONG_METHOD, allow="POST"), "GET")
    yield one("PUT infer with a body", request("PUT", INFER, FINE), Own(405, Why.WRONG_METHOD, allow="POST"), "PUT")
    connect = b"CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n"
    yield one("CONNECT", connect, Own(400, Why.CONNECT, "CONNECT", after=After.CLOSED))


def not_offered() -> Iterator[Vector]:
    """What belongs to one Triton."""
    for kind in ("systemsharedmemory", "cudasharedmemory"):
        yield get(f"{kind} status", f"/v2/{kind}/status", _NOT_OFFERED)
        yield get(f"{kind} status of a region", f"/v2/{kind}/region/a/status", _NOT_OFFERED)
        for verb in ("register", "unregister"):
            yield one(f"{kind} {verb}", request("POST", f"/v2/{kind}/region/a/{verb}", b"{}"), _NOT_OFFERED)
    yield get("trace settings", "/v2/trace/setting", _NOT_OFFERED)
    yield get("trace settings of a model", "/v2/models/echo/trace/setting", _NOT_OFFERED)
    yield get("logging", "/v2/logging", _NOT_OFFERED)
    for verb in ("load", "unload"):
        yield one(verb, request("POST", f"/v2/repository/models/echo/{verb}", b"{}"), _LOADS)
