"""On how many examples a property is tried: a quarter in `make test`, all of them in `make test-thorough`.

`pytest --hypothesis-profile=thorough` tries all; what fails there fails in a quarter of them sooner or later, for each
run draws others. Where the environment has `CI` the draws are the same in every run, so that what changes in how a run
ends is what changed in the code.
"""

from __future__ import annotations

from hypothesis import settings

SHORT, THOROUGH = "short", "thorough"
_LEAST = 20


def examples(thorough: int) -> int:
    """The `max_examples` of a property that is thoroughly tried on so many."""
    return thorough if settings.get_current_profile_name() == THOROUGH else max(_LEAST, thorough // 4)
