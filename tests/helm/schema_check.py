"""Objects held against the schemas of Kubernetes and of custom resources; a field that nobody knows is a mistake.

The schemas of Kubernetes are those that `kubernetes-validate` carries. It reads them anew for each object, a second's
work for a chart; here each is read once.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]  # without annotations, as released
import yaml
from referencing import Registry, Resource

KUBERNETES: Final = ("1.27", "1.37")
"""The oldest that the chart takes, and the newest whose schemas are known."""
CUSTOM: Final = Path(__file__).parent / "schemas"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_DOMAIN: Final = re.compile(r"^([^./]*)(?:\.[^/]*)?/")


def mistakes(one: Mapping[str, Any], version: str) -> list[str]:
    """What is wrong with an object, in sentences; nothing where all is well.

    Raises:
        FileNotFoundError: that version knows no such kind.
    """
    return list(_mistakes(json.dumps(one, sort_keys=True), version))


@functools.cache  # most objects are the same in most cases
def _mistakes(text: str, version: str) -> tuple[str, ...]:
    one = json.loads(text)
    errors = _validator(one["apiVersion"], one["kind"], version).iter_errors(one)
    return tuple(sorted(f"{one['kind']} at {'/'.join(map(str, error.path))}: {error.message}" for error in errors))


@functools.cache
def custom_kinds() -> Mapping[tuple[str, str], Mapping[str, Any]]:
    """The schemas of custom resources, by version of their API and kind."""
    read = [yaml.safe_load(file.read_text()) for file in sorted(CUSTOM.glob("*.yaml"))]
    return {(one["properties"]["apiVersion"]["const"], one["properties"]["kind"]["const"]): one for one in read}


@functools.cache
def _validator(api: str, kind: str, version: str) -> jsonschema.protocols.Validator:
    custom = custom_kinds().get((api, kind))
    if custom is not None:  # beside the definitions of Kubernetes, so that it can name them
        schema = {"$schema": _DIALECT, "$id": f"https://kubernetes.io/api/{kind}.json", **custom}
    else:
        group_version = _DOMAIN.sub(r"\1-", api)  # as in networking-v1
        schema = _read(version, f"{kind.lower()}-{group_version}.json")
    return jsonschema.Draft202012Validator(schema, registry=_definitions(version))


@functools.cache
def _definitions(version: str) -> Registry[Any]:
    resource: Resource[Any] = Resource.from_contents(_read(version, "_definitions.json"))
    return resource @ Registry()


def _read(version: str, name: str) -> dict[str, Any]:
    folder = resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    read: dict[str, Any] = json.loads((folder / name).read_text())
    return read
