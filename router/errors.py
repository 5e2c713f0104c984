"""What the pure core refuses: one sentence each, that names the value and what is allowed."""


class RouterError(ValueError):
    """Base of everything this room refuses; its text is meant to be shown to the person who sent the value."""


class PolicyError(RouterError):
    """A policy, a share or a snapshot that cannot be what it says."""


class PlanError(RouterError):
    """A plan that cannot be carried out; names every mistake, each with its place."""


class RolloutError(RouterError):
    """What an operator asked of a rollout and may not have: the phase, the calendar or the record forbids it."""


class RequestIdError(RouterError):
    """A request id that this gateway did not mint, or whose key is no longer kept."""
