"""What the pure core refuses: one sentence each, that names the value and what is allowed."""


class RouterError(ValueError):
    """Base of everything this room refuses; its text is meant to be shown to the person who sent the value."""


class PolicyError(RouterError):
    """A policy, a share or a snapshot that cannot be what it says."""


class RequestIdError(RouterError):
    """A request id that this gateway did not mint, or whose key is no longer kept."""
