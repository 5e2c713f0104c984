"""W3C Trace Context as it stands in `traceparent`: read strictly, written anew for whoever is asked next.

https://www.w3.org/TR/trace-context/: version 00 has four fields and nothing else; of a later version the first four are
read as those of 00; what cannot be read is as good as absent, and `tracestate` with it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from serving.noted import Traced

NAME: Final = b"traceparent"
STATE: Final = b"tracestate"
_FORM: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_VERSION: Final = b"ff"
_FIRST_VERSION: Final = b"00"
_SAMPLED: Final = 1
_BOTH: Final = frozenset((NAME, STATE))
_ALONE: Final = frozenset((NAME,))


class Context(NamedTuple):
    """What a caller says of its own span.

    Attributes:
        trace: id of its trace, 128 bits.
        parent: id of the span, 64 bits.
        sampled: whether the caller records it.
    """

    trace: int
    parent: int
    sampled: bool


class Onward(NamedTuple):
    """What a replica is told of the span that it is asked in.

    Attributes:
        value: of `traceparent`.
        replaced: names of the client's fields that do not go on: a trace that begins here has no state of others.
    """

    value: bytes
    replaced: frozenset[bytes]

    def lines(self, lines: list[bytes]) -> list[bytes]:
        """These header lines, with ours in the place of the client's."""
        kept = [line for line in lines if line.partition(b":")[0].strip().lower() not in self.replaced]
        return [*kept, b"%b: %b\r\n" % (NAME, self.value)]


def context_in(value: bytes) -> Context | None:
    """What this `traceparent` says; None where it is none."""
    found = _FORM.fullmatch(value)
    if found is None:
        return None
    version, trace, parent, flags, more = found.groups()
    if version == _NO_VERSION or (version == _FIRST_VERSION and more is not None):
        return None
    context = Context(int(trace, 16), int(parent, 16), bool(int(flags, 16) & _SAMPLED))
    return context if context.trace and context.parent else None


def onward(traced: Traced, span: int) -> Onward:
    """What is told to whoever is asked in this span of a request's trace."""
    return Onward(b"00-%032x-%016x-01" % (traced.trace, span), _ALONE if traced.parent else _BOTH)
