"""What a tracking server says of a version, as plain values: the border between the process that asks and the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set that a run logged; the profile is JSON, and differs from kind to kind."""

    name: str
    digest: str
    profile: str = ""
    context: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """The run that made the version."""

    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[Dataset] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """A registered model's version.

    Attributes:
        name: of the model there.
        version: its number there.
        run_id: of the run that made it; empty where none is named.
        description: in the registrar's words.
        aliases: that point at it.
        tags: of the version.
        run: None where it is named and not there any more, or not named.
    """

    name: str
    version: int
    run_id: str = ""
    description: str = ""
    aliases: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    run: Run | None = None

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The facts from what `dataclasses.asdict` made of them."""
        run = plain["run"]
        if run is not None:
            run = Run(**{**run, "datasets": tuple(Dataset(**one) for one in run["datasets"])})
        return cls(**{**plain, "aliases": tuple(plain["aliases"]), "run": run})
