"""A small gateway with its control API, for load tests: it splits by a policy, and errs as it is told."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

from router.choose import Choice, Facts, choose
from router.codec import policy_as_dict
from router.policy import Policy

MODEL = "m"
EPOCH = 3
SPLIT = Policy(1, salt="s").with_shares({2: 300_000})
_METADATA = {"name": MODEL, "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}], "outputs": []}
_REASONS = {200: "OK", 403: "Forbidden", 404: "Not Found", 503: "Service Unavailable"}


@dataclass
class Gateway:
    """What it does, and what it has seen.

    Attributes:
        policy: what the ledger says.
        chosen: what it does instead, where it errs.
        stalls: (after so many requests, for so many seconds): nothing at all is answered then.
        takes_s: how long each answer takes when it is alone; they take turns.
        refuses: the status that it answers predictions with instead of 200.
        forbids_marks: whether a request marked synthetic is refused.
        refuses_changes: whether the control API refuses whatever is asked of it beside starting a rollout.
        phases: where the rollout is, each time that somebody looks; in the end it stays at the last.
        seen: the headers of each prediction.
        calls: what the control API was asked to change: method, path and body.
    """

    policy: Policy = SPLIT
    chosen: Callable[[Facts, Choice], Choice] = lambda _, choice: choice
    stalls: tuple[int, float] | None = None
    takes_s: float = 0.0
    refuses: int = 200
    forbids_marks: bool = False
    refuses_changes: bool = False
    phases: list[str] = field(default_factory=lambda: ["running"])
    seen: list[Mapping[str, str]] = field(default_factory=list)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    stalled_s: float = 0.0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(OSError, asyncio.IncompleteReadError), closing(writer):
            while True:
                method, path, headers, body = await _request(reader)
                status, said, more = self.answer(method, path.partition("?")[0], headers, body)
                lines = "".join(f"{name}: {value}\r\n" for name, value in more.items())
                head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Length: {len(said)}\r\n{lines}\r\n"
                writer.write(head.encode() + said)
        with suppress(OSError):
            await writer.wait_closed()

    def answer(  # noqa: PLR0911 - a line for each path
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of the answer."""
        if path.partition("/versions/")[0] == f"/v2/models/{MODEL}" and method == "GET":
            return 200, json.dumps(_METADATA).encode(), {}
        if path.endswith("/infer"):
            return self._predict(path, headers)
        if path == f"/api/v1/models/{MODEL}/policy":
            said = {"model": MODEL, "revision": 1, "epoch": EPOCH, "policy": policy_as_dict(self.policy)}
            return 200, json.dumps(said).encode(), {}
        if path == "/api/v1/status":
            versions = [{"version": version, "ready": 2} for version in (1, 2)]
            return 200, json.dumps({"models": [{"name": MODEL, "versions": versions}]}).encode(), {}
        if path == "/api/v1/ledger/export":
            return 200, json.dumps(self.entry()).encode() + b"\n", {}
        if self.refuses_changes and method in {"POST", "PATCH"} and not path.endswith("/rollouts"):
            return 403, b'{"error": "This key may not operate."}', {}
        if method in {"POST", "PATCH"}:
            return 200, json.dumps(self._changed(method, path, json.loads(body))).encode(), {}
        if path.startswith("/api/v1/rollouts/"):
            return 200, json.dumps({"id": "ro_1", "phase": self._phase()}).encode(), {}
        return 404, b'{"error": "nothing here"}', {}

    def entry(self) -> Mapping[str, Any]:
        """What the ledger holds."""
        facts = {"model": MODEL, "epoch": EPOCH, "policy": policy_as_dict(self.policy), "what": "set"}
        return {"id": "1-0", "at_ms": 1_767_225_600_000, "kind": "policy", "who": "w", "why": "", "facts": facts}

    def infer(self, request: ModelInferRequest, context: grpc.ServicerContext) -> ModelInferResponse:
        """A prediction over gRPC."""
        headers = {str(name): str(value) for name, value in context.invocation_metadata()}
        pinned = f"/versions/{request.model_version}" if request.model_version else ""
        _, _, said = self._predict(f"/v2/models/{request.model_name}{pinned}/infer", {**headers, "over": "grpc"})
        context.send_initial_metadata(tuple(said.items()))
        return ModelInferResponse(model_name=request.model_name)

    def _predict(self, path: str, headers: Mapping[str, str]) -> tuple[int, bytes, Mapping[str, str]]:
        self.seen.append(headers)
        if self.forbids_marks and "sluice-synthetic" in headers:
            return 403, b'{"error": "This key may not operate."}', {}
        if self.takes_s:
            time.sleep(self.takes_s)  # on purpose in the loop: answers take turns
        if self.stalls and len(self.seen) == self.stalls[0]:
            began = time.monotonic()
            time.sleep(self.stalls[1])
            self.stalled_s = time.monotonic() - began
        if self.refuses != 200:
            return self.refuses, b'{"error": "no"}', {}
        pinned = int(path.split("/")[5]) if "/versions/" in path else None
        facts = Facts(headers["sluice-unit"].encode(), pinned)
        choice = self.chosen(facts, choose(self.policy, facts))
        said = {"version": choice.version, "reason": choice.reason.value, "epoch": EPOCH, "request-id": "r"}
        return 200, b"{}", {f"sluice-{name}": str(value) for name, value in said.items()}

    def _phase(self) -> str:
        return self.phases.pop(0) if len(self.phases) > 1 else self.phases[0]

    def _changed(self, method: str, path: str, body: dict[str, Any]) -> Mapping[str, Any]:
        self.calls.append((method, path, body))
        if path.endswith("/feedback"):
            return {"counts": {"accepted": len(body["items"])}, "items": []}
        return {"rollout": {"id": "ro_1", "phase": "running"}}


@contextmanager
def served_grpc(gateway: Gateway) -> Iterator[str]:
    """Its predictions over gRPC: host and port, for as long as the block lasts."""
    method = grpc.unary_unary_rpc_method_handler(
        gateway.infer, ModelInferRequest.FromString, ModelInferResponse.SerializeToString
    )
    server = grpc.server(ThreadPoolExecutor(4))
    service = "inference.GRPCInferenceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"ModelInfer": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@contextmanager
def served(gateway: Gateway, tls: ssl.SSLContext | None = None) -> Iterator[Gateway]:
    """It answers at its `url` for as long as the block lasts, from a thread of its own."""
    loop, up = asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0, ssl=tls)
        gateway.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        up.set()
        await stop.wait()
        server.close()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:  # whoever asked has hung up by now
            await asyncio.wait(others)
        await asyncio.sleep(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert up.wait(30)
        yield gateway
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, Mapping[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return method, path, headers, await reader.readexactly(int(headers.get("content-length", 0)))
