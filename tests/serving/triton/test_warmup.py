"""A server is asked its first requests until its latency has settled; one that does not answer is not ready."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from tritonclient.utils import InferenceServerException

from serving.errors import StartFailed
from serving.triton import warmup
from serving.triton.warmup import has_settled, warm_up

EXAMPLE = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2], [3, 4]]}]}'


class Model:
    """A server that takes requests down, answers them as slowly as it is told, or fails them."""

    model = "m"
    version = 3
    http_port = 1
    near_host = "127.0.0.1"

    def __init__(self, failure: BaseException | None = None, latencies_s: Iterable[float] = ()) -> None:
        self.failure = failure
        self.latencies_s = iter(latencies_s)
        self.seen: list[Sequence[Any]] = []

    async def metadata(self) -> dict[str, Any]:
        """One input of four numbers a row."""
        return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]}

    async def infer(self, inputs: Sequence[Any]) -> None:
        """No answer."""
        await asyncio.sleep(next(self.latencies_s, 0))
        if self.failure:
            raise self.failure
        self.seen.append(inputs)


@pytest.mark.parametrize(("example", "shape"), [(EXAMPLE, [2, 2]), (None, [1, 4])])
async def test_a_server_is_warmed_up_with_its_example_or_with_zeros(example: bytes | None, shape: list[int]) -> None:
    """The example is sent if there is one, else one row of zeros; as often as is told afterwards."""
    model = Model()
    warmth = await warm_up(model, example)
    assert {tuple(inputs[0].shape()) for inputs in model.seen} == {tuple(shape)}
    assert len(model.seen) == warmth.requests
    assert warmth.throughput is None


@pytest.mark.parametrize(
    ("latencies_ms", "settled"),
    [
        ([], False),
        ([9, 1, 1, 1, 1, 1, 1, 1, 1], False),
        ([9, 1, 1, 1, 1, 1, 1, 1, 1, 1], True),
        ([10] * 5 + [9] * 5, False),
        ([10] * 5 + [9.6] * 5, True),
        ([10] * 5 + [11] * 5, True),
        ([10] * 5 + [5] * 7, False),
        ([10] * 5 + [5] * 8, True),
    ],
)
def test_latency_has_settled_when_it_falls_no_longer(latencies_ms: list[float], settled: bool) -> None:  # noqa: FBT001
    """The median of the last five against that of the five before; one slow request does not count."""
    assert has_settled(latencies_ms) is settled


async def test_a_server_that_gets_faster_is_given_more_requests() -> None:
    """Warming up goes on while the latency falls, and the latency that is told is the one after that."""
    falling = [0.08] * 5 + [0.05] * 5 + [0.02] * 5
    warmth = await warm_up(Model(latencies_s=[*falling, *[0.02] * 100]), None)
    assert warmth.requests > 15
    assert warmth.latency_ms >= 20


async def test_a_server_that_never_settles_is_warm_after_a_hundred_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an end to it."""
    monkeypatch.setattr(warmup, "has_settled", lambda _: False)
    assert (await warm_up(Model(), None)).requests == 100


async def test_a_slow_server_is_warm_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow, no more requests are begun after the time is over, and one at least was answered."""
    monkeypatch.setattr(warmup, "_LONGEST_S", 0.05)
    warmth = await warm_up(Model(latencies_s=[0.04] * 100), None)
    assert 1 <= warmth.requests <= 3


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (InferenceServerException("wrong shape.\n\nAt:\n  model.py(3): execute"), "its example: wrong shape"),
        (ConnectionResetError("reset"), "its example: reset"),
    ],
)
async def test_a_model_that_does_not_answer_is_refused(failure: BaseException, words: str) -> None:
    """A model that is loaded but fails its first request is refused with what it said, in one line."""
    with pytest.raises(StartFailed) as refused:
        await warm_up(Model(failure), EXAMPLE)
    assert str(refused.value) == f"m version 3 is loaded, but does not answer {words}."


async def test_a_model_that_hangs_is_refused() -> None:
    """Its time ends."""
    with pytest.raises(StartFailed, match=r"a request of zeros: no answer came within 0\.05 s\.$"):
        await warm_up(Model(latencies_s=[60.0]), None, timeout_s=0.05)
