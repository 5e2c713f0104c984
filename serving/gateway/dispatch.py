"""Where a request goes: to one version of a model, or no further than the gateway.

Decides only. A `Way` says which version answers, why, and everything that the answer's headers and the request id
need; a `Bad` says why there is none; bytes are an answer of the gateway's own. The exchange carries it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from router.choose import Choice, Facts, Reason, choose
from serving.access.principal import ANONYMOUS, Principal
from serving.errors import Refusal
from serving.gateway import answers
from serving.gateway.paths import Operation, Target
from serving.gateway.request import Bad, RequestHead

if TYPE_CHECKING:
    from serving.gateway.routing import ModelRoute, Routing, VersionRoute

NAME = "sluice"
# What Triton 2.51 offers and passes through a gateway unharmed.
EXTENSIONS = (
    "classification", "sequence", "schedule_policy", "model_configuration", "binary_tensor_data", "parameters",
    "statistics", "generate",
)  # fmt: skip
_MOST_NAMES = 10
_LONGEST_NAME = 128


class Way(NamedTuple):
    """A request's way to a model, and what led there."""

    model: ModelRoute
    route: VersionRoute
    choice: Choice
    epoch: int
    nonce: int
    unit: bytes
    has_unit: bool


class Standing(NamedTuple):
    """How the gateway stands, as far as its own answers depend on it."""

    routing: Routing
    ready: bool
    version: str


def find_way(routing: Routing, head: RequestHead, nonce: int, who: Principal = ANONYMOUS) -> Way | Bad:
    """The version that answers this request, by the model's policy; `who` is told of models that they may know."""
    target = head.target
    model = routing.models.get(target.model)
    if model is None:
        return _unknown_model(routing, target.model, who)
    unit = head.fields.get(model.unit_header)
    has_unit = unit is not None
    unit = nonce.to_bytes(8, "big") if unit is None else unit
    choice = choose(model.policy, Facts(unit, None if target.version is None else target.number, head.version_asked))
    route = model.versions.get(choice.version)
    if route is None:
        return _no_such_version(model, choice, target)
    return Way(model, route, choice, routing.head.epoch, nonce, unit, has_unit)


def own_answer(standing: Standing, target: Target, who: Principal = ANONYMOUS) -> bytes | Bad | None:
    """What the gateway answers by itself; None where a model's version is to answer."""
    own = _OWN.get(target.operation)
    return None if own is None else own(standing, target, who)


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
    return answers.document(
        [
            _index_row(model.name, version, ready=bool(route.upstreams))
            for name, model in sorted(standing.routing.models.items())
            if who.sees(name)
            for version, route in sorted(model.versions.items())
        ]
    )


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
