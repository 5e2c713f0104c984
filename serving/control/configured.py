"""The configuration that a registered version is served with, without serving it."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from registry.artifacts import ArtifactStore
from registry.codec import signature_as_dict
from registry.models import Version
from serving.pools import PoolOptions
from serving.triton.layout import ModelVersion, config_text

_SHOWN = ("config.pbtxt", "signature.json")


async def config_of(
    version: Version, artifacts: ArtifactStore, options: PoolOptions | None = None, *, allow_pickle: bool = False
) -> str:
    """Its config.pbtxt.

    Args:
        version: which.
        artifacts: where its files are; a Triton directory brings its own configuration.
        options: how it is run; None for the defaults.
        allow_pickle: whether a scikit-learn model may be a pickle.

    Raises:
        NotFound: the artifact is gone.
        SluiceError: it cannot be served.
    """
    return await asyncio.to_thread(_text, version, artifacts, options or PoolOptions(), allow_pickle)


def _text(version: Version, artifacts: ArtifactStore, options: PoolOptions, allow_pickle: bool) -> str:  # noqa: FBT001
    contents = version.contents
    with tempfile.TemporaryDirectory(prefix="sluice-") as name:
        folder = Path(name)
        for path in _SHOWN:
            found = artifacts.glance(contents.artifact.digest, path)
            if found is not None:
                (folder / path).write_bytes(found)
        return config_text(
            ModelVersion(
                str(version.model),
                int(version.number),
                folder,
                options,
                kind=contents.artifact.kind.value,
                signature=json.dumps(signature_as_dict(contents.signature)),
                allow_pickle=allow_pickle,
            )
        )
