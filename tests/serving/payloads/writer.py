"""A process that keeps payloads as fast as it can, to be killed at any moment.

Nonces begin where they are told to, so that no two processes keep the
same request.
"""

import sys
import time
from pathlib import Path

from serving.payloads.sink import PayloadSink
from tests.serving.payloads.made import captured, rules


def run(folder: str, first: int) -> None:
    """Writes for ever: small files, finished several times a second, bounded by far less than is written."""
    sink = PayloadSink(rules(Path(folder), file_bytes=12_000, max_bytes=1_000_000, file_s=0.05), queue_bytes=100_000)
    nonce = first
    while True:
        sink.take(captured(nonce), None, None)
        nonce += 1
        if nonce % 20 == 0:
            time.sleep(0.001)  # or the thread that writes has to fight for the interpreter


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))
