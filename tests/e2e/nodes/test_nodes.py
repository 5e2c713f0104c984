"""The chart's pods on several nodes, under load, and nodes that are lost.

Six nodes of Ray and a Valkey, started by the chart's own commands: a head, two gateways, the control pod, two nodes of
pools. Each has a network of its own, so a node that is lost is lost as on a cluster; `containers` says how.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import psutil
import pytest

from serving.settings import Settings
from tests.e2e.load import MODEL, Load
from tests.e2e.nodes.balancer import Balancer
from tests.e2e.nodes.cluster import WITHIN_S, Cluster, cluster
from tests.e2e.nodes.containers import missing
from tests.e2e.nodes.operator import GATEWAYS, HTTP_PORT, VALUES, Operator, judged_with_fallbacks
from tests.e2e.nodes.pods import HEAD, VALKEY, ports_of
from tests.e2e.numbered import ROW
from tests.e2e.system import until

_WHY_NOT = missing()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nodes,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(_WHY_NOT), reason=f"nodes of their own cannot be made: {_WHY_NOT}"),
]

TRITON = Settings().triton.port_range
CANARY = {"steps": ["10%", "50%", "100%"], "needs": "minima", "hold": "2s", "min_requests": 5, "watch": "1s"}
HALF = {2: 500_000}
RAYS_FIGURES = {44_217, 44_227}
"""The head's autoscaler and dashboard tell theirs there, and no policy lets anybody through."""
_ROOMS = {"gateway": "-m serving.gateway", "control": "ServeReplica:sluice:control", "cpu": "tritonserver"}
"""What runs in a group's pods and in no others."""


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Up for all of these tests."""
    with cluster(tmp_path_factory.mktemp("nodes"), VALUES) as up:
        operator = Operator(up)
        for version in (1, 2):
            operator.bring(version)
        operator.begin()
        yield operator


@pytest.fixture(autouse=True)
def _as_before(room: Operator) -> None:
    """Each test finds all pods, version 1 alone, and two servers of both versions, each on a node of its own."""
    for group, count in {"gateway": GATEWAYS, "control": 1, "cpu": 2}.items():
        for _ in range(count - len(room.cluster.of(group))):
            room.cluster.start_worker(group)
    until(lambda: all(map(room.cluster.is_ready, room.cluster.pods)), "all pods", WITHIN_S)
    room.restore()


def loads(room: Operator) -> tuple[Load, ...]:
    """One at each gateway."""
    return tuple(room.load(pod) for pod in room.cluster.of("gateway"))


def answers(load: Load, version: int, since: int) -> bool:
    """Whether the version has answered at this epoch or later."""
    return any(one.version == version for one in load.seen(staff=False, since=since))


def sure(load: Load, count: int = 100) -> None:
    """Waits for that many more answers."""
    wanted = len(load.notes) + count
    until(lambda: len(load.notes) >= wanted, "more answers")


def infer(cluster: Cluster, pod: str, headers: dict[str, str]) -> httpx.Response:
    """One prediction by one gateway."""
    url = f"http://{cluster.address(pod)}:{HTTP_PORT}/v2/models/{MODEL}/infer"
    return cluster.client.post(url, json=ROW, headers=headers, timeout=10)


def words(process: psutil.Process) -> str:
    """Its command line; empty where it has just ended."""
    try:
        return f"{process.name()} {' '.join(process.cmdline())}"
    except psutil.NoSuchProcess:
        return ""


def user_of(process: psutil.Process) -> int | None:
    """Whose it is; None where it has just ended."""
    try:
        return int(process.uids().real)
    except psutil.NoSuchProcess:
        return None


def test_the_charts_commands_bring_it_up(room: Operator) -> None:
    """Every probe is answered, everything runs where it is to run and as whom it is to, and each gateway predicts."""
    up = room.cluster
    for pod in up.pods:
        if pod in up.of(VALKEY):
            continue
        assert all(up.probe(pod, probe) for probe in ("startupProbe", "livenessProbe", "readinessProbe")), pod
        assert {user_of(process) for process in up.pods[pod].processes()} <= {up.pods[pod].description.user, None}
    for group in (HEAD, *_ROOMS):
        for pod in up.of(group):
            there = " ".join(map(words, up.pods[pod].processes()))
            assert {of for of, said in _ROOMS.items() if said in there} == ({group} if group in _ROOMS else set()), pod
    status = room.seen("/status")
    assert {one["host"] for one in status["gateways"]} == {up.address(pod) for pod in up.of("gateway")}
    assert room.hosts(1) == {up.address(pod) for pod in up.of("cpu")}
    for pod in up.of("gateway"):
        assert infer(up, pod, {}).status_code == httpx.codes.UNAUTHORIZED
        answer = infer(up, pod, {"Authorization": up.shown["Authorization"]})
        assert (answer.status_code, answer.headers["sluice-version"]) == (200, "1"), answer.text


def test_what_listens_is_what_the_policies_let_through(room: Operator) -> None:
    """Off loopback nobody has a port of which the NetworkPolicies do not know, beside those that nobody is to reach."""
    up = room.cluster
    for group, of in up.manifests.groups().items():
        given = {name: int(port) for name, port in of["rayStartParams"].items() if name.endswith("-port")}
        workers = range(given["min-worker-port"], given["max-worker-port"] + 1)
        named = {*given.values(), *ports_of(of["template"]).values(), *RAYS_FIGURES}
        for pod in up.of(group):
            there = {port for port in up.pods[pod].listens() if port not in workers and port not in TRITON}
            replicas = sum("ServeReplica" in words(process) for process in up.pods[pod].processes())
            assert len(there - named) <= replicas, (pod, there - named)  # each has one for calls that nobody makes


def test_a_rollout_and_a_flip_hold_on_all_nodes(room: Operator) -> None:
    """A canary walks to its end and a blue-green flip goes there and back: at both gateways every answer is right."""
    one, other = loads(room)
    with one, other:
        canary = room.start({"candidate": 2, "canary": CANARY})
        room.comes_to(canary, "promoted")
        colours = {"bake": "1s", "approval": True, "keep_warm": "1h"}
        flip = room.start({"candidate": 1, "blue_green": colours})
        room.comes_to(flip, "waiting for approval")
        flipped = room.moved(flip, "approve")["epoch"]
        until(lambda: answers(one, 1, flipped) and answers(other, 1, flipped), "answers of the colour that came")
        back = room.moved(flip, "rollback")["epoch"]
        until(lambda: answers(one, 2, back) and answers(other, 2, back), "answers of the colour that was")
    ledger = list(room.ledger())
    for load in (one, other):
        assert set(load.judged(ledger).by_version) == {1, 2}
        assert {seen.version for seen in load.seen(staff=False, since=flipped, before=back)} == {1}
        assert {seen.version for seen in load.seen(staff=False, since=back)} == {2}
    assert room.events(canary) == ["started", *["entered"] * 4, "promoted"]


@pytest.mark.parametrize("silently", [False, True], ids=["killed", "vanished"])
def test_a_node_of_pools_is_lost(room: Operator, *, silently: bool) -> None:
    """With a healthy server of each version left on the other node, no request fails, and both come back to two."""
    room.split(HALF)
    one, other = loads(room)
    with one, other:
        sure(one)
        lost = room.cluster.of("cpu")[0]
        gone = room.cluster.address(lost)
        room.cluster.lose(lost, silently=silently)
        room.cluster.start_worker("cpu")
        until(lambda: gone not in room.hosts(1) | room.hosts(2), "the end of the lost node's leases")
        for version in (1, 2):
            room.await_servers(version)
        sure(one)
        sure(other)
    ledger = list(room.ledger())
    for load in (one, other):
        assert set(judged_with_fallbacks(load, ledger).by_version) == {1, 2}


def test_a_gateways_node_is_lost(room: Operator) -> None:
    """The other one goes on and takes changes; a new one answers nothing before it runs what the other runs."""
    lost, left = room.cluster.of("gateway")
    with room.load(left) as load:
        sure(load)
        room.cluster.lose(lost)
        split = room.split(HALF)
        until(lambda: answers(load, 2, split["epoch"]), "answers by the new split")
        new = room.cluster.start_worker("gateway")
        until(lambda: room.cluster.is_ready(new), "the new gateway", WITHIN_S)
        answer = infer(room.cluster, new, {"Authorization": room.cluster.shown["Authorization"]})
        assert int(answer.headers["sluice-epoch"]) >= split["epoch"]
        with room.load(new) as newer:
            sure(newer)
        sure(load)
    ledger = list(room.ledger())
    assert set(load.judged(ledger).by_version) == {1, 2}
    assert set(newer.judged(ledger).by_version) == {1, 2}


def test_a_gateways_pod_is_deleted(room: Operator) -> None:
    """Its hook drains it: of those who come by the Service nobody notices, and another takes its place there."""
    leaves, stays = room.cluster.of("gateway")
    both = tuple(map(room.cluster.address, (leaves, stays)))
    with Balancer(both, HTTP_PORT) as service, room.load_at(service.host, service.port) as load:
        sure(load)
        service.ready = both[1:]  # a pod that is ending gets no new connections
        room.cluster.end_gently(leaves)
        new = room.cluster.start_worker("gateway")
        until(lambda: room.cluster.is_ready(new), "the new gateway", WITHIN_S)
        service.ready = (both[1], room.cluster.address(new))
        sure(load)
    load.judged(room.ledger())


def test_the_conductors_node_is_lost_in_the_middle_of_a_rollout(room: Operator) -> None:
    """The gateways go on with what they run; the next conductor takes the rollout up where it was, and ends it."""
    one, other = loads(room)
    with one, other:
        rollout = room.start({"candidate": 2, "canary": CANARY})
        room.comes_to(rollout, "running")
        [lost] = room.cluster.of("control")
        room.cluster.lose(lost)
        sure(one)
        sure(other)
        room.cluster.start_worker("control")
        room.comes_to(rollout, "promoted")
    ledger = list(room.ledger())
    for load in (one, other):
        load.judged(ledger)
    events = [one for one in room.events(rollout) if one != "corrected"]  # by the time that nobody saw
    assert events == ["started", *["entered"] * 4, "promoted"]
    policy = room.seen(f"/models/{MODEL}/policy")["policy"]
    assert (policy["stable"], policy["arms"]) == (2, [])


def test_the_heads_node_is_lost(room: Operator) -> None:
    """Predictions and changes of the split go on without it; with its memory the next one finds all as it was."""
    pids = {pod: workers(room, pod) for pod in room.cluster.of("gateway")}
    one, other = loads(room)
    with one, other:
        [lost] = room.cluster.of(HEAD)
        room.cluster.lose(lost)
        split = room.split(HALF)
        until(lambda: answers(one, 2, split["epoch"]) and answers(other, 2, split["epoch"]), "the new split")
        head = room.cluster.start_head()
        until(lambda: room.cluster.is_ready(head), "the new head", WITHIN_S)
        until(room.cluster.is_running, "the application", WITHIN_S)
        sure(one)
        sure(other)
    ledger = list(room.ledger())
    for load in (one, other):
        assert set(load.judged(ledger).by_version) == {1, 2}
    assert {pod: workers(room, pod) for pod in room.cluster.of("gateway")} == pids
    room.scale(2, 1)  # Ray Serve does what it is told again
    room.scale(2, 2)


def workers(room: Operator, pod: str) -> set[int]:
    """The processes that answer in a gateway's pod."""
    return {one.pid for one in room.cluster.pods[pod].processes() if _ROOMS["gateway"] in words(one)}
