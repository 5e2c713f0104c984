"""What the registry says, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from serving.control.models_client import (
    DiffAnswer,
    DifferenceRow,
    ModelRow,
    ModelsAnswer,
    VersionAnswer,
    VersionRow,
    VersionsAnswer,
)
from serving.tables import console, moment, table

_DIGITS_OF_DIGEST = 12
_PARTS = ("parameters", "metrics", "data", "made_of", "tags", "signature")


def show_models(answer: ModelsAnswer) -> None:
    """The models of the registry."""
    console().print(table("models", ("model", "versions", "newest", "aliases"), map(_model, answer["models"])))
    _show_rest(answer["next"])


def show_versions(answer: VersionsAnswer) -> None:
    """The versions of one model."""
    names = ("version", "state", "aliases", "kind", "artifact", "metrics", "registered", "by")
    rows = (_version(one, answer["aliases"]) for one in answer["versions"])
    console().print(table(answer["model"], names, rows))
    _show_rest(answer["next"])


def show_version(answer: VersionAnswer) -> None:
    """What a version is made of."""
    out = console()
    artifact, data = answer["artifact"], answer["data"]
    facts = {
        "state": answer["state"],
        "aliases": ", ".join(answer["aliases"]),
        "artifact": f"{artifact['kind']}, {artifact['size_bytes']:,} bytes, SHA-256 {artifact['digest']}",
        "registered": f"{moment(answer['registered_at'])} by {answer['registered_by']}",
        "made from": "" if answer["parent"] is None else f"version {answer['parent']}",
        "code": answer["code_revision"],
        "baseline": answer["baseline_digest"],
        "data": "" if data is None else f"{data['rows']:,} rows, fingerprint {data['fingerprint']}",
        **{part: _pairs(answer[part]) for part in ("metrics", "parameters", "tags")},
    }
    rows = ((name, value) for name, value in facts.items() if value)
    out.print(table(f"{answer['model']} version {answer['version']}", ("", ""), rows))
    signature = answer["signature"]
    tensors = ((side[:-1], *_tensor(one)) for side in ("inputs", "outputs") for one in signature[side])
    out.print(table("signature", ("", "name", "datatype", "shape"), tensors))


def show_diff(answer: DiffAnswer) -> None:
    """What differs, and what stands in the way."""
    out = console()
    names = (f"version {answer['before']}", f"version {answer['after']}")
    if not answer["differs"]:
        out.print(f"{names[0]} and {names[1]} of {answer['model']} are made of the same")
    else:
        rows = (_difference(part, one) for part in _PARTS for one in answer[part])  # type: ignore[literal-required]
        out.print(table(answer["model"], ("", "name", *names, "change"), rows))
    for objection in answer["objections"]:
        out.print(f"{names[1]} cannot serve the clients of {names[0]}: {objection}")


def _show_rest(begins: object) -> None:
    if begins is not None:
        console().print("there are more: raise --limit")


def _model(one: ModelRow) -> tuple[str, ...]:
    return (one["name"], str(one["versions"]), str(one["newest"]), _names(one["aliases"]))


def _version(one: VersionRow, aliases: Mapping[str, int]) -> tuple[str, ...]:
    names = ", ".join(name for name, number in aliases.items() if number == one["version"])
    digest = one["artifact_digest"][:_DIGITS_OF_DIGEST]
    by, at = one["registered_by"], moment(one["registered_at"])
    return (str(one["version"]), one["state"], names, one["kind"], digest, _pairs(one["metrics"]), at, by)


def _difference(part: str, one: DifferenceRow) -> tuple[str, ...]:
    change = "" if one["change"] is None else f"{one['change']:+g}"
    return (part.replace("_", " "), one["name"], _cell(one["before"]), _cell(one["after"]), change)


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _tensor(tensor: Mapping[str, object]) -> Sequence[str]:
    name = f"{tensor['name']} (optional)" if tensor.get("optional") else str(tensor["name"])
    return (name, str(tensor["datatype"]), str(tensor["shape"]))


def _names(aliases: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {version}" for name, version in aliases.items())


def _pairs(pairs: Mapping[str, object]) -> str:
    said: Iterable[str] = (f"{name}={value}" for name, value in pairs.items())
    return ", ".join(said)
