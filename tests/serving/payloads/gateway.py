"""A gateway on a port of its own that answers inference requests from a function, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from serving.keeping.decoding import Tensors, request_in

Model = Callable[[Tensors], list[float]]


@dataclass
class FakeGateway:
    """What it does, and what it was asked.

    Attributes:
        model: from the inputs to the values of the output `score`.
        may_mark: whether requests may be marked synthetic.
        status: that every request is answered with; 200 is the model's answer.
        asked: paths, in order of arrival.
        marks: how often the mark was there, request by request.
    """

    model: Model = lambda inputs: [float(one) / 2 for one in inputs["amount"].values]
    may_mark: bool = True
    status: int = 200
    asked: list[str] = field(default_factory=list)
    marks: list[bool] = field(default_factory=list)

    def answer(self, path: str, headers: Message, body: bytes) -> tuple[int, bytes]:
        """The status and the body of an answer."""
        self.asked.append(path)
        self.marks.append(headers.get("sluice-synthetic") == "true")
        if self.marks[-1] and not self.may_mark:
            return 403, b'{"error": "A request marked synthetic needs the right to operate."}'
        if self.status != 200:
            return self.status, json.dumps({"error": "It is not well."}).encode()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        values = self.model(request_in("http", lines, body).inputs)
        output = {"name": "score", "datatype": "FP32", "shape": [len(values)], "data": values}
        return 200, json.dumps({"outputs": [output]}).encode()


@contextmanager
def serving(fake: FakeGateway) -> Iterator[str]:
    """It, listening; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, said = fake.answer(self.path, self.headers, body)
            self.send_response(status)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
