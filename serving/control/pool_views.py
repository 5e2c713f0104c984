"""How pools are shown in the status: what runs, what sleeps, what could not be started, and how servers died."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from serving.control.attempts import Attempt
from serving.control.reconciler import DEPLOY_FAILED
from serving.control.views import PoolView
from serving.endpoint import Crash, crashes_in, next_start_ms
from serving.pools import PoolSpec, PoolState

ASLEEP = "ASLEEP"
"""The state of a version that has no servers because nothing needs them."""


def there(state: PoolState, crashes: Sequence[Crash], now_ms: int, *, stray: bool) -> PoolView:
    """A pool that is there.

    Args:
        state: in Serve's words.
        crashes: of its version's servers in the last hour, newest first.
        now_ms: the store's time.
        stray: whether it runs only because a policy routes to it.
    """
    view = PoolView(
        state.key.model,
        state.key.version,
        state.state,
        state.message,
        state.key.digest,
        state.replicas_running,
        state.replicas_wanted,
        stray=stray,
    )
    return _with_crashes(view, crashes, now_ms)


def asleep(spec: PoolSpec) -> PoolView:
    """A pool that is wanted, and is not there because nothing routes to it."""
    return PoolView(*spec.key, ASLEEP, "Nothing routes to it.", spec.digest)


def refused(spec: PoolSpec, tried: Attempt, crashes: Sequence[Crash], now_ms: int, wait_s: float) -> PoolView:
    """A pool that is wanted, and could not be started.

    Args:
        spec: what is wanted.
        tried: how that went.
        crashes: of its version's servers in the last hour, newest first.
        now_ms: the store's time.
        wait_s: until it is tried again, seconds.
    """
    failed = PoolView(*spec.key, DEPLOY_FAILED, tried.words, spec.digest, wanted=spec.options.replicas)
    return replace(_with_crashes(failed, crashes, now_ms), next_start_ms=now_ms + round(wait_s * 1000))


def _with_crashes(view: PoolView, of_version: Sequence[Crash], now_ms: int) -> PoolView:
    crashes = crashes_in(view.digest, of_version)
    if not crashes:
        return view
    waits = view.ready < view.wanted
    return replace(
        view,
        crashes=len(crashes),
        last_words=crashes[0].words,
        last_crash_ms=crashes[0].at_ms,
        next_start_ms=next_start_ms(crashes, now_ms) if waits else None,
    )
