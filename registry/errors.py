"""What the registry refuses or cannot do: a sentence that says what is wrong, and a hint on what to do.

Which HTTP status or exit code tells it is the business of whoever speaks to people.
"""

from __future__ import annotations

from collections.abc import Sequence


class RegistryError(Exception):
    """Base of everything that this room says no to.

    Args:
        sentence: what is wrong, complete and with the value that was wrong.
        hint: what to do about it; empty when the sentence already says so.
    """

    def __init__(self, sentence: str, hint: str = "") -> None:
        super().__init__(sentence, hint)
        self.sentence = sentence
        self.hint = hint

    def __str__(self) -> str:
        """The sentence."""
        return self.sentence


class Unacceptable(RegistryError):  # noqa: N818 - named after what happened; RegistryError says that it is an error
    """A value that cannot be what it says, or a request that is understood and refused as it stands."""


class NotFound(RegistryError):  # noqa: N818 - as above
    """There is no such model, version or alias."""


class Conflict(RegistryError):  # noqa: N818 - as above
    """Somebody else was first; nothing was written."""


class Contended(RegistryError):  # noqa: N818 - as above
    """Other changes of the same model kept coming in between, so that this one found no moment of its own."""


class InUse(RegistryError):  # noqa: N818 - as above
    """A version that is still needed.

    Args:
        what: the version, in words.
        event: what was asked of it.
        users: who needs it, a sentence each.
    """

    def __init__(self, what: str, event: str, users: Sequence[str]) -> None:
        super().__init__(
            f"{what} is in use, so '{event}' is refused: {' '.join(users)}",
            "Move whatever uses it to another version first.",
        )
        self.users = tuple(users)
        # For the base class's pickling, which calls the constructor with `args`.
        self.args = (what, event, self.users)


class Corrupted(RegistryError):  # noqa: N818 - as above
    """An artifact whose bytes are not those that were registered.

    Args:
        where: what was read.
        expected: the SHA-256 that it must have.
        found: the SHA-256 that it has.
    """

    def __init__(self, where: str, expected: str, found: str) -> None:
        super().__init__(
            f"{where} is not what was registered: its SHA-256 must be {expected}, and is {found}.",
            "Nothing was loaded. Register the artifact again from its source, or restore the store from a backup.",
        )
        self.expected = expected
        self.found = found
        self.args = (where, expected, found)


class StoreUnavailable(RegistryError):  # noqa: N818 - as above
    """The store does not answer, or answers that it cannot serve now."""


class ArtifactsUnavailable(StoreUnavailable):
    """Where artifacts are kept, or come from, cannot be read or written."""


class StoreDamaged(StoreUnavailable):
    """The store answers, but holds something that nobody of ours wrote."""


class StoreUnsuitable(RegistryError):  # noqa: N818 - as above
    """The store's server can never do what is asked of it."""
