"""A whole installation with the real Ray, Triton and Valkey: predictions through the split, and changes to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from router.choose import Facts, choose
from router.codec import policy_from_dict
from router.policy import Policy
from serving.control.client import ControlClient
from serving.shares import with_shares
from tests.e2e.conftest import Demo
from tests.e2e.hammer import Hammer
from tests.e2e.system import until

pytestmark = pytest.mark.e2e


@pytest.fixture
def client(demo: Demo) -> Iterator[triton.InferenceServerClient]:
    """Triton's own client, pointed at the gateway."""
    client = triton.InferenceServerClient(demo.http_place)
    yield client
    client.close()


@pytest.fixture
def control(demo: Demo) -> Iterator[ControlClient]:
    """The control API's client."""
    with ControlClient(demo.control_url) as control:
        yield control


@pytest.fixture
def body(demo: Demo) -> bytes:
    """One row as a JSON request."""
    row = demo.rows[0].tolist()
    return json.dumps({"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": row}]}).encode()


def split(control: ControlClient, shares: dict[int, int]) -> Policy:
    """Sets the shares of the arms and returns once every gateway runs them."""
    now = control.policy("digits")
    change = control.set_policy("digits", with_shares(now["policy"], shares), revision=now["revision"], wait_s=10)
    assert change["acknowledged"]["by"] == change["acknowledged"]["of"] >= 1
    return policy_from_dict(change["policy"])


def asked(demo: Demo, rows: slice, *, binary: bool) -> triton.InferInput:
    """These held-out rows as one request's tensor."""
    some = demo.rows[rows]
    tensor = triton.InferInput("pixels", list(some.shape), "FP32")
    tensor.set_data_from_numpy(some, binary_data=binary)
    return tensor


def test_the_gateway_looks_like_one_triton(client: triton.InferenceServerClient) -> None:
    """Live, ready, metadata, configuration, statistics and index come through Triton's own client."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "2")
    metadata = client.get_model_metadata("digits")
    assert metadata["versions"] == ["1", "2"]
    assert metadata["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 64]}]
    assert client.get_model_config("digits", "2")["name"] == "digits"
    assert client.get_inference_statistics("digits", "1")["model_stats"][0]["version"] == "1"
    index = {(row["name"], row["version"]): row["state"] for row in client.get_model_repository_index()}
    assert index == {("digits", "1"): "READY", ("digits", "2"): "READY"}


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_predictions_are_correct(
    demo: Demo, client: triton.InferenceServerClient, version: str, *, binary: bool
) -> None:
    """Both versions get at least nine in ten held-out rows right, asked for and answered in either form."""
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("digit", "scores")]
    right = 0
    for start in range(0, 300, 50):
        rows = slice(start, start + 50)
        answer = client.infer("digits", [asked(demo, rows, binary=binary)], model_version=version, outputs=outputs)
        assert answer.get_response()["model_version"] == version
        assert answer.as_numpy("scores").shape == (50, 10)
        right += int(np.sum(answer.as_numpy("digit").ravel() == demo.labels[rows]))
    assert right >= 270


def test_an_unknown_version_is_told_in_a_sentence(demo: Demo, client: triton.InferenceServerClient) -> None:
    """404, with what there is."""
    with pytest.raises(InferenceServerException, match="has no version '9' here: it has 1, 2"):
        client.infer("digits", [asked(demo, slice(0, 1), binary=True)], model_version="9")


def test_every_unit_gets_the_version_that_choose_says(demo: Demo, control: ControlClient, body: bytes) -> None:
    """The policy that the API shows, fed to router.choose, predicts every single answer, and the headers agree."""
    policy = split(control, {2: 300_000})
    with httpx.Client(base_url=demo.http_url) as http:
        for number in range(400):
            unit = f"person-{number}"
            answer = http.post("/v2/models/digits/infer", content=body, headers={"sluice-unit": unit})
            choice = choose(policy, Facts(unit.encode()))
            assert answer.json()["model_version"] == str(choice.version) == answer.headers["sluice-version"]
            assert answer.headers["sluice-reason"] == choice.reason


def test_a_request_id_tells_what_happened(demo: Demo, control: ControlClient, body: bytes) -> None:
    """The id in an answer's header decodes to its version, epoch and reason, and one that was touched is refused."""
    split(control, {2: 500_000})
    answer = httpx.post(f"{demo.http_url}/v2/models/digits/infer", content=body, headers={"sluice-unit": "me"})
    text = answer.headers["sluice-request-id"]
    told = httpx.get(f"{demo.control_url}/api/v1/requests/{text}").json()
    assert told["model"] == "digits"
    assert told["answered"] == told["assigned"] == int(answer.headers["sluice-version"])
    assert told["epoch"] == int(answer.headers["sluice-epoch"])
    touched = text[:20] + ("A" if text[20] != "A" else "B") + text[21:]
    assert httpx.get(f"{demo.control_url}/api/v1/requests/{touched}").status_code in {404, 422}


def test_a_change_of_the_split_fails_no_request(demo: Demo, control: ControlClient, body: bytes) -> None:
    """Half and half within a second of the command, and none at all after a share of 0, while a client hammers."""
    split(control, {2: 100_000})
    with Hammer(demo.http_place, "digits", body) as hammer:
        time.sleep(0.5)
        began = time.monotonic()
        demo.installation.run("traffic", "set", "digits", "2=50%", "--url", demo.control_url)
        policy = policy_from_dict(control.policy("digits")["policy"])
        assert policy.shares() == {1: 500_000, 2: 500_000}
        changed = time.monotonic()
        until(lambda: len(hammer.since(changed)) > 1_000, "a thousand answers")
        split(control, {2: 0})
        nothing = time.monotonic()
        until(lambda: len(hammer.since(nothing)) > 1_000, "a thousand answers more")
    assert hammer.failures == []
    halves = [answer for answer in hammer.since(changed) if answer.sent_s < nothing - 0.5]
    assert all(answer.version == choose(policy, Facts(answer.unit.encode())).version for answer in halves)
    share = sum(answer.version == 2 for answer in halves) / len(halves)
    assert abs(share - 0.5) < 4 * (0.25 / len(halves)) ** 0.5  # four standard deviations of the binomial
    assert {answer.version for answer in hammer.since(nothing)} == {1}
    assert changed > began


def test_the_store_dies_and_comes_back_under_traffic(demo: Demo, control: ControlClient, body: bytes) -> None:
    """Valkey is killed: no prediction fails, and once it is back the policy can be changed again."""
    split(control, {2: 400_000})
    (valkey,) = demo.installation.processes("valkey-server")
    with Hammer(demo.http_place, "digits", body) as hammer:
        time.sleep(0.3)
        valkey.kill()
        killed = time.monotonic()
        until(lambda: control.status()["store"]["reachable"], "the store")
        before = policy_from_dict(control.policy("digits")["policy"])
        assert before.shares()[2] == 400_000
        until(lambda: all(gateway["current"] for gateway in control.status()["gateways"]), "the gateways")
        split(control, {2: 200_000})
        changed = time.monotonic()
        until(lambda: len(hammer.since(changed)) > 500, "answers under the new policy")
    assert hammer.failures == []
    assert {answer.version for answer in hammer.since(killed) if answer.sent_s < changed} == {1, 2}
    assert len({answer.epoch for answer in hammer.since(changed)}) == 1


def test_a_killed_worker_is_replaced_while_the_other_serves(demo: Demo, control: ControlClient, body: bytes) -> None:
    """After SIGKILL of one gateway worker new connections are served at once, and soon there are two workers again."""
    before = {lease["id"] for lease in control.status()["gateways"]}
    assert len(before) == 2
    demo.installation.processes("serving.gateway")[0].kill()

    def replaced() -> bool:
        assert httpx.post(f"{demo.http_url}/v2/models/digits/infer", content=body, timeout=10).status_code == 200
        now = {lease["id"] for lease in control.status()["gateways"] if lease["current"]}
        return len(now) == 2 and len(now & before) == 1

    until(replaced, "two workers, one of them new")


def test_a_killed_triton_is_replaced(demo: Demo, control: ControlClient, client: triton.InferenceServerClient) -> None:
    """SIGKILL of a version's tritonserver: its replica goes with it, a new one comes, and answers on the same path."""
    (server,) = [
        one for one in demo.installation.processes("bin/tritonserver") if "digits-2" in " ".join(one.cmdline())
    ]
    server.kill()

    def again() -> bool:
        try:
            answer = client.infer("digits", [asked(demo, slice(0, 1), binary=True)], model_version="2")
        except InferenceServerException:
            return False
        return bool(answer.get_response()["model_version"] == "2")

    until(lambda: not _ready(control, 2), "the lease to lapse", within_s=20)
    until(again, "the new replica")


def _ready(control: ControlClient, version: int) -> int:
    (model,) = control.status()["models"]
    return next(one["ready"] for one in model["versions"] if one["version"] == version)
