"""What drift detection refuses or cannot do: a sentence that says what is wrong, and a hint on what to do."""

from __future__ import annotations


class DriftError(Exception):
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


class Unfit(DriftError):  # noqa: N818 - named after what happened; DriftError says that it is an error
    """Data of which no baseline can be made, or a value that cannot be what it says."""


class Damaged(DriftError):  # noqa: N818 - as above
    """Bytes that nobody of ours wrote, or that are written for a newer reader."""


class NotInstalled(DriftError):  # noqa: N818 - as above
    """What was asked for needs a package that is not there."""


class Misaddressed(DriftError):  # noqa: N818 - as above
    """An address at which nothing of ours can be."""


class Unsuitable(DriftError):  # noqa: N818 - as above
    """A server that can never do what is asked of it."""


class Unavailable(DriftError):  # noqa: N818 - as above
    """What does not answer, or cannot serve now; it may later."""


class Unencoded(DriftError):  # noqa: N818 - as above
    """An encoder that does not answer, or answers otherwise than declared; it may do better later."""
