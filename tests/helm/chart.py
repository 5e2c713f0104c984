"""The chart as Helm renders it: values, the matrix of options, and the objects that come of them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import helm_python as helm
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "sluice"
GOLDEN = Path(__file__).parent / "golden"
NAME, NAMESPACE = "sluice", "ml"
FILES = ("dev", "gpu", "prod")

Object = dict[str, Any]

LEAST: Mapping[str, Any] = MappingProxyType(
    {
        "access": {"adminKeySecret": {"name": "sluice-admin-key"}},
        "redis": {"valkey": {"passwordSecret": {"name": "sluice-valkey"}}},
    }
)
"""The least that must be said."""

_OWN_REDIS: dict[str, Any] = {
    "mode": "external",
    "external": {"urlSecret": {"name": "r"}, "gcsAddress": "redis://redis.example.com:6379"},
}
OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "least": {},
        "names": {"nameOverride": "gate", "fullnameOverride": "gate-keeper"},
        "a digest": {"image": {"digest": f"sha256:{'a' * 64}", "pullSecrets": ["one", "two"]}, "restart": "2026-11-22"},
        "ray's token of our own": {"ray": {"tokenSecret": "ray"}},
        "a head that forgets": {"ray": {"gcsFaultTolerance": False}},
        "autoscaling": {"ray": {"autoscaling": {"enabled": True}}, "pools": {"cpu": {"minReplicas": 0}}},
        "no pods at first": {"pools": {"cpu": {"replicas": 0, "cpus": 0, "budget": {"enabled": False}}}},
        "several pools": {
            "pools": {
                "cpu": None,
                "small": {"scratch": "1Gi", "spread": {"whenUnsatisfiable": "DoNotSchedule"}},
                "big": {"gpus": 8, "runtimeClassName": "nvidia", "affinity": {"podAntiAffinity": {}}},
            }
        },
        "a load balancer": {
            "gateways": {"service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]}},
            "control": {"service": {"annotations": {"a": "b"}}, "hosts": ["sluice.example.com"]},
        },
        "a drain of an hour": {"gateways": {"drain": {"delaySeconds": 0, "limitSeconds": 3600}}},
        "tokens alone": {
            "access": {
                "adminKeySecret": {"name": ""},
                "tokens": {"issuer": "https://login.example.com", "roles": {"ops": "operate"}, "leeway_s": 5},
            }
        },
        "tls": {"tls": {"secretName": "t"}},
        "somebody's redis": {"redis": {**_OWN_REDIS, "namespace": "blue"}},
        "somebody's redis with names": {
            "redis": {
                **_OWN_REDIS,
                "external": {
                    "urlSecret": {"name": "r", "key": "address"},
                    "caSecret": {"name": "r", "key": "ca.pem"},
                    "gcsAddress": "rediss://redis.example.com:6380",
                    "gcsPasswordSecret": {"name": "r"},
                    "gcsUsername": "ray",
                },
            },
        },
        "artifacts in a bucket": {"registry": {"address": "s3://models/a", "sources": ["s3://in"], "envSecret": "s3"}},
        "claims that are there": {
            "registry": {"claim": {"existing": "models"}},
            "control": {"persistence": {"existingClaim": "ledger"}},
        },
        "classes of storage": {
            "registry": {"claim": {"storageClass": "nfs"}},
            "control": {"persistence": {"storageClass": "fast"}},
            "redis": {"valkey": {"persistence": {"storageClass": "fast"}, "image": {"digest": f"sha256:{'b' * 64}"}}},
        },
        "models": {
            "models": [
                {
                    "name": "digits",
                    "versions": [
                        {"version": 1, "path": "/models/digits/1", "max_batch_size": 8},
                        {"version": 2, "endpoints": ["10.0.0.7:8000"]},
                    ],
                    "traffic": {"1": "90%", "2": "10%"},
                }
            ],
            "extraVolumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
            "extraVolumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
        },
        "further settings": {
            "settings": {
                "gateway": {"max_in_flight": 5000, "repeat_budget": 0.1},
                "redis": {"lease_s": 5},
                "triton": {"ready_timeout_s": 900},
                "registry": {"allow_pickle": False},
                "control": {"trusted_addresses": ["http://gate.internal:9000"]},
                "tls": {"min_version": "1.3"},
                "drift": {"false_alarm_days": 7, "samples": {"share": "10%"}, "models": [{"name": "m", "floor": 0.1}]},
                "feedback": {"horizon_s": 3600},
                "logs": {"format": "json", "access": "1%"},
                "payloads": {"enabled": True, "share": "5%", "redact": ["card_*"]},
            },
            "tls": {"secretName": "t"},
        },
        "accounts of others": {"serviceAccounts": {"create": False, "names": {"pool": "models", "control": "c"}}},
        "annotated accounts": {"serviceAccounts": {"annotations": {"a": "b"}}, "security": {"runAsUser": 2000}},
        "no policies": {"networkPolicy": {"enabled": False}},
        "narrow policies": {
            "networkPolicy": {
                "clients": [{"podSelector": {"matchLabels": {"a": "b"}}}],
                "operators": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
                "scrapers": [],
                "kuberay": [],
            }
        },
        "an ingress": {"ingress": {"enabled": True, "className": "nginx", "host": "p.example.com", "tlsSecret": "t"}},
        "an ingress without a host": {"ingress": {"enabled": True, "tlsSecret": "t", "grpc": {"enabled": True}}},
        "routes": {
            "gatewayApi": {
                "enabled": True,
                "parentRefs": [{"name": "edge", "namespace": "infra", "sectionName": "https"}],
                "hostnames": ["p.example.com"],
                "grpc": {"enabled": True, "hostnames": ["*.example.com"]},
            }
        },
        "metrics": {"metrics": {"serviceMonitor": {"enabled": True, "keySecret": {"name": "m"}}}},
        "metrics by tls": {
            "metrics": {
                "serviceMonitor": {
                    "enabled": True,
                    "labels": {"release": "p"},
                    "keySecret": {"name": "m"},
                    "caSecret": {"name": "t"},
                    "serverName": "sluice.example.com",
                }
            },
            "tls": {"secretName": "t"},
        },
        "rules and dashboards": {
            "metrics": {
                "rules": {"enabled": True, "labels": {"release": "p"}},
                "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Sluice"}},
            }
        },
        "traces": {"settings": {"tracing": {"endpoint": "http://collector.otel.svc:4318", "share": "10%"}}},
        "traces with headers": {
            "settings": {"tracing": {"endpoint": "https://otel.example.com:4318"}},
            "tracing": {
                "env": {"OTEL_EXPORTER_OTLP_TIMEOUT": "5", "OTEL_RESOURCE_ATTRIBUTES": 'team=ml,a=b"c'},
                "envSecret": "otel",
                "caSecret": {"name": "otel", "key": "ca.pem"},
            },
            "registry": {"address": "s3://models/a", "envSecret": "s3"},
        },
        "no budgets": {"gateways": {"budget": {"enabled": False}}, "poolDefaults": {"budget": {"enabled": False}}},
        "no drift": {"drift": {"enabled": False}},
        "drift with encoders": {
            "drift": {
                "replicas": 3,
                "image": {"tag": "other"},
                "keySecret": {"name": "k"},
                "caSecret": {"name": "c"},
                "budget": {"enabled": False},
                "extraVolumes": [{"name": "keys", "secret": {"secretName": "keys"}}],
                "extraVolumeMounts": [{"name": "keys", "mountPath": "/etc/keys", "readOnly": True}],
            },
            "tls": {"secretName": "t"},
            "redis": {**_OWN_REDIS, "external": {**_OWN_REDIS["external"], "caSecret": {"name": "r"}}},
            "networkPolicy": {
                "clients": [{"podSelector": {}}],
                "store": [{"ipBlock": {"cidr": "10.0.0.9/32"}}],
                "encoders": [{"ipBlock": {"cidr": "10.0.1.0/24"}}],
            },
            "metrics": {"serviceMonitor": {"enabled": True, "keySecret": {"name": "m"}}},
            "settings": {
                "drift": {
                    "learn_rows": 5000,
                    "sidecar": {"lease_s": 9},
                    "encoders": [{"name": "vision", "url": "https://10.0.1.7:8000", "key_file": "/etc/keys/vision"}],
                    "webhooks": [{"url": "https://ops.example.com/drift", "secret_file": "/etc/secrets/drift"}],
                }
            },
        },
        "places": {
            room: {
                "nodeSelector": {"a": "b"},
                "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
                "affinity": {"nodeAffinity": {}},
                "priorityClassName": "high",
                "annotations": {"c": "d"},
            }
            for room in ("head", "gateways", "control", "poolDefaults", "drift")
        },
    }
)
"""What differs from the least, by name."""

CASES = (*FILES, *OPTIONS)
"""The values files, and the matrix of options."""


@functools.cache
def chart() -> helm.Chart:
    """The chart, loaded once."""
    return helm.Chart.load(CHART)


def values_of(case: str) -> dict[str, Any]:
    """What is given beside the chart's own values."""
    if case in FILES:
        given: dict[str, Any] = yaml.safe_load((CHART / f"values-{case}.yaml").read_text())
        return given
    return merged(LEAST, OPTIONS[case])


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, mappings put together, the second winning."""
    both = {**below}
    for name, value in above.items():
        under = both.get(name)
        is_section = isinstance(value, Mapping) and isinstance(under, Mapping)
        both[name] = merged(under, value) if is_section and under is not None else value
    return json.loads(json.dumps(both))  # type: ignore[no-any-return]


def rendered(values: Mapping[str, Any], name: str = NAME) -> dict[str, str]:
    """What each template comes to, by its path."""
    return chart().render(dict(values), name=name, namespace=NAMESPACE)


def objects_in(manifests: Mapping[str, str]) -> list[Object]:
    """Every object, by kind and name."""
    texts = [text for path, text in manifests.items() if not path.endswith("NOTES.txt")]
    found = [one for text in texts for one in yaml.load_all(text, yaml.CSafeLoader) if one]
    return sorted(found, key=lambda one: (one["kind"], one["metadata"]["name"]))


@functools.cache
def objects(case: str) -> list[Object]:
    """Every object of a case, rendered once: to be read, not changed."""
    return objects_in(rendered(values_of(case)))


def of_kind(case: str, kind: str) -> dict[str, Object]:
    """The objects of that kind, by name."""
    return {one["metadata"]["name"]: one for one in objects(case) if one["kind"] == kind}


def the_service(case: str) -> Object:
    """The one RayService."""
    (service,) = of_kind(case, "RayService").values()
    return service


def groups(case: str) -> dict[str, Object]:
    """Head and worker groups by name, as the RayService has them."""
    cluster = the_service(case)["spec"]["rayClusterConfig"]
    return {"head": cluster["headGroupSpec"], **{one["groupName"]: one for one in cluster["workerGroupSpecs"]}}


def pods(case: str) -> dict[str, Object]:
    """The template of every pod, by group; Valkey's and the drift sidecar's among them."""
    found = {name: group["template"] for name, group in groups(case).items()}
    for name, one in {**of_kind(case, "StatefulSet"), **of_kind(case, "Deployment")}.items():
        found[name] = one["spec"]["template"]
    return found


def ray_pods(case: str) -> dict[str, Object]:
    """Those of them that Ray runs in."""
    return {name: pod for name, pod in pods(case).items() if room(pod) not in {"valkey", "drift"}}


def room(pod: Mapping[str, Any]) -> str:
    """What a pod is for."""
    return str(pod["metadata"]["labels"]["sluice-room"])


def container(pod: Mapping[str, Any]) -> Object:
    """A pod's one container."""
    (one,) = pod["spec"]["containers"]
    return dict(one)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector of Kubernetes takes something with these labels."""
    holds: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
        "In": lambda one: labels.get(one["key"]) in one["values"],
        "Exists": lambda one: one["key"] in labels,
    }
    expressions = selector.get("matchExpressions", [])
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        holds[one["operator"]](one) for one in expressions
    )


def taken(case: str, selector: Mapping[str, Any]) -> set[str]:
    """The groups of pods that a selector takes."""
    return {name for name, pod in pods(case).items() if selects(selector, pod["metadata"]["labels"])}


def settings_text(case: str) -> str:
    """The settings file in the ConfigMap."""
    (found,) = (one for name, one in of_kind(case, "ConfigMap").items() if name.endswith("-settings"))
    return str(found["data"]["sluice.yaml"])


def golden_text(case: str) -> str:
    """What is compared, and read by whoever changes the chart: every object, without comments."""
    return str(yaml.dump_all(objects(case), Dumper=yaml.CSafeDumper, sort_keys=True, width=120))


def golden_file(case: str) -> Path:
    """Where that is kept."""
    return GOLDEN / f"{case}.yaml"


GOLDENS = ("least", *FILES)


def leaves(value: object, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Everything in a document that is neither mapping nor list, with its place."""
    if isinstance(value, Mapping):
        pairs: Iterable[tuple[object, object]] = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    else:
        yield before, value
        return
    for name, inner in pairs:
        yield from leaves(inner, (*before, str(name)))
