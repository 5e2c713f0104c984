"""Where a rollout stands, read from what the API says of it. Pure; what shows it is `rollout_tables` and `watching`.

What people type is here too as far as it is about a rollout that is under way: stages by name or by number, and the
outcomes that one may wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from router.phases import OVER, STANDING, Phase
from router.verdicts.guardrails import USUAL, Terms
from router.verdicts.shown import Shown, shown_from
from router.verdicts.terms_form import terms_from

_LONGEST_SHOWN: Final = 400


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the plan, as far as people are shown it.

    Attributes:
        name: of the plan.
        does: run, bake or watch.
        min_s: its shortest time, seconds.
        min_requests: the fewest requests of each of its versions.
        approval: whether somebody approves before it is entered.
        needs: what it needs beside those: minima (nothing), verdict or either.
    """

    name: str
    does: str
    min_s: int
    min_requests: int
    approval: bool
    needs: str = "minima"


@dataclass(frozen=True, slots=True)
class Lately:
    """How one version answered within the last ten seconds.

    Attributes:
        per_s: first attempts and copies per second.
        errors: the share of those that failed, from 0 to 1.
        p50_ms: half of the answers came within this; None where there were none.
        p99_ms: ninety-nine of a hundred did.
    """

    per_s: float
    errors: float
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A rollout at one moment.

    Attributes:
        id: of the rollout.
        model: whose.
        kind: what people call its plan.
        phase: where it stands.
        revision: counts its changes; a change names the one that it was made from.
        stage: counted from 0; -1 before the first.
        stages: of the plan.
        shares: what it gives now, parts per million by version, stable among them.
        desired: what its stage is to give, which is more where a version carries less than that.
        stable: the version from before.
        candidate: the version that is to take over, if one is named.
        ahead: what comes next: 'stage '25 %'' or 'the end'; empty where nothing does.
        next_s: seconds until this stage has had its shortest time; None where that is not known.
        waits: what keeps it from going on, in sentences.
        requests: since this stage's shares, by version.
        lately: how versions answered within the last ten seconds.
        verdicts: what the evidence says of each version that is on trial, and on which numbers.
        terms: by what they are judged.
        cause: why it stands where it stands, where that needs a reason.
        advised: what it recommends, where it does not act alone.
        automation: how much it does by itself.
        by_hand: whether an operator set the shares.
        who: started it.
        began: when, as the API says it.
    """

    id: str
    model: str
    kind: str
    phase: Phase
    revision: int
    stage: int
    stages: tuple[Stage, ...]
    shares: Mapping[int, int]
    stable: int
    candidate: int | None
    ahead: str = ""
    next_s: float | None = None
    waits: tuple[str, ...] = ()
    requests: Mapping[int, int] = field(default_factory=dict)
    desired: Mapping[int, int] = field(default_factory=dict)
    lately: Mapping[int, Lately] = field(default_factory=dict)
    verdicts: Mapping[int, Shown] = field(default_factory=dict)
    terms: Terms = USUAL
    cause: str = ""
    advised: str = ""
    automation: str = ""
    by_hand: bool = False
    who: str = ""
    began: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", MappingProxyType(dict(self.shares)))
        object.__setattr__(self, "requests", MappingProxyType(dict(self.requests)))
        object.__setattr__(self, "desired", MappingProxyType(dict(self.desired or self.shares)))
        object.__setattr__(self, "lately", MappingProxyType(dict(self.lately)))
        object.__setattr__(self, "verdicts", MappingProxyType(dict(self.verdicts)))

    @property
    def over(self) -> bool:
        """Whether nothing moves it any more, but perhaps a retry."""
        return self.phase in OVER

    @property
    def asks(self) -> bool:
        """Whether it waits for an approval."""
        return self.phase is Phase.WAITING

    @property
    def stands(self) -> bool:
        """Whether its clock stands still."""
        return self.phase in STANDING or self.over

    @property
    def cut(self) -> bool:
        """Whether some version carries less than its stage is to give it."""
        return any(self.shares.get(one, 0) != share for one, share in self.desired.items())

    @property
    def place(self) -> str:
        """'stage 2 of 6 '5 %'', or that it is before the first."""
        if self.stage < 0:
            return f"before the first of {len(self.stages)} stages"
        return f"stage {self.stage + 1} of {len(self.stages)} '{self.stages[self.stage].name}'"

    def role_of(self, version: int) -> str:
        """stable, candidate or arm."""
        if version == self.stable:
            return "stable"
        return "candidate" if version == self.candidate else "arm"


class Outcome(StrEnum):
    """What one may wait for, as it is typed."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    OVER = "over"
    """Any of the three above."""
    RUNNING = "running"
    BAKING = "baking"
    WATCHING = "watching"
    WAITING = "waiting"
    """For an approval."""
    PAUSED = "paused"


_PHASES: Final[Mapping[Outcome, frozenset[Phase]]] = MappingProxyType(
    {
        Outcome.PROMOTED: frozenset({Phase.PROMOTED}),
        Outcome.ROLLED_BACK: frozenset({Phase.ROLLED_BACK}),
        Outcome.FAILED: frozenset({Phase.FAILED}),
        Outcome.OVER: OVER,
        Outcome.RUNNING: frozenset({Phase.RUNNING}),
        Outcome.BAKING: frozenset({Phase.BAKING}),
        Outcome.WATCHING: frozenset({Phase.WATCHING}),
        Outcome.WAITING: frozenset({Phase.WAITING}),
        Outcome.PAUSED: frozenset({Phase.PAUSED}),
    }
)


def reached(standing: Standing, outcome: Outcome) -> bool | None:
    """Whether it is there; None while it may still get there."""
    if standing.phase in _PHASES[outcome]:
        return True
    return False if standing.over else None


def outcome_named(text: str) -> Outcome:
    """What one may wait for, by its name; 'rolled back' and 'ROLLED_BACK' are names of it too.

    Raises:
        ValueError: there is none of that name; says which there are.
    """
    said = "-".join(text.lower().replace("_", " ").replace("-", " ").split())
    if said not in set(Outcome):
        listed = ", ".join(one.value for one in Outcome)
        raise ValueError(f"{text!r} is nothing that one can wait for: there are {listed}")
    return Outcome(said)


def stage_named(standing: Standing, text: str) -> int:
    """The stage that was typed: its name (spaces do not matter), its number from 1, or 'end'.

    Raises:
        ValueError: there is none of that name; says which there are.
    """
    said = _close(text)
    names = [_close(stage.name) for stage in standing.stages]
    if said in names:
        return names.index(said)
    if said == "end":
        return len(names)
    if said.isdecimal() and 1 <= int(said) <= len(names):
        return int(said) - 1
    listed = ", ".join(f"'{stage.name}'" for stage in standing.stages)
    raise ValueError(f"there is no stage {text!r}: there are {listed} and end, or their numbers from 1")


def printable(text: object) -> str:
    """What somebody else wrote, without what a terminal would obey, on one line."""
    said = " ".join(str(text).split())
    said = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in said)
    return said if len(said) <= _LONGEST_SHOWN else said[: _LONGEST_SHOWN - 1] + "…"


def _close(text: str) -> str:
    return "".join(text.split()).casefold()


def standing_from(said: Mapping[str, Any]) -> Standing:
    """The rollout that the API speaks of in full.

    Raises:
        KeyError, TypeError, ValueError: it is not said as this release says it.
    """
    return Standing(
        id=str(said["id"]),
        model=printable(said["model"]),
        kind=str(said["kind"]),
        phase=Phase(said["phase"]),
        revision=int(said["revision"]),
        stage=int(said["stage_number"]),
        stages=tuple(_stage(one) for one in said["plan"]["stages"]),
        shares=_numbers(said["shares"]),
        stable=int(said["stable"]),
        candidate=said["candidate"],
        ahead=printable(said["next_stage"] or ""),
        next_s=said["next_step_s"],
        waits=tuple(printable(one) for one in said["waits"]),
        requests=_numbers(said["requests"]),
        desired=_numbers(said.get("desired", said["shares"])),
        lately={int(one): _lately(how) for one, how in said.get("lately", {}).items()},
        verdicts=_verdicts(said.get("verdicts") or {}),
        terms=terms_from(said["plan"].get("terms") or {}),
        cause=printable(said["cause"]),
        advised=printable(said["advised"]),
        automation=str(said["automation"]),
        by_hand=bool(said["by_hand"]),
        who=printable(said["created_by"]),
        began=str(said["created_at"]),
    )


def _stage(said: Mapping[str, Any]) -> Stage:
    return Stage(
        name=printable(said["name"]),
        does=str(said.get("does", "run")),
        min_s=int(said.get("min_s", 0)),
        min_requests=int(said.get("min_requests", 0)),
        approval=bool(said.get("approval", False)),
        needs=str(said.get("needs", "minima")),
    )


def _verdicts(said: Mapping[str, Any]) -> dict[int, Shown]:
    """Those that there are: a version that has had no traffic yet has none."""
    found = {int(version): shown_from(one) for version, one in said.items() if one is not None}
    return {version: replace(one, words=printable(one.words)) for version, one in sorted(found.items())}


def _lately(said: Mapping[str, Any]) -> Lately:
    p50, p99 = said["p50_ms"], said["p99_ms"]
    return Lately(
        per_s=float(said["requests_per_s"]),
        errors=float(said["error_share"]),
        p50_ms=None if p50 is None else float(p50),
        p99_ms=None if p99 is None else float(p99),
    )


def lately_words(how: Lately | None) -> tuple[str, str, str, str]:
    """Requests per second, share of errors, p50 and p99 for a table; empty where nothing is known."""
    if how is None:
        return ("", "", "", "")
    return (f"{how.per_s:,.1f}", f"{how.errors * 100:.2f} %", _took(how.p50_ms), _took(how.p99_ms))


def _took(ms: float | None) -> str:
    """'4.2 ms', '310 ms' or '1.25 s': no more figures than the buckets are worth."""
    if ms is None:
        return ""
    if ms < 1_000:  # noqa: PLR2004 - milliseconds in a second
        return f"{ms:.1f} ms" if ms < 100 else f"{ms:.0f} ms"  # noqa: PLR2004 - three figures
    return f"{ms / 1_000:.2f} s"


def _numbers(said: Mapping[str, Any]) -> dict[int, int]:
    return {int(version): int(number) for version, number in said.items()}
