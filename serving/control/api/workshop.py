"""What the paths of the registry work with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from registry.artifacts import ArtifactStore
from registry.service import Registry
from serving.control.operations import Operations
from serving.pools import PoolSpec


@dataclass(frozen=True, slots=True)
class Workshop:
    """Models, what is done with them, and where their files are.

    Attributes:
        registry: which versions there are.
        operations: long work.
        artifacts: the versions' files.
        allow_pickle: whether a scikit-learn model may be a pickle.
        declared: the pools that the settings declare.
    """

    registry: Registry
    operations: Operations
    artifacts: ArtifactStore
    allow_pickle: bool = False
    declared: Sequence[PoolSpec] = ()


def _workshop(request: Request) -> Workshop:
    workshop: Workshop = request.app.state.workshop
    return workshop


def _registry(request: Request) -> Registry:
    return _workshop(request).registry


def _operations(request: Request) -> Operations:
    return _workshop(request).operations


TheWorkshop = Annotated[Workshop, Depends(_workshop)]
TheRegistry = Annotated[Registry, Depends(_registry)]
TheOperations = Annotated[Operations, Depends(_operations)]
