"""Wrong values: each kind of mistake at each place of the schema is refused, and the message names the place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import helm_python as helm
import pytest
import yaml

from serving.settings import ModelSettings, Settings, TokenSettings, VersionSettings
from tests.helm.chart import CASES, CHART, LEAST, chart, merged, rendered, values_of

pytestmark = pytest.mark.helm
SCHEMA: Final[Mapping[str, Any]] = json.loads((CHART / "values.schema.json").read_text())
VALUES: Final[Mapping[str, Any]] = yaml.safe_load((CHART / "values.yaml").read_text())
WRONG_TEXT: Final = "no\n such/thing: {here}"
COLLECTOR: Final[Mapping[str, Any]] = {"settings": {"tracing": {"endpoint": "https://otel.example.com:4318"}}}
Place = tuple[str | int, ...]

BY_THE_CHART: Final[Mapping[str, frozenset[str]]] = {
    "gateway": frozenset({"workers", "drain_delay_s", "drain_limit_s"}),
    "redis": frozenset({"url", "namespace", "ca_file", "cert_file", "key_file"}),
    "triton": frozenset({"host", "port_range", "ca_file"}),
    "registry": frozenset({"artifacts", "sources"}),
    "control": frozenset({"host", "port", "allowed_hosts"}),
    "access": frozenset({"required", "admin_key", "admin_key_file", "tokens", "security_log"}),
    "tls": frozenset({"certificate", "key"}),
    "drift": frozenset({"enabled"}),
    "feedback": frozenset(),
    "payloads": frozenset(),
    "tracing": frozenset(),
    "logs": frozenset(),
}
"""Settings that other values decide, or that would have to agree with probes, policies and volumes."""


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without a reference at its head."""
    reference = schema.get("$ref")
    return resolved(SCHEMA["$defs"][reference.rpartition("/")[2]]) if reference else schema


def wrong(schema: Mapping[str, Any], place: Place) -> Iterator[tuple[Place, object, str]]:
    """Every kind of wrong value at a place and below: where it is put, the value, and what the message has to name."""
    schema = resolved(schema)
    for value in _wrong_here(schema):
        yield place, value, f"at '{pointer(place)}'"
    if schema.get("additionalProperties") is False:
        yield (*place, "nonsense"), 1, "'nonsense'"
    for part, inner in _parts(schema):
        yield from wrong(inner, (*place, part))


def _wrong_here(schema: Mapping[str, Any]) -> Iterator[object]:
    if "type" in schema:
        yield {"wrong": 1} if schema["type"] in ("array", "boolean", "integer", "number") else [["wrong"]]
    if "enum" in schema:
        yield "nonsense"
    if "pattern" in schema:
        yield WRONG_TEXT
    if "minimum" in schema:
        yield schema["minimum"] - 1
    if "maximum" in schema:
        yield schema["maximum"] + 1
    if schema.get("minLength"):
        yield ""


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str | int, Mapping[str, Any]]]:
    yield from schema.get("properties", {}).items()
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield "a", schema["additionalProperties"]
    if "items" in schema:
        yield 0, schema["items"]


def pointer(place: Place) -> str:
    """As Helm's messages write it."""
    return "".join(f"/{part}" for part in place)


def put(values: object, place: Sequence[str | int], value: object) -> Any:  # noqa: ANN401 - a document
    """The document with the value at that place, what is missing on the way made."""
    if not place:
        return value
    first, *rest = place
    if isinstance(first, int):
        return [put(None, rest, value)]
    known = values if isinstance(values, Mapping) else {}
    return {**known, first: put(known.get(first), rest, value)}


def refusal(values: Mapping[str, Any]) -> str:
    """What Helm says of such values."""
    with pytest.raises(helm.HelmValuesError) as caught:
        chart().validate_schema(dict(values))
    return str(caught.value)


@pytest.mark.parametrize("top", sorted(SCHEMA["properties"]))
def test_every_wrong_value_is_refused_by_name(top: str) -> None:
    """A wrong type, a text of the wrong form, a number out of bounds, a key that is none: wherever they are."""
    whole = merged(VALUES, LEAST)
    tried = 0
    for place, value, named in wrong(SCHEMA["properties"][top], (top,)):
        said = refusal(put(whole, place, value))
        assert named in said, (place, value, said)
        tried += 1
    assert tried


def test_a_key_that_is_none() -> None:
    """At the top, where most typing errors are made."""
    assert "'gateway'" in refusal(merged(VALUES, {"gateway": {"replicas": 3}}))


def test_a_bound_that_would_trace_nothing() -> None:
    """Whoever wants no traces names no collector; the gateway's settings refuse 0 as well."""
    assert "requests_per_s" in refusal(merged(VALUES, {"settings": {"tracing": {"requests_per_s": 0}}}))


@pytest.mark.parametrize("name", ["Big", "gateway", "control", "a-name-of-a-group-that-is-long", "9lives", "a_b"])
def test_names_of_pools(name: str) -> None:
    """They become parts of names in Kubernetes, beside those that are taken."""
    assert f"'{name}'" in refusal(merged(VALUES, {"pools": {name: {}}}))


@pytest.mark.parametrize("name", ["AWS_REGION", "SLUICE_REDIS__URL", "OTEL_", "otel_service_name", "OTEL SERVICE"])
def test_names_of_variables(name: str) -> None:
    """A gateway is given OpenTelemetry's variables and no others, whose names are written as those are."""
    assert f"'{name}'" in refusal(merged(VALUES, {"tracing": {"env": {name: "1"}}}))


@pytest.mark.parametrize("case", CASES)
def test_what_is_right_is_taken(case: str) -> None:
    """No case of the matrix is refused."""
    chart().validate_schema(chart().merge_values(values_of(case)))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"access": {"adminKeySecret": {"name": ""}}}, "access: nobody could be let in"),
        ({"redis": {"valkey": {"passwordSecret": {"name": ""}}}}, "redis.valkey.passwordSecret.name: name the Secret"),
        ({"redis": {"mode": "external"}}, "redis.external.urlSecret.name: name the Secret"),
        (
            {"redis": {"mode": "external", "external": {"urlSecret": {"name": "r"}}}},
            "redis.external.gcsAddress: Ray is to keep its memory there",
        ),
        ({"metrics": {"serviceMonitor": {"enabled": True}}}, "metrics.serviceMonitor.keySecret.name: Prometheus is"),
        (
            {"ingress": {"enabled": True}, "gatewayApi": {"enabled": True, "parentRefs": [{"name": "a"}]}},
            "ingress.enabled and gatewayApi.enabled: take one",
        ),
        ({"gatewayApi": {"enabled": True}}, "gatewayApi.parentRefs: name the Gateway"),
        ({"pools": {"cpu": None}}, "pools: without a group of pods"),
        (
            {"ray": {"autoscaling": {"enabled": True}}, "pools": {"cpu": {"replicas": 3, "maxReplicas": 2}}},
            "pools.cpu: with ray.autoscaling, replicas lie between",
        ),
        ({"tracing": {"envSecret": "otel"}}, "tracing: no span is sent without a collector"),
        (
            {**COLLECTOR, "tracing": {"env": {"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=x"}}},
            "tracing.env: what is in OTEL_EXPORTER_OTLP_TRACES_HEADERS may be a secret",
        ),
        (
            {**COLLECTOR, "tracing": {"env": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://other:4318"}}},
            "tracing.env: OTEL_EXPORTER_OTLP_ENDPOINT would not be read",
        ),
        (
            {
                **COLLECTOR,
                "tracing": {"env": {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca"}, "caSecret": {"name": "otel"}},
            },
            "tracing.env and tracing.caSecret: both say",
        ),
    ],
)
def test_what_only_goes_together(given: Mapping[str, Any], words: str) -> None:
    """Values that are right each by itself, and make nothing that works, are refused with what to do."""
    with pytest.raises(helm.HelmRenderError, match=words):
        rendered(merged(LEAST, given))


def test_every_value_is_shown() -> None:
    """values.yaml shows each key of the schema with its default, and nothing that the schema would refuse."""
    shown = set(_keys(VALUES, SCHEMA))
    known = set(_known(SCHEMA))
    assert known - shown == {"global"}
    assert shown <= known


def _keys(values: Mapping[str, Any], schema: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for name, value in values.items():
        inner = resolved(schema.get("properties", {}).get(name, {}))
        yield f"{before}{name}"
        if "properties" in inner and isinstance(value, Mapping) and not _is_open(f"{before}{name}"):
            yield from _keys(value, inner, f"{before}{name}.")


def _known(schema: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for name, value in schema["properties"].items():
        inner = resolved(value)
        yield f"{before}{name}"
        if "properties" in inner and not _is_open(f"{before}{name}"):
            yield from _known(inner, f"{before}{name}.")


def _is_open(key: str) -> bool:
    """Whether what is below is shown elsewhere: in docs/sluice.example.yaml, or once for several places."""
    shared = {"loadBalancerSourceRanges"}
    return key.startswith(("settings.", "access.tokens")) or key.endswith(".service") or key in shared


def test_settings_are_the_codes() -> None:
    """Of each section the schema takes what the code knows, but for what the chart decides."""
    sections = SCHEMA["properties"]["settings"]["properties"]
    assert set(sections) == set(BY_THE_CHART)
    for name, section in sections.items():
        fields = set(type(getattr(Settings(), name)).model_fields)
        assert set(section["properties"]) == fields - BY_THE_CHART[name], name
        assert fields >= BY_THE_CHART[name], name


def test_no_section_is_forgotten() -> None:
    """Each is one of the schema's, or made by the chart from its other values."""
    sections = set(SCHEMA["properties"]["settings"]["properties"])
    assert set(Settings.model_fields) - sections == {"state_dir", "listen", "metrics", "ray", "models"}


def test_models_and_tokens_are_the_codes() -> None:
    """The same of a model, its versions, and the rules for tokens."""
    model = SCHEMA["properties"]["models"]["items"]["properties"]
    tokens = SCHEMA["properties"]["access"]["properties"]["tokens"]["properties"]
    assert set(model) == set(ModelSettings.model_fields)
    assert set(model["versions"]["items"]["properties"]) == set(VersionSettings.model_fields)
    assert set(tokens) == set(TokenSettings.model_fields)
