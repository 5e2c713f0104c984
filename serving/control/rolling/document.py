"""What a rollout is started with, as a document: the body of a POST, and the file `rollout.yaml`. Pure.

Either a whole plan (`docs/rollouts.md`), or the strategies by name with what people say of them; several of these are
put together in the order shadow, blue-green, canary, A/B test. Times are written like `10m`, shares like `12.5%`, never
without their unit. Which plan that is says `document_plans`; what a document may say at all, `document_schema`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from router.errors import PlanError, RouterError
from router.plan import Plan
from router.plan_form import seconds_of
from router.rollout import Automation
from router.schema import mistakes
from serving.control.rolling.discretion import discreet
from serving.control.rolling.document_plans import STRATEGIES, plan_of
from serving.control.rolling.document_schema import DOCUMENT_SCHEMA, END
from serving.control.rolling.outward import Event, Gate, GateKind, Hook

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
        arms_tolerance: how far its versions' answers may differ, in total variation, before drift takes it back; None
            for a recommendation alone.
    """

    plan: Plan
    model: str = ""
    automation: Automation = Automation.ALONE
    gates: tuple[Gate, ...] = ()
    hooks: tuple[Hook, ...] = ()
    again: bool = False
    why: str = ""
    arms_tolerance: float | None = None


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
    plan = _built(wrong, "", plan_of, fields)
    _refuse(wrong)
    return Document(
        plan=plan,
        model=fields.get("model", ""),
        automation=Automation(fields.get("automation", Automation.ALONE)),
        gates=tuple(gates),
        hooks=tuple(hooks),
        again=fields.get("again", False),
        why=fields.get("why", ""),
        arms_tolerance=_tolerance(fields.get("drift", {}).get("arms")),
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


def _tolerance(said: float | None) -> float | None:
    return None if said is None else float(said)


def _gate(said: Mapping[str, Any]) -> Gate:
    timeout_s = seconds_of(said.get("timeout", "10s"))
    return Gate(GateKind(said["type"]), said["url"], said.get("name", ""), said.get("metadata", {}), timeout_s)


def _hook(said: Mapping[str, Any]) -> Hook:
    if "secret" not in said:
        hint = "its `secret_env` is read by the command line" if "secret_env" in said else "deliveries are signed"
        raise PlanError(f"its secret is missing: {hint}")
    return Hook(said["url"], said["secret"], tuple(map(Event, said.get("events", ()))))


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
