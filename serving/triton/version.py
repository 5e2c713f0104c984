"""One version of one model as a replica is told of it: a name, a number, a folder, and how it is run. Values only.

What becomes of it is `layout.py`'s.
"""

from dataclasses import dataclass, field
from pathlib import Path

from registry.kinds import ArtifactKind
from serving.endpoint import MODEL_NAME
from serving.errors import SluiceError
from serving.pools import PoolOptions

_LARGEST_VERSION = 2**63 - 1


class ArtifactRefused(SluiceError):  # noqa: N818 - named after what happened; SluiceError says that it is an error
    """An artifact folder, or what was asked of it, cannot be served."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of one model, and how it is to be run.

    Args:
        name: the model's name, as in Triton's paths.
        version: 1 or more, as in Triton's paths.
        path: the artifact folder.
        options: how it is run. A ready Triton directory says the same in its own configuration, so there only those
            options count that somebody set.
        kind: what is in the folder, one of `registry.kinds.ArtifactKind`; empty to have it told from the files.
        signature: JSON in the form of `signature.json`; empty where the folder has that file, or needs none.
        allow_pickle: whether a scikit-learn model may be a pickle, which runs whatever its author wrote into it.
    """

    name: str
    version: int
    path: Path
    options: PoolOptions = field(default_factory=PoolOptions)
    kind: str = ""
    signature: str = ""
    allow_pickle: bool = False

    def __post_init__(self) -> None:
        """Refuses what could not be served.

        Raises:
            ArtifactRefused: naming the value and what is allowed.
        """
        if not isinstance(self.name, str) or not MODEL_NAME.fullmatch(self.name):
            raise ArtifactRefused(f"The model's name is {self.name!r}: it must match {MODEL_NAME.pattern}.")
        if type(self.version) is not int or not 1 <= self.version <= _LARGEST_VERSION:
            raise ArtifactRefused(
                f"version is {self.version!r}: it must be a whole number from 1 to {_LARGEST_VERSION}."
            )
        if self.kind and self.kind not in set(ArtifactKind):
            raise ArtifactRefused(
                f"The kind of {self} is {self.kind!r}: it must be one of {', '.join(ArtifactKind)}, or empty."
            )

    def __str__(self) -> str:
        """'digits version 3'."""
        return f"{self.name} version {self.version}"
