"""Limits that cannot work are refused where they are made."""

from __future__ import annotations

import pytest

from serving.gateway.h2.settings import Limits, PeerSettings
from tests.serving.gateway.h2.wire import SETTINGS, read, settings

BAD = {
    "a small window": {"stream_window": 65_534},
    "a huge window": {"connection_window": 1 << 31},
    "small frames": {"frame": 16_383},
    "huge frames": {"frame": 1 << 24},
    "no streams": {"streams": 0},
    "no patience": {"ping_timeout_s": -1},
}


@pytest.mark.parametrize("case", BAD)
def test_bad_limits(case: str) -> None:
    """With the value, and what is allowed, or that there are limits."""
    with pytest.raises(ValueError, match=r"make them|make it|are positive"):
        Limits(**BAD[case])


def test_announced() -> None:
    """What we announce is what the other side takes."""
    (told,) = read(Limits(streams=7, stream_window=100_000, frame=20_000).announced(by_server=True))
    assert told.kind == SETTINGS
    peer = PeerSettings()
    assert peer.take(told.payload, from_server=True) == 100_000 - 65_535
    assert (peer.streams, peer.window, peer.frame) == (7, 100_000, 20_000)


def test_no_limit_to_streams() -> None:
    """Before a server has said anything a hundred is a fair guess; one that names no limit has none."""
    peer = PeerSettings()
    assert peer.streams == 100
    peer.take(read(settings((4, 1)))[0].payload, from_server=True)
    assert peer.streams > 1_000_000
