"""The table of all figures as docs/metrics.md has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from serving.metrics.families import TABLE

_HEAD: Final = "| figure | kind | unit | labels | from | meaning |"


def table() -> str:
    """The table in Markdown, a line for each figure, in the order of the answer."""
    return "\n".join((_HEAD, "|---|---|---|---|---|---|", *_lines()))


def with_table(text: str) -> str:
    """The document with the table as it is now in the place of the one that it has.

    Raises:
        ValueError: it has none.
    """
    before, head, rest = text.partition("| figure |")
    if not head:
        raise ValueError("there is no table of figures to replace: a line has to begin with '| figure |'")
    _, _, after = rest.partition("\n\n")
    return f"{before}{table()}\n\n{after}"


def _lines() -> Iterator[str]:
    for one in TABLE.values():
        labels = ", ".join(f"`{label}`" for label in one.labels)
        yield f"| `{one.name}` | {one.kind} | {one.unit} | {labels} | {one.source} | {one.words} |"
