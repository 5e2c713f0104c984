"""What the statistics refuse: counts that cannot be, hypotheses that do not match, bytes that are no evidence."""

from __future__ import annotations

from router.errors import RouterError


class EvidenceError(RouterError):
    """Counts, a hypothesis or a stored state that cannot be what it says."""
