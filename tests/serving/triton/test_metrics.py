"""The pending count is read from what a tritonserver says, for exactly this version."""

import asyncio

import pytest

from serving.triton import metrics
from serving.triton.metrics import PendingCount, pending_in

SAID = """# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="digits",version="1"} 7
nv_inference_pending_request_count{model="digits",version="12"} 8.000000
nv_inference_pending_request_count{version="2",model="a}b"} 9
nv_inference_request_success{model="digits",version="3"} 3
nv_inference_pending_request_count{model="odd",version="1"} NaN
"""


@pytest.mark.parametrize(
    ("model", "version", "count"),
    [("digits", 1, 7), ("digits", 12, 8), ("a}b", 2, 9), ("digits", 3, None), ("odd", 1, None), ("no", 1, None)],
)
def test_the_count_of_a_version_is_its_own(model: str, version: int, count: int | None) -> None:
    """Another version's or another metric's figure is not taken for it, and what is no number is none."""
    assert pending_in(SAID, model, version) == count


def pending(count: PendingCount) -> int | None:
    """What it is now; another task changes it."""
    return count.value


async def test_a_server_that_falls_silent_has_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is there while the server answers, and gone when it does not, without an end to the looking."""
    monkeypatch.setattr(metrics, "EVERY_S", 0.01)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = SAID.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    count = PendingCount(f"http://127.0.0.1:{port}/metrics", "digits", 1)
    looking = asyncio.create_task(count.run())
    try:
        async with asyncio.timeout(5.0):
            while pending(count) != 7:  # noqa: ASYNC110 - a figure has no event
                await asyncio.sleep(0.01)
            server.close()
            while pending(count) is not None:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert not looking.done()
    finally:
        looking.cancel()
