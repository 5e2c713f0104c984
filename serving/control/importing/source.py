"""What may be imported: the two forms of a source, and where a tracking server may say that a model's files are.

A tracking server names the place of a model's files itself. Its own store of artifacts is what it was configured for;
any other place, such as a folder of this machine or a bucket, is read with this process's rights and not with the
server's, so it must lie below the roots that the settings list (`registry.roots`), as with any other artifact.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from registry.errors import Conflict, Unacceptable
from registry.models import LARGEST_VERSION
from registry.roots import Roots
from serving.errors import SluiceError

_OWN_STORE = "mlflow-artifacts"
_SOURCE = re.compile(
    r"mlflow:/(?P<name>[^/:@\x00-\x1f]{1,256})(?:/(?P<version>[0-9]{1,10})|@(?P<alias>[^/:@\x00-\x1f]{1,256}))"
)


class SourceUnavailable(SluiceError):  # noqa: N818 - named after what happened; SluiceError says that it is an error
    """The tracking server does not answer, or answers nonsense."""


@dataclass(frozen=True, slots=True)
class Source:
    """A registered model's version on a tracking server: by its number, or by an alias where the version is None."""

    name: str
    version: int | None = None
    alias: str = ""

    @classmethod
    def of(cls, text: object) -> Source:
        """The source in `mlflow:/NAME/VERSION` or `mlflow:/NAME@ALIAS`.

        Raises:
            Unacceptable: it is neither.
        """
        found = _SOURCE.fullmatch(text) if isinstance(text, str) else None
        number = int(found["version"] or 1) if found else 0
        if found is None or not 1 <= number <= LARGEST_VERSION:
            raise Unacceptable(
                f"{str(text)[:200]!r} is nothing that can be imported.",
                "Use mlflow:/NAME/VERSION or mlflow:/NAME@ALIAS, the names as the tracking server has them.",
            )
        return cls(found["name"], None if found["alias"] else number, found["alias"] or "")

    def __str__(self) -> str:
        """'mlflow:/iris/3' or 'mlflow:/iris@champion'."""
        return f"mlflow:/{self.name}{f'@{self.alias}' if self.version is None else f'/{self.version}'}"


@dataclass(frozen=True, slots=True)
class Taken:
    """The numbers of a model that the settings have given away, so that no import gets them."""

    model: str
    numbers: frozenset[int] = frozenset()

    def refuse(self, number: int) -> None:
        """Refuses one of them.

        Raises:
            Conflict: it is taken.
        """
        if number in self.numbers:
            raise Conflict(
                f"{self.model} version {number} is in the settings, so nothing can be imported under that number.",
                f"Give it another one, above {max(self.numbers)}, with --number (`number` in a request).",
            )


def shown(tracking_uri: str) -> str:
    """The server's address without user, password and query."""
    parts = urlsplit(tracking_uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def admit(address: str, tracking_uri: str, roots: Roots) -> None:
    """Refuses a place that is neither in the tracking server's own store nor below one of the roots.

    Raises:
        Unacceptable: with what it is, and what to do.
    """
    place = urlsplit(address)
    if place.scheme == _OWN_STORE:
        # A host of its own would be sent the credentials that are meant for the tracking server.
        if place.netloc not in {"", urlsplit(tracking_uri).netloc.rpartition("@")[2]}:
            raise Unacceptable(
                f"The tracking server says that the model's files are on another server, {place.netloc}."
            )
        return
    try:
        roots.admit(address)
    except Unacceptable as error:
        raise Unacceptable(
            f"The tracking server keeps the model's files outside of its own store: {error.sentence}",
            "Let the server hand artifacts out (mlflow server --serve-artifacts), or list the place below "
            "registry.sources.",
        ) from error
