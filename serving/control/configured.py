"""The configuration that a version is served with, without serving it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from registry.artifacts import ArtifactStore
from registry.codec import signature_as_dict
from registry.models import Version
from serving.control.threads import on_artifacts
from serving.pools import PoolSpec
from serving.triton.layout import ArtifactRefused, ModelVersion, config_text

_SHOWN = ("config.pbtxt", "signature.json")


def with_defaults(version: Version) -> PoolSpec:
    """A registered version's pool, where nobody has said how it is to be run."""
    contents = version.contents
    return PoolSpec(
        str(version.model),
        int(version.number),
        artifact=contents.artifact.digest,
        kind=contents.artifact.kind.value,
        signature=json.dumps(signature_as_dict(contents.signature)),
    )


async def config_of(spec: PoolSpec, artifacts: ArtifactStore, *, allow_pickle: bool = False) -> str:
    """The config.pbtxt of that pool's servers, as far as it does not depend on which backends a server has.

    Args:
        spec: of the settings, where its folder must be there to be read, or of the registry.
        artifacts: where a registered version's files are; a Triton directory brings its own configuration.
        allow_pickle: whether a scikit-learn model may be a pickle.

    Raises:
        ArtifactRefused: it cannot be served, or its folder cannot be read from here.
        NotFound: the artifact is gone.
    """
    return await on_artifacts(_text, spec, artifacts, allow_pickle)


def _text(spec: PoolSpec, artifacts: ArtifactStore, allow_pickle: bool) -> str:  # noqa: FBT001
    if spec.path:
        try:
            return _text_in(Path(spec.path), spec, allow_pickle)
        except OSError as error:
            raise ArtifactRefused(f"The folder of {spec} cannot be read from here: {error}.") from error
    with tempfile.TemporaryDirectory(prefix="sluice-") as name:
        folder = Path(name)
        for path in _SHOWN:
            found = artifacts.glance(spec.artifact, path)
            if found is not None:
                (folder / path).write_bytes(found)
        return _text_in(folder, spec, allow_pickle)


def _text_in(folder: Path, spec: PoolSpec, allow_pickle: bool) -> str:  # noqa: FBT001
    return config_text(
        ModelVersion(
            spec.model,
            spec.version,
            folder,
            spec.options,
            kind=spec.kind,
            signature=spec.signature,
            allow_pickle=allow_pickle,
        )
    )
