"""What callers say of their traces is read by the letter of W3C Trace Context, and written so that others read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.traceparent import Context, context_in, onward
from serving.noted import Traced

TRACE, PARENT = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
SAID = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACES = st.integers(1, 2**128 - 1)
SPANS = st.integers(1, 2**64 - 1)


def test_the_example_of_the_specification_is_read() -> None:
    """With the flag, without it, and with flags that nobody knows yet."""
    assert context_in(SAID) == Context(TRACE, PARENT, sampled=True)
    assert context_in(SAID[:-2] + b"00") == Context(TRACE, PARENT, sampled=False)
    assert context_in(SAID[:-2] + b"03") == Context(TRACE, PARENT, sampled=True)
    assert context_in(SAID[:-2] + b"fe") == Context(TRACE, PARENT, sampled=False)


def test_a_later_version_may_say_more() -> None:
    """Of what it says in the four fields of the first; not of anything that only begins so."""
    assert context_in(b"cc" + SAID[2:] + b"-what-the-future-has") == Context(TRACE, PARENT, sampled=True)
    assert context_in(b"cc" + SAID[2:]) == Context(TRACE, PARENT, sampled=True)
    assert context_in(b"cc" + SAID[2:] + b".what") is None


@pytest.mark.parametrize(
    "said",
    [
        b"", b"00", SAID.upper(), SAID + b"-more", SAID[:-1], SAID + b"0", b" " + SAID, b"ff" + SAID[2:],
        SAID.replace(b"-", b"_"), SAID + b"," + SAID, SAID + b"\n",
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-\uff14bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".encode(),
    ],
)  # fmt: skip
def test_what_is_none_is_as_good_as_absent(said: bytes) -> None:
    """Two of them in one request as well: they come joined by a comma."""
    assert context_in(said) is None


@given(said=st.binary(max_size=80))
def test_nothing_breaks_it(said: bytes) -> None:
    """Whatever a client sends is read or is not."""
    context = context_in(said)
    assert context is None or (context.trace and context.parent)


@given(trace=TRACES, span=SPANS, parent=st.one_of(st.just(0), SPANS))
def test_what_is_written_is_read_again(trace: int, span: int, parent: int) -> None:
    """Every id keeps its zeros in front."""
    told = onward(Traced(trace, span ^ 1 or 1, parent), span)
    assert context_in(told.value) == Context(trace, span, sampled=True)


def test_state_goes_on_in_the_trace_that_it_is_of_and_in_no_other() -> None:
    """A trace that begins here has none; names are compared whatever their case, and other headers stay."""
    lines = [b"Accept: x\r\n", b"TraceParent: old\r\n", b"tracestate: a=1\r\n", b"traceparents: y\r\n"]
    below, begins = Traced(TRACE, 1, PARENT), Traced(TRACE, 1)
    ours = b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000002-01\r\n"
    assert onward(below, 2).lines(lines) == [lines[0], lines[2], lines[3], ours]
    assert onward(begins, 2).lines(lines) == [lines[0], lines[3], ours]
