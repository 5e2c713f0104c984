"""A collector of spans: a real HTTP server that reads OTLP with the protocol's own messages, and does as it is told."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.serving.certificates import Files


@dataclass(frozen=True)
class Span:
    """One span as it came.

    Attributes:
        name: its own.
        kind: OTLP's number: 2 is a server's, 3 a client's.
        trace: id, in hexadecimal digits, as the next two.
        span: id.
        parent: id; empty for none.
        state: `tracestate`.
        attributes: by name.
        resource: what is said of the process.
        error: whether its status is an error, with these words; None where it is not.
        begin_ns: since 1970.
        end_ns: since 1970.
    """

    name: str
    kind: int
    trace: str
    span: str
    parent: str
    state: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    error: str | None
    begin_ns: int
    end_ns: int


@dataclass
class Collector:
    """What came, and how it is answered.

    Attributes:
        url: where it listens.
        spans: in order.
        heads: the request headers of each message.
        code: that messages are answered with; spans are kept where it is 200 alone.
        location: where a redirect leads.
        reads: while it is not set, no message is answered.
        came: set once a message has come, answered or not.
    """

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    code: int = 200
    location: str = ""
    reads: threading.Event = field(default_factory=threading.Event)
    came: threading.Event = field(default_factory=threading.Event)

    def of(self, trace: str) -> list[Span]:
        """Those of one trace."""
        return [one for one in list(self.spans) if one.trace == trace]

    def take(self, path: str, head: dict[str, str], body: bytes) -> None:
        """One message."""
        assert path == "/v1/traces", path
        self.heads.append(head)
        if self.code == 200:
            self.spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))


@contextmanager
def collecting(shows: Files | None = None) -> Iterator[Collector]:
    """A collector on a free port of this machine; over TLS where it has a certificate to show."""
    collector = Collector()
    collector.reads.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            collector.came.set()
            collector.reads.wait(60)
            collector.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(collector.code)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            if collector.location:
                self.send_header("Location", collector.location)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if shows is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(shows.certificate, shows.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    collector.url = f"http{'' if shows is None else 's'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.reads.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _spans(message: ExportTraceServiceRequest) -> Iterator[Span]:
    for group in message.resource_spans:
        resource = _values(group.resource.attributes)
        for scope in group.scope_spans:
            for one in scope.spans:
                yield Span(
                    one.name, one.kind, one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex(),
                    one.trace_state, _values(one.attributes), resource,
                    one.status.message if one.status.code == one.status.STATUS_CODE_ERROR else None,
                    one.start_time_unix_nano, one.end_time_unix_nano,
                )  # fmt: skip


def _values(pairs: list[KeyValue]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}
