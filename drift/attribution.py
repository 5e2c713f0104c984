"""Whose fault is it, and what follows? One table, from what is known of a drift to its cause and to what is to be done.

The table is read from the top, and the first row that fits is the answer: a broken schema before everything, since all
else may follow from it; the errors that labels show before what only moved; what calls for an action before what is
only worth knowing. "Moved" is always against a version's own baseline. What is not known is no calm: a version that
nobody has looked at since is not blamed, and nobody is blamed because of it.

Harm is what labels show, or a verdict of the model's rollout against its candidate. That answers moved is no harm: a
model that is right answers otherwise when it is asked otherwise. Nothing is trained anew but for what labels show: a
verdict may be against a candidate that is merely slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Act(StrEnum):
    """How much is done for a model."""

    OBSERVE = "observe"
    """The ledger alone says what was found, and what it is put down to."""
    RECOMMEND = "recommend"
    """Webhooks hear what it is put down to, and what would be done."""
    APPROVE = "approve"
    """Likewise; it is done once an operator approves."""
    ACT = "act"
    """It is done at once."""


class Inputs(StrEnum):
    """Of which versions the inputs moved."""

    UNSEEN = "unseen"
    """None did, but not all that matter were looked at."""
    RISING = "rising"
    """None did, but the evidence for it is half way to an alarm."""
    CALM = "calm"
    """None did, and all that matter were looked at."""
    SEGMENT = "segment"
    """They moved in one segment alone."""
    CANDIDATE = "candidate"
    """A candidate's alone: what it was trained on is not what comes."""
    DOUBT = "doubt"
    """A candidate's; of stable it is not known."""
    PART = "part"
    """Of some, while another version knows such inputs."""
    ALL = "all"
    """Of all that were looked at."""


class Blame(StrEnum):
    """Of which versions answers, or errors, moved."""

    NOWHERE = "nowhere"
    DOUBT = "doubt"
    """A candidate's; of stable it is not known."""
    CANDIDATE = "candidate"
    """A candidate's alone: stable was looked at, and is calm."""
    OTHERS = "others"
    """Of stable, or of another version that is not on trial."""


class Arms(StrEnum):
    """How candidate and stable differ where both answer."""

    ALIKE = "alike"
    WITHIN = "within"
    """By no more than the rollout declares."""
    UNDECLARED = "undeclared"
    """They differ, and the rollout declares nothing: a better model differs, too."""
    BEYOND = "beyond"
    """By more than the rollout declares."""


class Cause(StrEnum):
    """What is at fault."""

    INPUTS = "inputs"
    CANDIDATE = "candidate"
    ARMS = "arms"
    SCHEMA = "schema"
    SEGMENT = "segment"
    LABELS = "labels"
    UNKNOWN = "unknown"


class Action(StrEnum):
    """What is to be done about it."""

    NOTHING = "nothing"
    NOTIFY = "notify"
    RECOMMEND = "recommend"
    ALERT = "alert"
    RETRAIN = "retrain"
    ROLLBACK = "rollback"

    @property
    def rank(self) -> int:
        """How much it is: of an incident nobody is told less than was told before."""
        return _RANKS[self]

    @property
    def acts(self) -> bool:
        """Whether it changes something, and is not only told."""
        return self in {Action.RETRAIN, Action.ROLLBACK}


_RANKS: Final = {
    Action.NOTHING: 0, Action.NOTIFY: 1, Action.RECOMMEND: 2, Action.ALERT: 3, Action.RETRAIN: 4, Action.ROLLBACK: 4,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a drift.

    Attributes:
        schema: whether a schema is broken.
        inputs: of which versions they moved.
        outputs: of which versions answers moved.
        labels: of which versions errors rose.
        arms: how candidate and stable differ.
        against: whether the rollout's verdict is against its candidate.
    """

    schema: bool = False
    inputs: Inputs = Inputs.UNSEEN
    outputs: Blame = Blame.NOWHERE
    labels: Blame = Blame.NOWHERE
    arms: Arms = Arms.ALIKE
    against: bool = False

    @property
    def harm(self) -> bool:
        """Whether it is shown that it does harm."""
        return self.against or self.labels is not Blame.NOWHERE

    @property
    def alarmed(self) -> bool:
        """Whether any layer is."""
        moved = self.inputs not in {Inputs.UNSEEN, Inputs.RISING, Inputs.CALM}
        blamed = self.outputs is not Blame.NOWHERE or self.labels is not Blame.NOWHERE
        return self.schema or moved or blamed or self.arms is not Arms.ALIKE


@dataclass(frozen=True, slots=True)
class Attribution:
    """What is at fault, what is to be done, and why, in a sentence."""

    cause: Cause
    action: Action
    words: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: what it answers, and for which evidence. None takes anything.

    Attributes:
        said: what it answers.
        schema: whether one is broken.
        inputs: any of these.
        outputs: any of these.
        labels: any of these.
        arms: any of these.
        harm: whether it is shown.
    """

    said: Attribution
    schema: bool | None = None
    inputs: frozenset[Inputs] | None = None
    outputs: frozenset[Blame] | None = None
    labels: frozenset[Blame] | None = None
    arms: frozenset[Arms] | None = None
    harm: bool | None = None

    def fits(self, evidence: Evidence) -> bool:
        """Whether this row is about such evidence."""
        pairs = (
            (self.inputs, evidence.inputs), (self.outputs, evidence.outputs), (self.labels, evidence.labels),
            (self.arms, evidence.arms),
        )  # fmt: skip
        return (
            self.schema in (None, evidence.schema)
            and self.harm in (None, evidence.harm)
            and all(allowed is None or found in allowed for allowed, found in pairs)
        )


def attribute(evidence: Evidence) -> Attribution:
    """What is at fault, and what is to be done: the first row that fits; the last one always does."""
    return next(row.said for row in TABLE if row.fits(evidence))


def _said(cause: Cause, action: Action, words: str) -> Attribution:
    return Attribution(cause, action, words)


_BLAMED: Final = frozenset({Blame.CANDIDATE, Blame.DOUBT})
_NOT_MOVED: Final = frozenset({Inputs.CALM, Inputs.UNSEEN, Inputs.RISING})

TABLE: Final[tuple[Row, ...]] = (
    Row(
        _said(Cause.SCHEMA, Action.ALERT, "The schema is broken: until it is mended, nothing else can be told."),
        schema=True,
    ),
    # A fault of one segment is most often one of whoever delivers it: who retrains on it teaches it to the model.
    Row(
        _said(Cause.SEGMENT, Action.ALERT, "Inputs moved in one segment alone: look at who delivers that segment."),
        inputs=frozenset({Inputs.SEGMENT}),
    ),
    Row(
        _said(Cause.CANDIDATE, Action.ROLLBACK, "Only the candidate errs more than at first; stable does not."),
        labels=frozenset({Blame.CANDIDATE}),
        inputs=frozenset({Inputs.CALM, Inputs.UNSEEN, Inputs.CANDIDATE}),
    ),
    Row(
        _said(
            Cause.CANDIDATE,
            Action.RECOMMEND,
            "Only the candidate errs more than at first, and inputs moved or are about to: go back, or look first.",
        ),
        labels=frozenset({Blame.CANDIDATE}),
    ),
    Row(
        _said(Cause.INPUTS, Action.RETRAIN, "Inputs moved for all versions that were looked at, and it does harm."),
        inputs=frozenset({Inputs.ALL}),
        labels=frozenset(Blame) - {Blame.NOWHERE},
    ),
    Row(
        _said(
            Cause.INPUTS,
            Action.RECOMMEND,
            "Inputs moved, it does harm, and a version of this model knows such inputs: give it the traffic.",
        ),
        inputs=frozenset({Inputs.PART}),
        harm=True,
    ),
    Row(
        _said(Cause.LABELS, Action.RETRAIN, "Errors rose, and inputs did not move for all: what is right has changed."),
        labels=frozenset({Blame.OTHERS}),
    ),
    Row(
        _said(
            Cause.CANDIDATE,
            Action.RECOMMEND,
            "The candidate errs more than at first, and whether stable does is not known: look at both.",
        ),
        labels=frozenset({Blame.DOUBT}),
    ),
    Row(
        _said(
            Cause.INPUTS,
            Action.RECOMMEND,
            "Inputs moved, and the rollout's verdict is against its candidate: look at both.",
        ),
        inputs=frozenset({Inputs.ALL, Inputs.DOUBT}),
        harm=True,
    ),
    Row(
        _said(Cause.CANDIDATE, Action.ROLLBACK, "Only the candidate's answers moved, and inputs are calm."),
        outputs=frozenset({Blame.CANDIDATE}),
        inputs=frozenset({Inputs.CALM}),
    ),
    Row(
        _said(
            Cause.CANDIDATE,
            Action.RECOMMEND,
            "The candidate's answers moved, and it is not known whether inputs or stable's answers did: look at both.",
        ),
        outputs=_BLAMED,
        inputs=_NOT_MOVED,
    ),
    Row(
        _said(
            Cause.ARMS,
            Action.ROLLBACK,
            "The candidate answers otherwise than stable by more than the rollout declares, and inputs are calm.",
        ),
        arms=frozenset({Arms.BEYOND}),
        inputs=frozenset({Inputs.CALM}),
    ),
    Row(
        _said(
            Cause.ARMS,
            Action.RECOMMEND,
            "The candidate answers otherwise than stable, as a better model does, too: look which of them is right.",
        ),
        arms=frozenset({Arms.BEYOND, Arms.UNDECLARED}),
    ),
    Row(
        _said(
            Cause.CANDIDATE,
            Action.RECOMMEND,
            "What comes is not what the candidate was trained on, and the rollout's verdict is against it.",
        ),
        inputs=frozenset({Inputs.CANDIDATE}),
        harm=True,
    ),
    Row(
        _said(Cause.CANDIDATE, Action.NOTIFY, "What comes is not what the candidate was trained on; no harm is shown."),
        inputs=frozenset({Inputs.CANDIDATE}),
    ),
    Row(
        _said(Cause.INPUTS, Action.NOTIFY, "Inputs moved, and no harm is shown."),
        inputs=frozenset({Inputs.DOUBT, Inputs.PART, Inputs.ALL}),
    ),
    Row(
        _said(Cause.UNKNOWN, Action.NOTIFY, "Answers moved, and neither inputs nor the candidate alone explain it."),
        outputs=frozenset({Blame.OTHERS}),
    ),
    Row(
        _said(Cause.ARMS, Action.NOTHING, "The candidate differs from stable by no more than the rollout declares."),
        arms=frozenset({Arms.WITHIN}),
    ),
    Row(_said(Cause.UNKNOWN, Action.NOTHING, "Nothing is alarmed.")),
)
"""From the top; the first row that fits is the answer."""
