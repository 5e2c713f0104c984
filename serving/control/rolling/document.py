"""What a rollout is started with, as a document: the body of a POST, and the file `rollout.yaml`. Pure.

Either a whole plan (`docs/rollouts.md`), or the strategies by name with what people say of them; several of these are
put together in the order shadow, blue-green, canary, A/B test. Times are written like `10m`, shares like `12.5%`, never
without their unit.

What a stage needs beside its time and requests is, where the document does not say so, nothing more (`minima`). Since
nobody gives verdicts here, a stage that needs one is refused: it would never be passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, cast

from router.codec import rule_from_dict
from router.errors import PlanError, RouterError
from router.match import How, Match, Place
from router.plan import End, Needs, Plan
from router.plan_form import plan_as_dict, plan_from, seconds_of
from router.policy import WHOLE, Shadow, parse_share
from router.rollout import Automation
from router.schema import mistakes
from router.strategies import CanaryStep, Decide, ab_test, blue_green, canary, put_together, shadow
from serving.control.rolling.discretion import discreet
from serving.control.rolling.document_schema import DOCUMENT_SCHEMA, END
from serving.control.rolling.outward import Event, Gate, GateKind, Hook

STRATEGIES: Final = ("shadow", "blue_green", "canary", "ab_test")
"""In the order in which they are put together."""

_HOLD: Final = "10m"
_DEEPEST: Final = 32


@dataclass(frozen=True, slots=True)
class Document:
    """A rollout as somebody asks for it.

    Attributes:
        plan: what is to happen.
        model: whose; empty where that is said elsewhere.
        automation: how much it does by itself.
        gates: whom it asks.
        hooks: whom it tells.
        again: whether a version that was rolled back is tried again.
        why: for the ledger.
    """

    plan: Plan
    model: str = ""
    automation: Automation = Automation.ALONE
    gates: tuple[Gate, ...] = ()
    hooks: tuple[Hook, ...] = ()
    again: bool = False
    why: str = ""


def document_from(said: object) -> Document:
    """The rollout that a document asks for.

    Args:
        said: plain values, as JSON or YAML gives them; YAML's numbers as names are taken for what they look like.

    Raises:
        PlanError: no such document; names every mistake, each with its place.
    """
    check_legible(said)
    plain = _named(said)
    _refuse(mistakes(DOCUMENT_SCHEMA, plain))
    fields = cast("Mapping[str, Any]", plain)  # the schema has made sure
    wrong: list[str] = []
    gates = [_built(wrong, f"gates[{nth}]", _gate, one) for nth, one in enumerate(fields.get("gates", ()))]
    hooks = [_built(wrong, f"webhooks[{nth}]", _hook, one) for nth, one in enumerate(fields.get("webhooks", ()))]
    plan = _built(wrong, "", _plan, fields)
    _refuse(wrong)
    return Document(
        plan=plan,
        model=fields.get("model", ""),
        automation=Automation(fields.get("automation", Automation.ALONE)),
        gates=tuple(gates),
        hooks=tuple(hooks),
        again=fields.get("again", False),
        why=fields.get("why", ""),
    )


def check_legible(said: object) -> None:
    """Refuses what nobody could write down: text that is no Unicode (half a surrogate pair), and endless nesting.

    Raises:
        PlanError: says which.
    """
    left = [(said, 0)]
    while left:
        value, depth = left.pop()
        if depth > _DEEPEST:
            raise PlanError(f"the document is nested deeper than {_DEEPEST} levels: no rollout is")
        if isinstance(value, str) and not _is_unicode(value):
            # Which one is not said: it may be a secret.
            raise PlanError("the document has text that is no Unicode: half a character, a lone surrogate")
        if isinstance(value, Mapping):
            left += [(one, depth + 1) for pair in value.items() for one in pair]
        elif isinstance(value, list | tuple):
            left += [(one, depth + 1) for one in value]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def with_secrets(said: object, variables: Mapping[str, str]) -> object:
    """The document with every `secret_env` replaced by what that variable says; for whoever reads the file.

    Raises:
        PlanError: a variable is not set.
    """
    if not isinstance(said, Mapping) or not isinstance(said.get("webhooks"), list):
        return said
    return {**said, "webhooks": [_with_secret(one, variables) for one in said["webhooks"]]}


def _with_secret(hook: object, variables: Mapping[str, str]) -> object:
    if not isinstance(hook, Mapping) or not isinstance(hook.get("secret_env"), str):
        return hook
    name = hook["secret_env"]
    if name not in variables:
        raise PlanError(f"the variable {name}, which is to hold a webhook's secret, is not set")
    return {key: value for key, value in hook.items() if key != "secret_env"} | {"secret": variables[name]}


def _plan(said: Mapping[str, Any]) -> Plan:
    named = [name for name in STRATEGIES if name in said]
    if ("plan" in said) is bool(named):
        have = "both" if named else "neither"
        raise PlanError(f"there is {have}: give a plan, or strategies ({', '.join(STRATEGIES)})")
    if "plan" in said:
        if clash := [name for name in ("candidate", "freezes", "deadline", "on_deadline", "salt") if name in said]:
            raise PlanError(f"{', '.join(clash)} beside a plan: the plan says that itself")
        return _without_verdicts(plan_from(_with_minima(said["plan"])))
    plans = [_MADE_BY[name](said[name], said.get("candidate")) for name in named]
    candidates = {plan.candidate for plan in plans if plan.end is not End.RESTORE}
    if any(plan.end is not End.RESTORE for plan in plans):  # a shadow before something else may be of any version
        plans = [replace(one, candidate=None) if one.candidate not in candidates else one for one in plans]
    plan = plans[0] if len(plans) == 1 else put_together(*plans)
    return _with_settings(plan, said)


def _with_settings(plan: Plan, said: Mapping[str, Any]) -> Plan:
    """The plan with what holds all the way, read as a plan says it."""
    plain = plan_as_dict(plan)
    plain |= {"salt": said["salt"]} if "salt" in said else {}
    plain |= {"freezes": said["freezes"]} if "freezes" in said else {}
    plain |= {"deadline_s": said["deadline"]} if "deadline" in said else {}
    plain |= {"on_deadline": said["on_deadline"]} if "on_deadline" in said else {}
    return plan_from(plain)


def _with_minima(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {**plan, "stages": [{"needs": Needs.MINIMA.value, **stage} for stage in plan["stages"]]}


def _without_verdicts(plan: Plan) -> Plan:
    """The plan, if it can be walked without verdicts."""
    wants = [f"stages[{nth}]" for nth, stage in enumerate(plan.stages) if stage.needs is Needs.VERDICT]
    if wants:
        raise PlanError(
            f"{', '.join(wants)}: needs is '{Needs.VERDICT}', and nobody gives verdicts here, so it would never be "
            f"passed: write '{Needs.MINIMA}' for its time and requests"
        )
    return plan


def _shadow(said: Mapping[str, Any], candidate: int | None) -> Plan:
    version = said.get("version", candidate)
    if version is None:
        raise PlanError("shadow.version is missing: say which version gets copies")
    copies = Shadow(
        version,
        _share(said.get("sample", WHOLE)),
        max_per_s=said.get("max_per_s"),
        max_in_flight=said.get("max_in_flight"),
    )
    return shadow(copies, duration_s=seconds_of(said.get("for", "1h")), min_requests=said.get("min_requests", 0))


def _canary(said: Mapping[str, Any], candidate: int | None) -> Plan:
    steps = [_share(step) for step in said["steps"]]
    asked = [one for one in said.get("approve", ()) if one != END]
    approve = {_share(one) for one in asked}
    if strays := sorted(approve - set(steps)):
        raise PlanError(f"canary.approve names {strays[0]} ppm, which is none of the steps")
    hold_s, least = seconds_of(said.get("hold", _HOLD)), said.get("min_requests", 0)
    return canary(
        _needed(candidate, "canary"),
        [CanaryStep(step, hold_s, least, step in approve) for step in steps],
        watch_s=_seconds(said.get("watch")),
        approve_end=END in said.get("approve", ()),
    )


def _ab_test(said: Mapping[str, Any], _candidate: int | None) -> Plan:
    return ab_test(
        {int(version): _share(share) for version, share in said["arms"].items()},
        duration_s=_seconds(said.get("for")),
        sample_size=said.get("sample_size", 0),
        decide=Decide(said.get("decide", Decide.BEST)),
        undecided=End(said.get("undecided", End.RESTORE)),
        watch_s=_seconds(said.get("watch")),
    )


def _blue_green(said: Mapping[str, Any], candidate: int | None) -> Plan:
    version = _needed(candidate, "blue_green")
    return blue_green(
        version,
        preview=_conditions(said.get("preview", ()), version),
        bake_s=seconds_of(said.get("bake", _HOLD)),
        approval=said.get("approval", True),
        keep_warm_s=seconds_of(said.get("keep_warm", "1h")),
    )


def _conditions(said: Sequence[Mapping[str, Any]], version: int) -> Sequence[Match]:
    if not said:
        return ()
    when = [{"how": How.EQUALS.value, "place": Place.ANY.value, **one} for one in said]
    return rule_from_dict({"version": version, "when": when}).when


_MADE_BY: Final[Mapping[str, Callable[[Mapping[str, Any], int | None], Plan]]] = MappingProxyType(
    {"shadow": _shadow, "blue_green": _blue_green, "canary": _canary, "ab_test": _ab_test}
)


def _gate(said: Mapping[str, Any]) -> Gate:
    timeout_s = seconds_of(said.get("timeout", "10s"))
    return Gate(GateKind(said["type"]), said["url"], said.get("name", ""), said.get("metadata", {}), timeout_s)


def _hook(said: Mapping[str, Any]) -> Hook:
    if "secret" not in said:
        hint = "its `secret_env` is read by the command line" if "secret_env" in said else "deliveries are signed"
        raise PlanError(f"its secret is missing: {hint}")
    return Hook(said["url"], said["secret"], tuple(map(Event, said.get("events", ()))))


def _needed(candidate: int | None, strategy: str) -> int:
    if candidate is None:
        raise PlanError(f"candidate is missing: a {strategy} has one")
    return candidate


def _share(said: int | str) -> int:
    """Parts per million; what has no unit is 0, which the schema has made sure of."""
    return parse_share(said) if isinstance(said, str) else said


def _seconds(said: int | str | None) -> int:
    return 0 if said is None else seconds_of(said)


def _named(value: object) -> object:
    """The same with texts for names: YAML reads the 2 of `2: 50%` as a number."""
    if isinstance(value, Mapping):
        return {str(name) if type(name) is int else name: _named(one) for name, one in value.items()}
    return [_named(one) for one in value] if isinstance(value, list) else value


def _built(wrong: list[str], at: str, build: Callable[[Any], Any], value: Any) -> Any:  # noqa: ANN401 (one of several)
    """What this builds; a refusal goes to the list, with its place."""
    try:
        return build(value)
    except (RouterError, ValueError) as error:
        wrong.append(f"{at}: {error}" if at else str(error))
        return None


def _refuse(found: Sequence[str] | Iterator[str]) -> None:
    if wrong := "; ".join(found):
        raise PlanError(discreet(wrong))


__all__ = ["DOCUMENT_SCHEMA", "END", "STRATEGIES", "Document", "check_legible", "document_from", "with_secrets"]
