"""What the chart makes, for each values file and a matrix of options: linted, valid, as it was reviewed, and whole."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import helm_python as helm
import pytest

from tests.helm.chart import (
    CASES,
    CHART,
    FILES,
    GOLDEN,
    GOLDENS,
    LEAST,
    NAMESPACE,
    Object,
    container,
    golden_file,
    golden_text,
    merged,
    objects,
    objects_in,
    of_kind,
    pods,
    ray_pods,
    rendered,
    room,
    taken,
    the_service,
    values_of,
)
from tests.helm.schema_check import KUBERNETES, custom_kinds, mistakes

pytestmark = pytest.mark.helm
_WARNING = 2


@pytest.mark.parametrize("case", CASES)
def test_it_lints(case: str) -> None:
    """Helm's own linter has nothing to warn of."""
    report = helm.lint(CHART, values_of(case), namespace=NAMESPACE, kube_version=f"v{KUBERNETES[0]}.0")
    assert report["errors"] == []
    assert [one for one in report["messages"] if one["severity"] >= _WARNING] == []


@pytest.mark.parametrize("case", CASES)
def test_every_object_is_valid(case: str) -> None:
    """The oldest Kubernetes that the chart takes and the newest know every field, and so do the custom resources."""
    assert [mistake for one in objects(case) for version in KUBERNETES for mistake in mistakes(one, version)] == []


def test_the_matrix_renders_every_kind() -> None:
    """Each custom resource whose schema is here, and each kind that a template can make, comes in some case."""
    kinds = {(one["apiVersion"], one["kind"]) for case in CASES for one in objects(case)}
    assert set(custom_kinds()) <= kinds
    assert len(kinds) == len(custom_kinds()) + 9


@pytest.mark.parametrize("breaking", ["containers", "spec", "rayClusterConfig"])
def test_a_field_that_nobody_knows(breaking: str) -> None:
    """The check would see it: in a pod, in the RayService, and in its cluster."""
    service = copy.deepcopy(the_service("least"))
    cluster = service["spec"]["rayClusterConfig"]
    place: dict[str, Any] = {
        "containers": cluster["headGroupSpec"]["template"]["spec"]["containers"][0],
        "spec": service["spec"],
        "rayClusterConfig": cluster,
    }[breaking]
    place["nonsense"] = 1
    (found,) = mistakes(service, KUBERNETES[-1])
    assert "nonsense" in found


@pytest.mark.parametrize("case", GOLDENS)
def test_it_is_what_was_reviewed(case: str) -> None:
    """A change that was not meant is seen; after one that was, `python -m tests.helm` writes the files anew."""
    assert golden_text(case) == golden_file(case).read_text()


def test_no_golden_file_is_left_over() -> None:
    """Each belongs to a case."""
    assert {file.stem for file in GOLDEN.iterdir()} == set(GOLDENS)


def test_each_values_file_is_a_case() -> None:
    """None goes unchecked."""
    assert {file.stem.removeprefix("values-") for file in CHART.glob("values-*.yaml")} == set(FILES)


@pytest.mark.parametrize("case", CASES)
def test_everything_that_is_named_is_there(case: str) -> None:
    """Claims, ConfigMaps and service accounts: made by the chart, or named in the values by whoever made them."""
    made = {(one["kind"], one["metadata"]["name"]) for one in objects(case)}
    given = set(_texts(values_of(case))) | {"default"}
    for pod in pods(case).values():
        for kind, name in _named(pod["spec"]):
            assert (kind, name) in made or name in given, (kind, name)


def _named(spec: Object) -> Iterator[tuple[str, str]]:
    yield "ServiceAccount", spec["serviceAccountName"]
    for volume in spec["volumes"]:
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("case", CASES)
def test_secrets_are_only_named(case: str) -> None:
    """The chart makes none, and no variable of a pod holds one."""
    assert of_kind(case, "Secret") == {}
    for pod in pods(case).values():
        for variable in container(pod).get("env", []):
            if any(word in variable["name"] for word in ("PASSWORD", "TOKEN", "KEY")):
                assert variable["valueFrom"]["secretKeyRef"]["name"]


@pytest.mark.parametrize("case", CASES)
def test_store_and_key_are_known_in_one_room(case: str) -> None:
    """Only the control pod, where Serve builds the application, is told the store's address and has the key."""
    for pod in ray_pods(case).values():
        names = {variable["name"] for variable in container(pod)["env"]}
        mounts = {mount["name"] for mount in container(pod)["volumeMounts"]}
        assert ("SLUICE_REDIS__URL" in names) == (room(pod) == "control")
        assert "admin-key" not in mounts or room(pod) == "control"


@pytest.mark.parametrize("case", CASES)
def test_pods_have_no_more_than_they_need(case: str) -> None:
    """No root, no way to become it, nothing to write to but volumes, and no token of Kubernetes."""
    autoscales = values_of(case).get("ray", {}).get("autoscaling", {}).get("enabled", False)
    for pod in pods(case).values():
        spec, security = pod["spec"], container(pod)["securityContext"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert spec["automountServiceAccountToken"] == (autoscales and room(pod) == "head")


@pytest.mark.parametrize("case", CASES)
def test_pods_say_what_they_take(case: str) -> None:
    """Requests, a limit of memory, a bound for every volume of the node's own, and a place to write."""
    for pod in pods(case).values():
        resources = container(pod)["resources"]
        assert {"cpu", "memory"} <= resources["requests"].keys()
        assert "memory" in resources["limits"]
        for volume in pod["spec"]["volumes"]:
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"]
    for pod in ray_pods(case).values():
        mounts = {mount["mountPath"]: mount["name"] for mount in container(pod)["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"  # noqa: S108 - the pod's
        assert "/tmp" in mounts  # noqa: S108 - the pod's


@pytest.mark.parametrize("case", CASES)
def test_selectors_find_what_they_are_for(case: str) -> None:
    """Every Service, budget and policy selects the pods of one room, and a Service's ports are ports of theirs."""
    rooms = {name: room(pod) for name, pod in pods(case).items()}
    for name, service in of_kind(case, "Service").items():
        found = taken(case, {"matchLabels": service["spec"]["selector"]})
        assert {rooms[group] for group in found} == {name.rpartition("-")[2]}
        for group in found:
            ports = {port["name"] for port in container(pods(case)[group])["ports"]}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for budget in of_kind(case, "PodDisruptionBudget").values():
        assert len(taken(case, budget["spec"]["selector"])) == 1
    for policy in of_kind(case, "NetworkPolicy").values():
        assert taken(case, policy["spec"]["podSelector"])
    for pod in pods(case).values():
        for constraint in pod["spec"].get("topologySpreadConstraints", []):
            assert len(taken(case, constraint["labelSelector"])) == 1


def test_a_pool_may_be_nothing() -> None:
    """0 and false are said and meant, where the defaults say otherwise."""
    values = merged(LEAST, {"pools": {"cpu": {"replicas": 0, "cpus": 0, "budget": {"enabled": False}}}})
    made = objects_in(rendered(values))
    assert [one["metadata"]["name"] for one in made if one["kind"] == "PodDisruptionBudget"] == [
        "sluice-drift", "sluice-gateway",
    ]  # fmt: skip
    (service,) = (one for one in made if one["kind"] == "RayService")
    pool = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][-1]
    assert (pool["replicas"], pool["rayStartParams"]["num-cpus"]) == (0, "0")


@pytest.mark.parametrize("name", ["sluice", "blue", "a-release-with-a-name-that-is-as-long-as-it-may-be-53-x"])
def test_releases_stand_beside_each_other(name: str) -> None:
    """Names begin with the release's, and are short enough for what KubeRay appends to them."""
    made = objects_in(rendered(values_of("least"), name))
    for one in made:
        assert one["metadata"]["name"].startswith(name[:35].rstrip("-"))
        assert len(one["metadata"]["name"]) <= 52
    (service,) = (one for one in made if one["kind"] == "RayService")
    assert len(service["metadata"]["name"]) <= 41


def test_notes_say_what_is_next() -> None:
    """After an installation: the Secret to ask with, the Service to ask, and what is not as it should be."""
    notes = rendered(values_of("least"))["sluice/templates/NOTES.txt"]
    assert "get secret sluice-admin-key" in notes
    assert "port-forward svc/sluice-control 8080" in notes
    assert "WARNING: keys and requests travel in the clear" in notes
    assert "WARNING" not in rendered(values_of("prod"))["sluice/templates/NOTES.txt"]
    assert "WARNING: without NetworkPolicies" in rendered(values_of("no policies"))["sluice/templates/NOTES.txt"]
