"""What the control room refuses or cannot do. Which HTTP status tells it is the business of `serving.control.api`."""

from __future__ import annotations

from router.policy import Policy
from serving.errors import SluiceError


class StoreUnavailable(SluiceError):  # noqa: N818 - named after what happened; SluiceError says that it is an error
    """The store does not answer, or answers that it cannot serve now."""


class StoreDamaged(StoreUnavailable):
    """The store answers, but lacks something that it must have, or holds something that nobody of ours wrote."""


class StoreUnsuitable(SluiceError):  # noqa: N818 - as above
    """The store's server can never do what is asked of it."""


class Contended(SluiceError):  # noqa: N818 - as above
    """Changes of other models kept coming in between, so that this one found no moment of its own."""


class Unknown(SluiceError):  # noqa: N818 - as above
    """There is no such model, version or request."""


class UnknownOperation(Unknown):
    """There is no such operation, or not any more."""


class UnknownKey(Unknown):
    """There is no such API key, or not any more."""


class NameTaken(SluiceError):  # noqa: N818 - as above
    """Another API key that is in force has that name."""


class Unacceptable(SluiceError):  # noqa: N818 - as above
    """Understood, and refused as it stands."""


class Busy(SluiceError):  # noqa: N818 - as above
    """Another operation is under way that excludes this one; the sentence names it."""


class InUse(SluiceError):  # noqa: N818 - as above
    """What is to be taken away is needed; the sentence says by whom."""


class UnknownRollout(Unknown):
    """There is no such rollout, or not any more."""


class NotNow(SluiceError):  # noqa: N818 - as above
    """A rollout cannot do that where it stands; the sentence says why."""


class RolloutMoved(SluiceError):  # noqa: N818 - as above
    """The rollout is not at the revision that the caller knew."""


class RolloutActive(InUse):
    """A rollout of the model is in progress, and it alone moves the model's traffic.

    Args:
        rollout: its id.
    """

    def __init__(self, rollout: str) -> None:
        super().__init__(
            f"The rollout {rollout} is in progress, and it alone moves this model's traffic.",
            f"Set its shares (PATCH /api/v1/rollouts/{rollout}), or end it first: promote it, or roll it back.",
        )
        self.rollout = rollout
        self.args = (rollout,)


class ModelStopped(InUse):
    """Somebody has stopped the model, and no share grows until that is taken back.

    Args:
        model: which.
    """

    def __init__(self, model: str) -> None:
        super().__init__(
            f"{'Everything' if model == '*' else f'The model {model}'} is stopped: no share grows.",
            "Take the stop back first, with `sluice stop --undo`.",
        )
        self.model = model
        self.args = (model,)


class GatewayTooOld(InUse):
    """A gateway could not read what is to be published.

    Args:
        gateway: its id.
    """

    def __init__(self, gateway: str) -> None:
        super().__init__(
            f"The gateway {gateway} is of an earlier release, and could not read this policy.",
            "Bring it up to date or take it away; a policy without rules, unit sources and flips needs neither.",
        )
        self.gateway = gateway
        self.args = (gateway,)


class Deposed(SluiceError):  # noqa: N818 - as above
    """Another conductor has taken over."""

    def __init__(self) -> None:
        super().__init__("Another control room has taken over.", "It goes on with what this one did.")
        self.args = ()


class TooOften(SluiceError):  # noqa: N818 - as above
    """More is asked in a second than is taken."""


class Overloaded(SluiceError):  # noqa: N818 - as above
    """As much is under way as may be."""


class Conflict(SluiceError):  # noqa: N818 - as above
    """Somebody changed the model's policy first.

    Args:
        model: whose policy it is.
        expected: the revision that the caller knew, 0 for "no policy yet".
        revision: the one that is there now, 0 where there is none.
        policy: the policy that is there now, None where there is none.
    """

    def __init__(self, model: str, expected: int, revision: int, policy: Policy | None) -> None:
        there = f"its policy is at revision {revision} now" if revision else "it has no policy now"
        super().__init__(
            f"The change to {model} began at revision {expected}, and {there}.",
            "Look at the policy that is there now, decide again, and send the change with its revision.",
        )
        self.model = model
        self.expected = expected
        self.revision = revision
        self.policy = policy
        # For the base class's pickling, which calls the constructor with `args`.
        self.args = (model, expected, revision, policy)

    def __str__(self) -> str:
        """The sentence."""
        return self.sentence
