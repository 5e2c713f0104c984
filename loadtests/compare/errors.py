"""What keeps a comparison from being one."""

from __future__ import annotations


class NotStarted(Exception):  # noqa: N818 - named after what happened
    """Something that the run needs is missing or did not come up."""


class Void(Exception):  # noqa: N818 - as above
    """The run counts for nothing: something in it was not what it should be."""
