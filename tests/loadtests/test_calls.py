"""Calls over gRPC: what is sent, and how an answer is looked at."""

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse

from loadtests.compare.calls import CALLS, Call, ask, stream, unary
from loadtests.compare.errors import Void

ONCE, OFTEN = unary("once", 2), stream("often", 2, 3)


def answer(tensor: bytes) -> ModelInferResponse:
    """What a model answers."""
    return ModelInferResponse(model_name="m", model_version="2", raw_output_contents=[tensor])


class Server(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every call with these messages, or refuses it."""

    def __init__(self, *messages: bytes, refused: bool = False) -> None:
        self.messages, self.refused = messages, refused

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Streams and single answers alike: gRPC's frames are the same for both."""
        return grpc.stream_stream_rpc_method_handler(self._answers)

    def _answers(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        list(requests)
        yield from self.messages
        if self.refused:
            context.abort(grpc.StatusCode.UNAVAILABLE, "nobody is there")


@contextmanager
def serving(server: Server) -> Iterator[str]:
    """Its address."""
    with ThreadPoolExecutor(2) as pool:
        running = grpc.server(pool, [server])
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
        yield f"127.0.0.1:{port}"
        running.stop(None).wait()


def in_stream(tensor: bytes) -> bytes:
    """One answer of a stream."""
    return bytes(ModelStreamInferResponse(infer_response=answer(tensor)).SerializeToString())


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_request_is_one_message_in_a_frame(call: Call) -> None:
    """Not compressed, its length, and a request for the model that everybody asks."""
    compressed, length = struct.unpack(">BI", call.body[:5])
    assert (compressed, length) == (0, len(call.body) - 5)
    request = ModelInferRequest.FromString(call.body[5:])
    assert (request.model_name, request.raw_input_contents[0]) == ("m", call.output)


def test_the_sizes_are_those_that_the_table_names() -> None:
    """Eight floats, and a megabyte of them; a hundred answers to one request."""
    sizes = {name: len(call.output) for name, call in CALLS.items()}
    assert sizes == {"grpc": 32, "grpc-shared": 32, "grpc-1MB": 2**20, "grpc-stream": 32}
    assert CALLS["grpc-stream"].answers == 100
    assert ModelInferRequest.FromString(CALLS["grpc-stream"].request).raw_input_contents[1] == struct.pack("<i", 100)


@pytest.mark.parametrize(
    ("call", "messages"),
    [(ONCE, [answer(ONCE.output).SerializeToString()]), (OFTEN, [in_stream(OFTEN.output)] * 3)],
    ids=["unary", "stream"],
)
def test_a_right_answer_says_how_long_it_is(call: Call, messages: list[bytes]) -> None:
    """Every message has five bytes before it."""
    with serving(Server(*messages)) as address:
        assert ask(address, call) == sum(5 + len(message) for message in messages)


@pytest.mark.parametrize(
    ("call", "messages"),
    [
        (ONCE, [answer(b"something").SerializeToString()]),
        (OFTEN, [in_stream(OFTEN.output)] * 2),
        (OFTEN, [in_stream(OFTEN.output)] * 4),
        (OFTEN, [in_stream(OFTEN.output)] * 2 + [in_stream(b"something")]),
        (OFTEN, [in_stream(OFTEN.output)] * 2 + [ModelStreamInferResponse(error_message="no").SerializeToString()]),
    ],
    ids=["other-bytes", "too-few", "too-many", "one-other", "an-error-among-them"],
)
def test_a_wrong_answer_voids_the_run(call: Call, messages: list[bytes]) -> None:
    """Status 0 is not enough."""
    with serving(Server(*messages)) as address, pytest.raises(Void, match="wrong"):
        ask(address, call)


@pytest.mark.parametrize("call", [ONCE, OFTEN], ids=["unary", "stream"])
def test_a_status_other_than_ok_voids_the_run(call: Call) -> None:
    """Even where the HTTP status is 200 and answers came before it."""
    with serving(Server(in_stream(call.output), refused=True)) as address, pytest.raises(Void, match="nobody is there"):
        ask(address, call)
