"""Threads for work on artifacts: copying, measuring, verifying and reading them.

Ray Serve gives the control room's loop as few as five threads, and every call to Serve takes one of them. A copy takes
minutes, so it must never be one of the five. How many there are here is bounded too: what finds none waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_Takes = ParamSpec("_Takes")
_Result = TypeVar("_Result")

MOST = 12
"""As many as there are operations at once, and four for what is looked at while somebody waits for the answer."""

_THREADS = ThreadPoolExecutor(MOST, thread_name_prefix="artifacts")


def on_artifacts(
    work: Callable[_Takes, _Result], *args: _Takes.args, **named: _Takes.kwargs
) -> asyncio.Future[_Result]:
    """That work, begun in one of these threads as soon as one is free; cancelling it does not end a thread."""
    return asyncio.get_running_loop().run_in_executor(_THREADS, lambda: work(*args, **named))
