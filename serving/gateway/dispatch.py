"""Where a request goes: to one version of a model, or no further than the gateway.

Decides only. A `Way` says which version answers, why, and everything that the answer's headers and the request id
need; a `Bad` says why there is none; bytes are an answer of the gateway's own. The exchange carries it out.

What a request says is looked at only as far as its model's policy asks: fields where it has rules or further sources
of units, the body where one of those is in there. A way that is found from the head alone is provisional then, and is
`settled` once the body's JSON is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from router.choose import Choice, Facts, Reason, choose, drawn
from router.match import SILENT, Said
from router.unit import unit_of
from serving.access.principal import ANONYMOUS, Principal
from serving.errors import Refusal
from serving.gateway import answers
from serving.gateway.paths import Operation, Target
from serving.gateway.request import Asked, Bad

if TYPE_CHECKING:
    from router.policy import Policy
    from serving.gateway.routing import ModelRoute, Routing, VersionRoute

NAME = "sluice"
# What Triton 2.51 offers and passes through a gateway unharmed.
EXTENSIONS = (
    "classification", "sequence", "schedule_policy", "model_configuration", "binary_tensor_data", "parameters",
    "statistics", "generate",
)  # fmt: skip
_MOST_NAMES = 10
_LONGEST_NAME = 128


@dataclass(slots=True, eq=False)
class Way:
    """A request's way to a model, and what led there. It is not changed: `replace` makes another.

    Neither a tuple, whose fields cost ten times as much to read by name (PEP 659 knows slots, and a request reads them
    thirty times), nor frozen, which would cost three times as much to build.

    Attributes:
        model: whose policy it goes by.
        route: where the version that was chosen answers.
        choice: that version, and why.
        epoch: of the policy.
        nonce: the request's own number, of 64 bits.
        unit: what the choice sticks to: what the request names, or its nonce.
        has_unit: whether it names one.
        awaits: how many bytes of JSON in its body may still name another; 0 where the choice is final.
    """

    model: ModelRoute
    route: VersionRoute
    choice: Choice
    epoch: int
    nonce: int
    unit: bytes
    has_unit: bool
    awaits: int = 0


class Standing(NamedTuple):
    """How the gateway stands, as far as its own answers depend on it."""

    routing: Routing
    ready: bool
    version: str


def find_way(
    routing: Routing, head: Asked, nonce: int, who: Principal = ANONYMOUS, *, sequence: bytes | None = None
) -> Way | Bad:
    """The version that answers this request, by the model's policy.

    Args:
        routing: at the request's epoch.
        head: of the request.
        nonce: the request's own number, and its unit where it names none.
        who: asks: they are told of models that they may know.
        sequence: what it is part of: that is its unit, whatever else it names, for no part of it may go astray.
    """
    model = routing.models.get(head.target.model)
    if model is None:
        return _unknown_model(routing, head.target.model, who)
    named = (
        sequence
        or head.fields.get(model.unit_header)
        or (_named_further(model, head) if model.policy.unit_sources else None)
    )
    unit = named or nonce.to_bytes(8, "big")
    choice = _chosen(model.policy, head, unit)
    route = model.versions.get(choice.version)
    if route is None:
        return _no_such_version(model, choice, head.target)
    awaits = 0 if named or head.grpc else model.body_needed  # what JSON says, no other body does
    return Way(model, route, choice, routing.head.epoch, nonce, unit, named is not None, awaits)


def settled(way: Way, head: Asked, json: bytes | None) -> Way:
    """The same request's way, now that the JSON that it awaited is there, or that there is none to be read."""
    model = way.model
    named = unit_of(model.policy.unit_header, model.policy.unit_sources, said_in(head), json)
    if named is None:
        return replace(way, awaits=0)
    choice = _chosen(model.policy, head, named)
    route = model.versions[choice.version]  # no version but the policy's own was left to choose
    return replace(way, route=route, choice=choice, unit=named, has_unit=True, awaits=0)


def said_in(head: Asked) -> Said:
    """What a request says in its fields, as conditions and sources of units ask for it."""
    return Said(head.fields, head.grpc)


def own_answer(standing: Standing, target: Target, who: Principal = ANONYMOUS) -> bytes | Bad | None:
    """What the gateway answers by itself; None where a model's version is to answer."""
    own = _OWN.get(target.operation)
    return None if own is None else own(standing, target, who)


def index_rows(standing: Standing, who: Principal) -> list[Mapping[str, str]]:
    """Every version of every model that `who` may know: `name`, `version`, `state` and, where it has one, `reason`."""
    return [
        _index_row(model.name, version, ready=bool(route.upstreams))
        for name, model in sorted(standing.routing.models.items())
        if who.sees(name)
        for version, route in sorted(model.versions.items())
    ]


def _chosen(policy: Policy, head: Asked, unit: bytes) -> Choice:
    """What the policy chooses. Only rules look at fields; where nothing but the draw has a say, it alone is asked."""
    target, rules = head.target, policy.rules
    if not rules and target.version is None and head.version_asked is None:
        return drawn(policy, unit)
    pinned = None if target.version is None else target.number
    return choose(policy, Facts(unit, pinned, head.version_asked, said_in(head) if rules else SILENT))


def _named_further(model: ModelRoute, head: Asked) -> bytes | None:
    sources = model.policy.unit_sources if head.grpc else model.early_sources
    return unit_of(model.policy.unit_header, sources, said_in(head))


def _unknown_model(routing: Routing, name: str, who: Principal) -> Bad:
    known = ", ".join(sorted(filter(who.sees, routing.models))[:_MOST_NAMES]) or "none yet"
    return Bad(Refusal.UNKNOWN_MODEL, f"There is no model '{name[:_LONGEST_NAME]}' here: there is {known}.")


def _no_such_version(model: ModelRoute, choice: Choice, target: Target) -> Bad:
    version = (target.version or "")[:_LONGEST_NAME] if choice.reason is Reason.PINNED else choice.version
    there = ", ".join(map(str, sorted(model.versions))) or "none"
    if choice.reason in {Reason.PINNED, Reason.OVERRIDE}:
        return Bad(Refusal.UNKNOWN_MODEL, f"Model '{model.name}' has no version '{version}' here: it has {there}.")
    return Bad(Refusal.NO_REPLICA, f"Version {version} of model '{model.name}' has no replica yet: try again.")


def _live(_standing: Standing, _target: Target, _who: Principal) -> bytes:
    return answers.empty()


def _ready(standing: Standing, _target: Target, _who: Principal) -> bytes | Bad:
    if standing.ready:
        return answers.empty()
    return Bad(Refusal.NO_REPLICA, "The gateway has no policies yet, or is about to end: try again.")


def _server(standing: Standing, _target: Target, _who: Principal) -> bytes:
    return answers.document({"name": NAME, "version": standing.version, "extensions": EXTENSIONS})


def _index(standing: Standing, _target: Target, who: Principal) -> bytes:
    return answers.document(index_rows(standing, who))


def _index_row(model: str, version: int, *, ready: bool) -> Mapping[str, str]:
    row = {"name": model, "version": str(version), "state": "READY"}
    return row if ready else {**row, "state": "UNAVAILABLE", "reason": "no replica is ready"}


def _model_ready(standing: Standing, target: Target, who: Principal) -> bytes | Bad | None:
    if target.version is not None:
        return None
    model = standing.routing.models.get(target.model)
    if model is None:
        return _unknown_model(standing.routing, target.model, who)
    if model.ready:
        return answers.empty()
    return Bad(Refusal.NO_REPLICA, f"Model '{model.name}' has no ready version: try again.")


def _load(_standing: Standing, _target: Target, _who: Principal) -> Bad:
    return Bad(
        Refusal.FORBIDDEN, "Models are not loaded or unloaded on the prediction port: that is an operator's job."
    )


def _not_offered(_standing: Standing, _target: Target, _who: Principal) -> Bad:
    return Bad(
        Refusal.NOT_OFFERED,
        "Shared memory, trace and logging belong to one Triton: a gateway in front does not offer them.",
    )


def _unknown(_standing: Standing, _target: Target, _who: Principal) -> Bad:
    return Bad(Refusal.UNKNOWN_PATH, "There is nothing at this path: inference is POST /v2/models/MODEL/infer.")


_OWN: Mapping[Operation, Callable[[Standing, Target, Principal], bytes | Bad | None]] = {
    Operation.LIVE: _live,
    Operation.READY: _ready,
    Operation.SERVER: _server,
    Operation.INDEX: _index,
    Operation.MODEL_READY: _model_ready,
    Operation.LOAD: _load,
    Operation.NOT_OFFERED: _not_offered,
    Operation.UNKNOWN: _unknown,
}
