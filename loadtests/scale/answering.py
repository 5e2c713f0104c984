"""`python -m loadtests.scale.answering PORT ADDRESS…`: answers at once in the place of Tritons, for any model.

A real server takes more of a small machine than the gateway that is measured before it, and fifty of them all of it.
What it answers is always the same, so it is fit for rates and for nothing else.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence

import uvloop
from httptools import HttpParserError, HttpRequestParser

_OUTPUT = {"name": "y", "datatype": "FP32", "shape": [1, 8], "data": [0.5] * 8}
_BODY = json.dumps({"model_name": "m", "model_version": "1", "outputs": [_OUTPUT]}).encode()
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)


class Answering(asyncio.Protocol):
    """One connection: the same answer to every request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For asyncio."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._parser = HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """For asyncio."""
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._transport.close()

    def on_message_complete(self) -> None:
        """For httptools: a request is whole."""
        self._transport.write(_ANSWER)


async def _serve(port: int, addresses: Sequence[str]) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Answering, address, port) for address in addresses]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2:]))
