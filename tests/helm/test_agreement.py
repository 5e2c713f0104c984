"""The chart and the code it runs: ports, probes, names, variables, times. Each test reads both."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest
import yaml
from opentelemetry.sdk import environment_variables
from typer.main import get_command

from drift import __main__ as sidecar
from serving.access.roles import Needs
from serving.access.table import CONTROL, PREDICTION
from serving.cli import app
from serving.control import valkey
from serving.gateway.paths import target_of
from serving.letting_in import token_rules
from serving.metrics.alerts import groups as groups_of_rules
from serving.metrics.dashboards import DASHBOARDS
from serving.settings import Settings, load_settings
from serving.triton.arguments import PoolArguments
from tests.helm.chart import (
    CASES,
    CHART,
    FILES,
    NAME,
    ROOT,
    container,
    groups,
    objects,
    of_kind,
    pods,
    ray_pods,
    room,
    selects,
    settings_text,
    taken,
    the_service,
    values_of,
)
from tests.test_repository import PROJECT, pins

pytestmark = pytest.mark.helm
DEFAULTS: Final = Settings()
ADDRESS: Final = "redis://:secret@redis.example.com:6379/0"
RAY_LEAVES_S: Final = 30
"""How long Ray takes its leave of a node."""


def ray() -> Any:  # noqa: ANN401 (a module)
    """What is read of Ray, which reads its own environment when it is imported: not before a test asks."""
    return import_module("tests.helm.of_ray")


def serve_config(case: str) -> dict[str, Any]:
    """What Ray Serve is told to run."""
    read: dict[str, Any] = yaml.safe_load(the_service(case)["spec"]["serveConfigV2"])
    return read


@functools.cache
def settings_of(case: str) -> Settings:
    """The settings as the control pod reads them: its file, and its variables and no others."""
    given = container(pods(case)["control"])["env"]
    variables = {one["name"]: one.get("value", ADDRESS) for one in given if one["name"].startswith("SLUICE_")}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sluice.yaml"
        file.write_text(settings_text(case))
        if "redis-ca" in str(pods(case)["control"]):
            variables["SLUICE_REDIS__URL"] = ADDRESS.replace("redis://", "rediss://")
        with patch.dict(os.environ, {**variables, "SLUICE_CONFIG": str(file)}, clear=True):
            return load_settings()


@pytest.mark.parametrize("case", CASES)
def test_the_settings_can_be_used(case: str) -> None:
    """The code takes the file and the variables without a complaint, and they say what the chart says elsewhere."""
    settings = settings_of(case)
    assert settings.access.required
    assert settings.access.admin_key_file is not None or token_rules(settings) is not None
    assert settings.redis.url is not None
    assert settings.triton.host == "node"
    mounts = {mount["mountPath"] for mount in container(pods(case)["control"])["volumeMounts"]}
    named = (settings.tls.certificate, settings.tls.key, settings.redis.ca_file, settings.access.admin_key_file)
    for file in (*filter(None, named), settings.state_dir / "x"):
        assert str(file.parent) in mounts
    assert settings.registry.artifacts is not None
    assert "://" in settings.registry.artifacts or settings.registry.artifacts in mounts


@pytest.mark.parametrize("case", CASES)
def test_variables_are_the_codes(case: str) -> None:
    """No variable that a pod gets would be taken for a setting with a typing error, and none comes from Services."""
    for pod in pods(case).values():
        assert pod["spec"]["enableServiceLinks"] is False
        for variable in container(pod).get("env", []):
            name = variable["name"]
            assert not name.startswith("SLUICE_") or name in {"SLUICE_CONFIG", "SLUICE_CACHE_DIR", "SLUICE_REDIS__URL"}
    for pod in ray_pods(case).values():
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container(pod)["env"]


@pytest.mark.parametrize("case", CASES)
def test_ports_are_the_codes(case: str) -> None:
    """Where the code listens by default is where pods, Services, routes and policies say it does."""
    settings = settings_of(case)
    assert settings.ports.items() <= DEFAULTS.ports.items()
    (http, grpc, control, metrics, drift) = DEFAULTS.ports.values()
    named = {
        port["name"]: port["containerPort"]
        for name in ("gateway", "control")
        for port in container(pods(case)[name])["ports"]
    }
    assert (named["http"], named["grpc"], named["control"], named["metrics"]) == (http, grpc, control, metrics)
    for service in of_kind(case, "Service").values():
        for port in service["spec"]["ports"]:
            assert port["port"] == {**named, "redis": 6379, "drift": drift}[port["targetPort"]]
    for route, port in (("HTTPRoute", http), ("GRPCRoute", grpc)):
        for one in of_kind(case, route).values():
            assert one["spec"]["rules"][0]["backendRefs"][0]["port"] == port


@pytest.mark.parametrize("case", CASES)
def test_nobody_else_has_our_ports(case: str) -> None:
    """Ray's ports are chosen, and are neither ours nor Triton's; KubeRay would put Ray's metrics on 8080."""
    pool = DEFAULTS.triton.port_range
    for group in groups(case).values():
        given: dict[str, str] = group["rayStartParams"]
        assert given.keys() <= ray().START_OPTIONS
        workers = range(int(given["min-worker-port"]), int(given["max-worker-port"]) + 1)
        ports = {int(value) for name, value in given.items() if name.endswith("-port")} | {6379, 8265, 10001}
        assert "metrics-export-port" in given
        for port in DEFAULTS.ports.values():
            assert port not in ports
            assert port not in workers
        assert not any(port in pool for port in ports)
        assert pool.low not in workers
        assert pool.high not in workers


def open_to(case: str, group: str, port: int, caller: str) -> bool:
    """Whether the policies let one group of pods reach a port of another."""
    labels = pods(case)[group]["metadata"]["labels"]
    there = [
        one["spec"] for one in of_kind(case, "NetworkPolicy").values() if selects(one["spec"]["podSelector"], labels)
    ]
    rules = [rule for spec in there for rule in spec.get("ingress", []) if _has(rule["ports"], port)]
    return any(_lets_in(case, rule, caller) for rule in rules)


def _has(ports: list[Mapping[str, Any]], port: int) -> bool:
    return any(one["port"] <= port <= one.get("endPort", one["port"]) for one in ports)


def _lets_in(case: str, rule: Mapping[str, Any], caller: str) -> bool:
    peers = [peer["podSelector"] for peer in rule.get("from", []) if peer.keys() == {"podSelector"}]
    return "from" not in rule or any(caller in taken(case, peer) for peer in peers)


@pytest.mark.parametrize("case", ["least", *FILES, "several pools"])
def test_policies_let_through_what_must_go_through(case: str) -> None:
    """Gateways and pools reach Triton, everybody of Ray's reaches Ray; the head and the control pod reach no Triton."""
    rooms = {name: room(pod) for name, pod in pods(case).items()}
    triton = DEFAULTS.triton.port_range
    ray_ports = [int(v) for k, v in groups(case)["head"]["rayStartParams"].items() if k.endswith("-port")]
    for group in ray_pods(case):
        for caller in ray_pods(case):
            assert all(open_to(case, group, port, caller) for port in (*ray_ports, 6379, 8265))
        for port in (triton.low, triton.high):
            may = {caller for caller in rooms if open_to(case, group, port, caller)}
            assert {rooms[caller] for caller in may} == ({"gateway", "pool"} if rooms[group] == "pool" else set())
    for name, which in rooms.items():
        if which == "valkey":
            assert {rooms[caller] for caller in rooms if open_to(case, name, 6379, caller)} == {
                "head", "gateway", "control", "pool", "drift",
            }  # fmt: skip
        if which == "gateway":
            assert open_to(case, name, 8000, "sluice-drift")
        if which == "drift":
            assert not any(open_to(case, name, 9465, caller) for caller in rooms)
    assert of_kind(case, "NetworkPolicy")


@pytest.mark.parametrize("case", CASES)
def test_probes_ask_what_answers(case: str) -> None:
    """Each path is one that its port answers without a key, and Serve's proxy, which is not there, is asked nowhere."""
    for pod in ray_pods(case).values():
        one = container(pod)
        ports = {port["name"]: port["containerPort"] for port in one["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = one[probe]["httpGet"]
            assert asked["port"] in ports
            assert _answers(asked["port"], asked["path"]), asked
        assert "serve" not in ports  # KubeRay would ask it for /-/healthz
    assert serve_config(case)["proxy_location"] == "Disabled"
    ready = container(pods(case)["gateway"])["readinessProbe"]["httpGet"]
    has_tls = "tls" in {volume["name"] for volume in pods(case)["gateway"]["spec"]["volumes"]}
    assert (ready["path"], ready["scheme"]) == ("/v2/health/ready", "HTTPS" if has_tls else "HTTP")


def _answers(port: str, path: str) -> bool:
    asked: Mapping[str, Callable[[], bool]] = {
        "http": lambda: PREDICTION[target_of(path.encode()).operation] is Needs.NOTHING,
        "control": lambda: CONTROL[f"GET {path}"] is Needs.NOTHING,
        "ray-agent": lambda: path in ray().AGENT_PATHS,
        "dashboard": lambda: ray().head_answers(path),
    }
    return asked[port]()


@pytest.mark.parametrize("case", CASES)
def test_the_sidecar_is_told_what_it_understands(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own reader takes the file and the variables; it goes by the settings that gateways sample by."""
    settings = settings_of(case).drift
    if not settings.enabled:
        assert not of_kind(case, "Deployment")
        assert "sluice-drift" not in of_kind(case, "ConfigMap")
        return
    name = "gate-keeper" if case == "names" else NAME
    pod = pods(case)[f"{name}-drift"]
    one = container(pod)
    [mount] = (m for m in one["volumeMounts"] if m["name"] == "settings")
    *program, file = one["command"]
    assert (program, file) == (["python", "-m", "drift"], f"{mount['mountPath']}/sidecar.json")
    (tmp_path / "sidecar.json").write_text(of_kind(case, "ConfigMap")[f"{name}-drift"]["data"]["sidecar.json"])
    variables = {v["name"]: v.get("value", ADDRESS) for v in one["env"] if v["name"].startswith("SLUICE_")}
    assert list(variables) == [sidecar.REDIS_URL]
    told = sidecar._read(tmp_path / "sidecar.json", variables)
    ours, theirs = (said.model_dump(exclude={*_CONTROL_ROOMS, "sidecar"}) for said in (told.drift, settings))
    assert ours == theirs
    assert told.namespace == settings_of(case).redis.namespace
    [port] = one["ports"]
    assert (told.drift.sidecar.metrics_host, told.drift.sidecar.metrics_port) == ("0.0.0.0", port["containerPort"])  # noqa: S104
    assert all(one[probe]["httpGet"]["port"] == port["name"] for probe in ("startupProbe", "livenessProbe"))
    mounts = {m["mountPath"] for m in one["volumeMounts"]}
    where = told.drift.sidecar
    files = (
        told.redis_ca_file,
        where.gateway_key_file,
        where.gateway_ca_file,
        *(e.key_file for e in settings.encoders),
    )
    assert {str(Path(file).parent) for file in files if file is not None} <= mounts
    assert (told.redis_ca_file is not None) == ("ssl_ca_certs" in told.store_url)
    monkeypatch.setattr(sidecar, "key_in", lambda _: "a key")
    gateway = sidecar.servers_of(told)[""]
    has_tls = bool(settings_of(case).tls.certificate)
    assert gateway.is_ours
    assert gateway.url == f"http{'s' if has_tls else ''}://{name}-gateway.ml.svc:8000"


_CONTROL_ROOMS: Final = ("webhooks", "webhook_pauses", "rollback_secret_file")
"""Of the section of drift: what a sidecar has nothing to do with."""


def test_the_sidecar_gets_to_the_store_and_the_gateways_and_no_further() -> None:
    """It reads what clients sent: whatever it runs into, that leaves by no other way."""
    for case in ("least", "drift with encoders"):
        [policy] = (one["spec"] for name, one in of_kind(case, "NetworkPolicy").items() if name.endswith("-drift"))
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        names, gateways, *rest = policy["egress"]
        assert {port["port"] for port in names["ports"]} == {53}
        assert taken(case, gateways["to"][0]["podSelector"]) == {"gateway"}
        if case == "least":
            [store] = rest
            assert {room(pods(case)[one]) for one in taken(case, store["to"][0]["podSelector"])} == {"valkey"}
        else:
            assert [one["to"][0]["ipBlock"]["cidr"] for one in rest] == ["10.0.0.9/32", "10.0.1.0/24"]


@pytest.mark.parametrize("case", CASES)
def test_variables_of_the_exporter_are_the_gateways(case: str) -> None:
    """Its keeper, which inherits them, is the one process that sends spans; secrets among them are only named."""
    given = values_of(case).get("tracing", {})
    for pod in pods(case).values():
        one = container(pod)
        variables = {v["name"]: v["value"] for v in one.get("env", []) if v["name"].startswith("OTEL_")}
        secrets = [source["secretRef"]["name"] for source in one.get("envFrom", [])]
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        if room(pod) != "gateway" or not given:
            assert variables == {}
            assert given.get("envSecret") not in secrets
            assert "tracing-ca" not in volumes
            continue
        file = variables.pop("OTEL_EXPORTER_OTLP_CERTIFICATE")
        assert variables == given["env"]
        assert secrets == [given["envSecret"]]
        [mount] = (m for m in one["volumeMounts"] if m["name"] == "tracing-ca")
        secret = volumes["tracing-ca"]["secret"]
        assert secret["secretName"] == given["caSecret"]["name"]
        assert [f"{mount['mountPath']}/{item['path']}" for item in secret["items"]] == [file]
        assert "OTEL_EXPORTER_OTLP_HEADERS" not in str(objects(case))


def test_the_exporter_knows_what_it_is_given() -> None:
    """Every name that the chart itself sets, refuses or shows is one of OpenTelemetry's own."""
    texts = [(CHART / name).read_text() for name in ("values.yaml", "templates/_pods.tpl", "templates/_helpers.tpl")]
    named = set(re.findall(r"\bOTEL_[A-Z_]+\b", "".join(texts)))
    assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in named
    assert named <= set(vars(environment_variables))


def test_gateways_get_to_any_collector() -> None:
    """No policy of the chart bounds their way out, so none has to name where a collector is."""
    for case in CASES:
        for policy in of_kind(case, "NetworkPolicy").values():
            bounds = policy["spec"]["policyTypes"] != ["Ingress"]
            rooms = {room(pods(case)[name]) for name in taken(case, policy["spec"]["podSelector"])}
            assert not bounds or rooms == {"drift"}


def test_the_sidecars_metrics_are_read_without_a_key() -> None:
    """By a monitor of their own: its port asks nobody."""
    monitors = of_kind("prod", "ServiceMonitor")
    [endpoint] = monitors["sluice-drift"]["spec"]["endpoints"]
    assert "authorization" not in endpoint
    found = [one for one in objects("prod") if one["kind"] == "Service"]
    [chosen] = (
        one for one in found if selects(monitors["sluice-drift"]["spec"]["selector"], one["metadata"]["labels"])
    )  # fmt: skip
    assert [port["name"] for port in chosen["spec"]["ports"]] == [endpoint["port"]]
    assert not [name for name in of_kind("no drift", "ServiceMonitor") if name.endswith("-drift")]


@pytest.mark.parametrize("case", CASES)
def test_serve_is_told_what_it_understands(case: str) -> None:
    """Ray's own schema takes it, the application is there, and so are the deployments that it names."""
    schema = ray().ServeDeploySchema.model_validate(serve_config(case))
    (one,) = schema.applications
    module, name = str(one.import_path).split(":")
    assert (module, getattr(ray().graph, name)) == (ray().graph.__name__, ray().graph.build)
    assert one.name == ray().graph.APP
    assert one.route_prefix is None
    (mount,) = (m for m in container(pods(case)["control"])["volumeMounts"] if m["name"] == "settings")
    assert one.args == {"config": f"{mount['mountPath']}/sluice.yaml"}
    named = {variable["name"]: variable for variable in container(pods(case)["gateway"])["env"]}
    assert named["SLUICE_CONFIG"]["value"] == one.args["config"]


def deployments(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `graph.application` deploys, by name."""
    graph = ray().graph
    monkeypatch.setattr(graph, "refuse_missing_gpu", lambda _: None)
    application: Any = graph.application(graph.Installation(Settings(), "redis://localhost"))
    gateway = application._bound_deployment
    control = gateway.init_args[1]._bound_deployment
    return {gateway.name: gateway, control.name: control}


@pytest.mark.parametrize("case", CASES)
def test_replicas_find_their_pods(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many gateways as pods that offer the resource; one control pod with the label; and none of them has a CPU."""
    known = deployments(monkeypatch)
    said = {one["name"]: one for one in serve_config(case)["applications"][0]["deployments"]}
    assert said.keys() == known.keys()
    (resource,) = said["gateway"]["ray_actor_options"]["resources"].items()
    offering = {}
    for name, group in groups(case).items():
        params = group["rayStartParams"]
        if "resources" in params:
            (word,) = shlex.split(params["resources"])  # as the shell that starts Ray reads it
            assert params["resources"][1:-1].replace("\\", "") == word  # and as the autoscaler does
            offering[name] = json.loads(word)
        expected = {"head": "0", "gateway": "0", "control": "0"}
        assert params["num-cpus"] == expected.get(name, params["num-cpus"])
    assert offering == {"gateway": dict([resource])}
    assert said["gateway"]["num_replicas"] == groups(case)["gateway"]["replicas"]
    assert known["gateway"]._replica_config.max_replicas_per_node == 1
    labelled = {name: group["labels"] for name, group in groups(case).items() if "labels" in group}
    assert labelled == {"control": said["control"]["ray_actor_options"]["label_selector"]}
    assert groups(case)["control"]["replicas"] == 1
    assert [one["ray_actor_options"]["num_cpus"] for one in said.values()] == [0, 0]
    # The one selector in the application is where it is built: beside its secrets.
    assert [name for name, one in said.items() if "label_selector" in one["ray_actor_options"]] == ["control"]


@pytest.mark.parametrize("case", CASES)
def test_there_is_time_to_drain(case: str) -> None:
    """A pod's grace is the drain of what runs in it and Ray's leave; the hook is a command that there is."""
    gateway = settings_of(case).gateway
    hook = container(pods(case)["gateway"])["lifecycle"]["preStop"]["exec"]["command"]
    assert hook == ["sluice", "drain", "--local"]
    grace_s = {name: pod["spec"]["terminationGracePeriodSeconds"] for name, pod in ray_pods(case).items()}
    assert grace_s["gateway"] == RAY_LEAVES_S + gateway.drain_delay_s + gateway.drain_limit_s
    pool = PoolArguments("m", 1, "/s", "", path="/m")
    for name, pod in ray_pods(case).items():
        if room(pod) == "pool":
            assert grace_s[name] >= RAY_LEAVES_S + pool.drain_delay_s + pool.drain_limit_s + pool.lease_s


def test_the_hook_is_a_command() -> None:
    """`sluice` knows it, by the one option that is given."""
    (local,) = (one for one in get_command(app).commands["drain"].params if "--local" in one.opts)  # type: ignore[attr-defined]
    assert local.required


@pytest.mark.parametrize("case", CASES)
def test_gpus_are_rays_and_kubernetes(case: str) -> None:
    """A pod offers Ray as many GPUs as it is given, and those without offer none."""
    for name, group in groups(case).items():
        limits = container(pods(case)[name])["resources"]["limits"]
        if room(pods(case)[name]) == "pool":
            assert int(group["rayStartParams"]["num-gpus"]) == limits.get("nvidia.com/gpu", 0)
        else:
            assert "nvidia.com/gpu" not in limits


@pytest.mark.parametrize("case", CASES)
def test_ray_asks_for_a_token_and_there_is_one_cluster(case: str) -> None:
    """Whatever the values say."""
    spec = the_service(case)["spec"]
    assert spec["rayClusterConfig"]["authOptions"]["mode"] == "token"
    assert spec["upgradeStrategy"] == {"type": "None"}
    assert "networkPolicy" not in spec["rayClusterConfig"]


def test_autoscaling_scales_pools_alone() -> None:
    """There are as many gateways as Serve is told; only pools come and go."""
    for name, group in groups("gpu").items():
        if name in {"gateway", "control"}:
            assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]
    assert (groups("gpu")["gpu"]["minReplicas"], groups("gpu")["gpu"]["maxReplicas"]) == (1, 8)
    assert the_service("gpu")["spec"]["rayClusterConfig"]["enableInTreeAutoscaling"]
    for name, group in groups("several pools").items():
        if name != "head":
            assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]


def test_valkey_keeps_as_the_embedded_one_does() -> None:
    """What is confirmed is on disk, and nothing is thrown out: line by line as `sluice up` has it."""
    own = {"bind", "port", "requirepass", "dir", "include", "protected-mode"}
    embedded = dict(line.split(maxsplit=1) for line in valkey._CONFIGURATION.splitlines())
    ours = dict(line.split(maxsplit=1) for line in valkey_files()["valkey.conf"].splitlines())
    assert {name: value for name, value in ours.items() if name not in own} == {
        name: value for name, value in embedded.items() if name not in own
    }
    assert ours["protected-mode"] == "yes"


def valkey_files() -> dict[str, str]:
    """What is in Valkey's ConfigMap."""
    (found,) = (one["data"] for name, one in of_kind("least", "ConfigMap").items() if name.endswith("-valkey"))
    return dict(found)


def test_versions_are_the_projects() -> None:
    """The chart's image is this release, and Ray in it is the one that is pinned."""
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert described["appVersion"] == PROJECT["version"]
    assert the_service("least")["spec"]["rayClusterConfig"]["rayVersion"] == pins()["ray"]


@pytest.mark.parametrize("kind", ["triton", "cpu"])
def test_images_are_of_this_project(kind: str) -> None:
    """What they copy is there, whom they run as is whom the chart expects, and the Python is one that will do."""
    text = (ROOT / "helm" / "images" / f"Dockerfile.{kind}").read_text()
    sources = [word for line in re.findall(r"^COPY (.+)$", text, flags=re.MULTILINE) for word in line.split()[:-1]]
    assert {"pyproject.toml", "constraints.txt", "LICENSE", "NOTICE", "serving"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    rooms = {name for room in _packages() if (name := room.rstrip("*"))}
    assert rooms <= set(sources)
    security = yaml.safe_load((CHART / "values.yaml").read_text())["security"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}" in text
    assert "(3, 12)" in text
    assert "<3.13" in PROJECT["requires-python"]
    assert "alibi" not in text
    ignored = (ROOT / "helm" / "images" / f"Dockerfile.{kind}.dockerignore").read_text().splitlines()
    assert {f"!{source}" for source in sources} <= set(ignored)


def _packages() -> list[str]:
    found: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"][
        "include"
    ]
    return found


def test_the_monitor_asks_where_metrics_are() -> None:
    """By the Service's name for the port, with a key, over TLS where there is a certificate."""
    monitor = of_kind("prod", "ServiceMonitor")["sluice"]
    (endpoint,) = monitor["spec"]["endpoints"]
    found = [one for one in objects("prod") if one["kind"] == "Service"]
    chosen = [one for one in found if selects(monitor["spec"]["selector"], one["metadata"]["labels"])]
    assert [endpoint["port"] in {port["name"] for port in one["spec"]["ports"]} for one in chosen] == [True]
    assert (endpoint["scheme"], endpoint["authorization"]["credentials"]["name"]) == ("https", "sluice-metrics-key")


def test_rules_and_dashboards_are_the_codes() -> None:
    """Every alert and every page gets there as it was written, braces and all; none is made where none is asked for."""
    case = "rules and dashboards"
    (rules,) = of_kind(case, "PrometheusRule").values()
    assert rules["spec"] == {"groups": groups_of_rules()}
    found = {name: one for name, one in of_kind(case, "ConfigMap").items() if "-grafana-" in name}
    assert {name: json.loads(one["data"][f"sluice-{name.rpartition('-')[2]}.json"]) for name, one in found.items()} == {
        f"sluice-grafana-{page.name}": page.json() for page in DASHBOARDS
    }
    for one in found.values():
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert not of_kind("least", "PrometheusRule")
    assert not any("-grafana-" in name for name in of_kind("least", "ConfigMap"))
