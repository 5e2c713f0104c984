"""Which kind of 'no' each error of the control room, the registry and the pools is.

The one table between exceptions and `serving.errors.Refusal`, whose statuses stand in `serving.errors.STATUS`. The API
answers by it at once, and an operation that fails later keeps the same name in its record. What is not in it is a
mistake of ours, and is nobody's business but the log's.
"""

from __future__ import annotations

from registry import errors as registry
from serving.control import errors as control
from serving.control.importing.source import SourceUnavailable
from serving.errors import Refusal, SluiceError, StartFailed

# The order counts: the first that fits is taken, so a class stands before the one that it is a kind of.
_REFUSALS: tuple[tuple[type[Exception], Refusal], ...] = (
    (control.Conflict, Refusal.CHANGED_MEANWHILE),
    (control.Busy, Refusal.IN_USE),
    (control.InUse, Refusal.IN_USE),
    (control.NameTaken, Refusal.IN_USE),
    (control.TooOften, Refusal.RATE_LIMITED),
    (control.Overloaded, Refusal.OVERLOADED),
    (control.NotNow, Refusal.NOT_NOW),
    (control.RolloutMoved, Refusal.CHANGED_MEANWHILE),
    (control.Deposed, Refusal.CHANGED_MEANWHILE),
    (control.UnknownRollout, Refusal.UNKNOWN_ROLLOUT),
    (control.UnknownOperation, Refusal.UNKNOWN_OPERATION),
    (control.UnknownKey, Refusal.UNKNOWN_KEY),
    (control.Unknown, Refusal.UNKNOWN_MODEL),
    (control.StoreUnavailable, Refusal.STORE_UNREACHABLE),
    (control.StoreUnsuitable, Refusal.STORE_UNREACHABLE),
    (control.Contended, Refusal.STORE_UNREACHABLE),
    (registry.NotFound, Refusal.UNKNOWN_VERSION),
    (registry.Conflict, Refusal.CHANGED_MEANWHILE),
    (registry.InUse, Refusal.IN_USE),
    (registry.Corrupted, Refusal.CORRUPTED),
    (registry.StoreUnavailable, Refusal.STORE_UNREACHABLE),
    (registry.StoreUnsuitable, Refusal.STORE_UNREACHABLE),
    (registry.Contended, Refusal.STORE_UNREACHABLE),
    (registry.RegistryError, Refusal.UNACCEPTABLE),
    (StartFailed, Refusal.DID_NOT_START),
    (SourceUnavailable, Refusal.BROKEN_UPSTREAM),
    (SluiceError, Refusal.UNACCEPTABLE),
)


def refusal_of(error: Exception) -> Refusal | None:
    """Which 'no' it is; None for an error that nobody expected."""
    return next((refusal for kind, refusal in _REFUSALS if isinstance(error, kind)), None)


def sentence_of(error: Exception) -> str:
    """What is wrong, in a sentence."""
    said = getattr(error, "sentence", "")
    return said if isinstance(said, str) and said else f"An error that nobody expected: {type(error).__name__}: {error}"


def hint_of(error: Exception) -> str:
    """What to do about it."""
    said = getattr(error, "hint", "")
    return said if isinstance(said, str) else ""
