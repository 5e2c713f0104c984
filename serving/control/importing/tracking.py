"""Asks an MLflow tracking server for one version and brings its files. The one file that knows mlflow.

It runs as a process of its own, because a client that is a library can be neither stopped when its server drips a byte
a minute, nor silenced, nor unloaded; `fetching.py` ends it at its deadline. What it was asked lies in `request.json` of
the folder that is its argument; it leaves `answer.json` there (the facts, or a problem in a sentence) and the files
below `model`. What they mean is left to `translation.py`.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow.entities import Run as MlflowRun
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from registry.errors import NotFound, RegistryError, Unacceptable
from registry.roots import LOCAL, Roots, locate
from registry.tree import LocalTree
from serving.control.importing.facts import Dataset, Facts, Run
from serving.control.importing.fetching import without_credentials
from serving.control.importing.source import Source, SourceUnavailable, Taken, admit, shown
from serving.errors import SluiceError

_MISSING = "RESOURCE_DOES_NOT_EXIST"
_NO_ALIAS = "INVALID_PARAMETER_VALUE"
_NOT_ALLOWED = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED"})
_READY = "READY"


def main(folder: Path) -> None:
    """Answers what is asked in the folder."""
    asked = json.loads((folder / "request.json").read_text())
    source, tracking_uri = Source.of(asked["source"]), str(asked["tracking_uri"])
    taken = Taken(asked["taken"]["model"], frozenset(asked["taken"]["numbers"]))
    _bound_files(asked["largest_file"])
    try:
        facts = _brought(source, tracking_uri, Roots.of(asked["sources"]), folder / "model", taken)
        answer: dict[str, Any] = {"facts": asdict(facts)}
    except (RegistryError, SluiceError) as error:
        answer = {"problem": _as_plain(error)}
    except Exception as error:  # noqa: BLE001 - a library over a network: anything may come out of it
        answer = {"problem": _as_plain(_translated(error, source, tracking_uri))}
    (folder / "answer.json").write_text(json.dumps(answer))


def _bound_files(most_bytes: int) -> None:
    """Python leaves the signal alone, so that writing more is an error with a sentence."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes if hard < 0 else min(most_bytes, hard), hard))


def _brought(source: Source, tracking_uri: str, roots: Roots, folder: Path, taken: Taken) -> Facts:
    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    version = _version(client, source)
    if version.name != source.name:
        raise SourceUnavailable(
            f"The server at {shown(tracking_uri)} answers as no tracking server does.", "See what runs at that address."
        )
    if version.status != _READY:
        raise Unacceptable(f"{source} is not ready on the tracking server: its status there is {version.status}.")
    taken.refuse(int(version.version))
    run = _run(client, version.run_id)
    _download(_address(client, version), tracking_uri, roots, folder)
    return Facts(
        name=version.name,
        version=int(version.version),
        run_id=version.run_id or "",
        description=version.description or "",
        aliases=tuple(version.aliases),
        tags=dict(version.tags),
        run=None if run is None else _run_facts(run),
    )


def _version(client: MlflowClient, source: Source) -> ModelVersion:
    if source.version is None:
        found = client.get_model_version_by_alias(source.name, source.alias)
        # The answer by alias names no aliases.
        return client.get_model_version(source.name, found.version)
    return client.get_model_version(source.name, str(source.version))


def _run(client: MlflowClient, run_id: str | None) -> MlflowRun | None:
    try:
        return client.get_run(run_id) if run_id else None
    except MlflowException as error:
        if error.error_code == _MISSING:
            return None
        raise


def _run_facts(run: MlflowRun) -> Run:
    logged = run.inputs.dataset_inputs if run.inputs else ()
    return Run(
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags=dict(run.data.tags),
        datasets=tuple(
            Dataset(
                one.dataset.name,
                one.dataset.digest,
                one.dataset.profile or "",
                next((tag.value for tag in one.tags if tag.key == "mlflow.data.context"), ""),
            )
            for one in logged
        ),
    )


def _address(client: MlflowClient, version: ModelVersion) -> str:
    """Where the files are: what the server says, with `models:/` (a logged model) and `runs:/` looked up."""
    address = str(client.get_model_version_download_uri(version.name, version.version))
    parts = urlsplit(address)
    if not parts.path:
        raise SourceUnavailable(f"The tracking server does not say where the files of {version.name} are.")
    if parts.scheme == "models":
        return str(client.get_logged_model(parts.path.strip("/")).artifact_location)
    if parts.scheme == "runs":
        run_id, _, path = parts.path.strip("/").partition("/")
        return f"{client.get_run(run_id).info.artifact_uri}/{path}"
    return address


def _download(address: str, tracking_uri: str, roots: Roots, folder: Path) -> None:
    admit(address, tracking_uri, roots)
    if urlsplit(address).scheme in {"", LOCAL}:
        LocalTree(Path(locate(address).path)).paths()  # refuses what would lead elsewhere
    folder.mkdir()
    store = get_artifact_repository(address, tracking_uri=tracking_uri)
    store.download_artifacts("", dst_path=str(folder))  # type: ignore[no-untyped-call]


def _translated(error: Exception, source: Source, tracking_uri: str) -> RegistryError | SluiceError:
    code = error.error_code if isinstance(error, MlflowException) else ""
    line = _reason(error)
    if code in {_MISSING, _NO_ALIAS}:
        return NotFound(f"The tracking server has no {source}.", f"It says: {line}")
    if code in _NOT_ALLOWED:
        return SourceUnavailable(
            f"The tracking server at {shown(tracking_uri)} does not let us in.",
            "Give the control process MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
        )
    return SourceUnavailable(
        f"The tracking server at {shown(tracking_uri)} could not be asked for {source}: {line.rstrip('.')}.",
        "See that it runs, is an MLflow tracking server, and can be reached from where the control API runs.",
    )


def _reason(error: BaseException) -> str:
    """What the network says where it was the network, else the error's first line."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and (inner.strerror or isinstance(inner, TimeoutError)):
            return inner.strerror or "it does not answer in time"
        inner = inner.__cause__ or inner.__context__
    said = without_credentials(str(error))
    return next((line.strip() for line in said.splitlines() if line.strip()), type(error).__name__)[:300]


def _as_plain(error: RegistryError | SluiceError) -> Mapping[str, str]:
    said = {"sentence": error.sentence, "hint": error.hint}
    return {"kind": type(error).__name__, **{what: without_credentials(text) for what, text in said.items()}}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
