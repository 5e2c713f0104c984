"""Copies go to the end of the queue where there is one by priority, and say nothing else than what the client said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.policy import Policy, Shadow
from serving.endpoint import Endpoint
from serving.gateway.grpc.framing import PREFIX, framed
from serving.gateway.lowered import WAIT_US, over_grpc, with_parameters
from tests.examples import examples
from tests.serving.gateway.grpc.rig import request
from tests.serving.gateway.rig import HEAD, eventually, running
from tests.serving.gateway.wire import post

OURS = {"priority": 3, "timeout": WAIT_US}
keys = st.text(st.characters(codec="ascii"), max_size=5)
plain = st.dictionaries(keys, st.integers() | keys | st.lists(st.integers(), max_size=3), min_size=1, max_size=4)


@given(plain, st.sampled_from((None, 2)))
@settings(max_examples=examples(100))
def test_the_rest_of_a_request_stays(said: dict[str, Any], indent: int | None) -> None:
    """Whatever else is in there, and however it is written."""
    lowered = with_parameters(json.dumps(said, indent=indent).encode(), 3)
    assert lowered is not None
    assert json.loads(lowered) == {**said, "parameters": OURS}


@pytest.mark.parametrize(
    "said",
    [b"", b"{}", b"{ }", b"[1]", b"no JSON", b'{"parameters": {"priority": 1}}', b'{"inputs": [], "parameters": {}}',
     b'{"a": "parameters" x', b'{"parameters' + b" " * 70_000],
    ids=range(9),
)  # fmt: skip
def test_what_speaks_for_itself_is_left_as_it_is(said: bytes) -> None:
    """As is what is not a request, or too long to be looked into."""
    assert with_parameters(said, 3) is None


def test_parameters_of_an_input_are_another_matter() -> None:
    """As every request in the binary extension has them."""
    said = {"inputs": [{"name": "x", "parameters": {"binary_data_size": 8}}]}
    lowered = with_parameters(json.dumps(said).encode(), 3)
    assert lowered is not None
    assert json.loads(lowered) == {**said, "parameters": OURS}


def test_a_message_gets_parameters_of_its_own() -> None:
    """Beside those that it has; one that names a priority, or is no message, goes on as it came."""
    asked = request(id="x")
    asked.parameters["tag"].string_param = "t"
    lowered = type(asked).FromString(over_grpc(framed(asked.SerializeToString()), 3)[PREFIX:])
    assert {name: one.int64_param for name, one in lowered.parameters.items()} == {"tag": 0, **OURS}
    assert (lowered.parameters["tag"].string_param, lowered.id) == ("t", "x")
    asked.parameters["priority"].int64_param = 1
    named = framed(asked.SerializeToString())
    assert over_grpc(named, 3) == named
    assert over_grpc(framed(b"\xff"), 3) == framed(b"\xff")


async def test_only_the_copy_is_lowered() -> None:
    """The client's own request goes out as it came; both forms of a copy say how long their JSON is."""
    policy = Policy(1, shadows=(Shadow(2),))
    async with running(policy=policy, replicas={1: 1, 2: 1}) as rig:
        ports = {version: some[0].port for version, some in rig.upstreams.items()}
        endpoints = [Endpoint("127.0.0.1", port, 0, "m", v, priority_levels=3) for v, port in ports.items()]
        rig.worker.swap(rig.worker.table.build(HEAD, {"m": policy}, []))
        rig.worker.swap(rig.worker.table.build(HEAD, {"m": policy}, endpoints))
        said = b'{"inputs": []}'
        assert (await rig.ask(post(body=said))).code == 200
        binary = [f"Inference-Header-Content-Length: {len(said)}", "X-A: b"]
        assert (await rig.ask(post(body=said + bytes(9), headers=binary))).code == 200
        await eventually(lambda: not rig.worker.shadows)
        assert [one.body for one in rig.upstream.requests] == [said, said + bytes(9)]
        first, second = rig.upstreams[2][0].requests
        assert json.loads(first.body) == {"inputs": [], "parameters": OURS}
        (length,) = second.all("inference-header-content-length")
        assert json.loads(second.body[: int(length)]) == {"inputs": [], "parameters": OURS}
        assert second.body[int(length) :] == bytes(9)
        assert second.all("x-a") == [b"b"]
