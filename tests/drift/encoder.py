"""An encoder on a real server that speaks the Open Inference Protocol: what the sidecar and the command ask."""

from __future__ import annotations

import json
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift.asking import Encoders
from drift.encoding import Encoder
from drift.wire import Server

WIDTH: Final = 3
POISON: Final = 1e6
"""A value at which the encoder fails."""
ENCODER = Encoder("image", (4, 4), "embedder", 3, "", "image", "FP32", (4, 4), "embedding", WIDTH)
"""What it says it is, unless it is told otherwise."""
_LENGTH: Final = "Inference-Header-Content-Length"


def images(rows: int, seed: int = 1) -> NDArray[np.float32]:
    """Calm ones, shape (rows, 4, 4)."""
    return np.random.default_rng(seed).normal(size=(rows, 4, 4)).astype(np.float32)


def asking(there: EncoderServer, timeout_s: float = 10.0, **said: str) -> Encoders:
    """Whoever asks it, as if it were the installation's own gateway."""
    return Encoders({"": Server(there.url, said.get("key", ""), is_ours=True)}, timeout_s=timeout_s)


def embedded(rows: NDArray[Any]) -> NDArray[np.float32]:
    """What it makes of rows: their mean, their deviation, and their first value; shape (rows, WIDTH)."""
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    return np.asarray(np.stack((flat.mean(axis=1), flat.std(axis=1), flat[:, 0]), axis=1), np.float32)


def embedded_texts(rows: NDArray[Any]) -> NDArray[np.float32]:
    """What it makes of texts: how long they are, thrice."""
    lengths = [sum(len(one) for one in row) for row in rows.reshape(len(rows), -1).tolist()]
    return np.repeat(np.array(lengths, np.float32)[:, np.newaxis], WIDTH, axis=1)


@dataclass
class EncoderServer:
    """One that listens, and does what its attributes say.

    Attributes:
        url: where.
        versions: that it says it has.
        shape: of its input, as it describes it; the batch comes first.
        datatype: of its input.
        width: that it says its output has; -1 for one that it does not say.
        most: rows of one request; 0 for a model that knows no batches, None for a server without configurations.
        binary: whether it takes tensors as bytes.
        status: of every answer to rows; 200 for embeddings.
        raw: in place of an answer to rows.
        well_for: requests about rows that it still does well; of any others it answers 500. None for all.
        refuses_zeros: whether it fails on rows that are all zero.
        hangs_s: before each answer.
        key: that is asked for; empty for none.
        asked: rows of each request that was answered well.
        headers: of the last request.
        refused: requests that were not answered well.
    """

    url: str = ""
    versions: tuple[str, ...] = ("3",)
    shape: tuple[int, ...] = (-1, 4, 4)
    datatype: str = "FP32"
    width: int = WIDTH
    most: int | None = 64
    binary: bool = True
    status: int = 200
    raw: bytes | None = None
    well_for: int | None = None
    refuses_zeros: bool = False
    hangs_s: float = 0.0
    key: str = ""
    asked: list[int] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    refused: int = 0
    under_way: int = 0
    most_under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """What it says of itself."""
        if path == "/v2":
            return 200, {"name": "test", "extensions": ["binary_tensor_data"] if self.binary else []}
        if path.endswith("/config"):
            return (404, {"error": "no such path"}) if self.most is None else (200, {"max_batch_size": self.most})
        if not path.startswith("/v2/models/embedder"):
            return 404, {"error": "Request for unknown model: 'other' is not found"}
        tensors = {
            "inputs": [{"name": "image", "datatype": self.datatype, "shape": list(self.shape)}],
            "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, self.width]}],
        }
        return 200, {"name": "embedder", "versions": list(self.versions), **tensors}

    def post(self, body: bytes, length: str | None) -> tuple[int, bytes, int]:
        """Status, body, and the length of its head where tensors follow it."""
        head = len(body) if length is None else int(length)
        said = json.loads(body[:head])["inputs"][0]
        rows = _values(said, body[head:])
        if (refusal := self._refusal(rows)) is not None:
            return refusal[0], _error(refusal[1]), 0
        if self.raw is not None:
            return 200, self.raw, 0
        made = embedded_texts(rows) if self.datatype == "BYTES" else embedded(rows)
        self.asked.append(len(rows))
        output: dict[str, Any] = {"name": "embedding", "datatype": "FP32", "shape": list(made.shape)}
        if length is None:
            answer = json.dumps({"outputs": [{**output, "data": made.reshape(-1).tolist()}]}).encode()
            return 200, answer, 0
        output["parameters"] = {"binary_data_size": made.nbytes}
        answer = json.dumps({"model_name": "embedder", "outputs": [output]}).encode()
        return 200, answer + made.tobytes(), len(answer)

    def _refusal(self, rows: NDArray[Any]) -> tuple[int, str] | None:
        """Status and words."""
        values = np.zeros((len(rows), 1)) if self.datatype == "BYTES" else rows.reshape(len(rows), -1)
        if self.most is not None and len(rows) > max(self.most, 1):
            return 400, f"inference request batch-size must be <= {self.most}"
        if (values >= POISON).any():
            return 500, "in ensemble, CUDA error: something broke"
        if self.refuses_zeros and not values.any(axis=1).all():
            return 400, "a picture of nothing"
        with self.lock:
            self.well_for = None if self.well_for is None else self.well_for - 1
            if self.well_for is not None and self.well_for < 0:
                return 500, "in ensemble, CUDA error: it is lost"
        return None if self.status == 200 else (self.status, "it is not well")


def _values(said: Mapping[str, Any], raw: bytes) -> NDArray[Any]:
    shape = tuple(said["shape"])
    if said["datatype"] == "BYTES":
        texts, at = [one.encode() for one in said.get("data", [])], 0
        while at < len(raw):
            (size,) = struct.unpack_from("<I", raw, at)
            texts.append(raw[at + 4 : at + 4 + size])
            at += 4 + size
        made = np.empty(len(texts), object)
        made[:] = texts
        return made.reshape(shape)
    if "data" in said:
        return np.array(said["data"], np.float32).reshape(shape)
    return np.frombuffer(raw, {"FP32": np.float32, "FP64": np.float64}[said["datatype"]]).reshape(shape)


def _error(words: str) -> bytes:
    return json.dumps({"error": words}).encode()


@contextmanager
def encoder_server(
    tls: ssl.SSLContext | None = None,
    **said: Any,  # noqa: ANN401 - its attributes
) -> Iterator[EncoderServer]:
    """One for as long as the block lasts; in the clear where no TLS is given."""
    there = EncoderServer(**said)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, told = there.get(self.path)
            self._tell(status, json.dumps(told).encode(), 0)

        def do_POST(self) -> None:
            there.headers = dict(self.headers)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with there.lock:
                there.under_way += 1
                there.most_under_way = max(there.most_under_way, there.under_way)
            time.sleep(there.hangs_s)
            if there.key and self.headers.get("Authorization") != f"Bearer {there.key}":
                status, answer, head = 403, _error("this takes the right to operate"), 0
            else:
                status, answer, head = there.post(body, self.headers.get(_LENGTH))
            with there.lock:
                there.under_way -= 1
                there.refused += status != 200
            self._tell(status, answer, head)

        def _tell(self, status: int, body: bytes, head: int) -> None:
            self.send_response(status)
            if head:
                self.send_header(_LENGTH, str(head))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: it is a test's."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Callers that give up are part of the tests."""

    server = Listener(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    there.url = f"http{'' if tls is None else 's'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield there
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
