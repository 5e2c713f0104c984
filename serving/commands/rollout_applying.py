"""What `sluice apply` decides: whether a file's rollout is there already, and if not, whether it may be started.

The newest rollout of the model is compared with the file: the plan, how much it does by itself, and whom it asks and
tells as far as the API shows that (of an address the host). A salt that the file leaves open is not compared, for the
control room draws one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from router.errors import RouterError
from router.plan_form import plan_as_dict, plan_from
from serving.commands.common import print_json
from serving.commands.rollout_common import show_change
from serving.control.rolling.document import Document
from serving.control.rolling.outward import shown_url
from serving.control.rollouts_client import RolloutAnswer, RolloutsClient
from serving.errors import ControlError


def applied(
    rollouts: RolloutsClient,
    model: str,
    body: Mapping[str, Any],
    document: Document,
    *,
    insists: bool = False,
    as_json: bool,
) -> str:
    """The id of the rollout that the file means, started if it was not there.

    Args:
        rollouts: the API.
        model: whose.
        body: of the call that starts it.
        document: what the body means.
        insists: whether one that is over is begun again. What the file says (`again`) lets a version that went back be
            tried in a rollout that is new; it is there each time, so it cannot mean that one more is wanted.
        as_json: whether to print JSON and nothing else.

    Raises:
        ControlError: another rollout of the model is under way.
    """
    newest = rollouts.newest(model)
    there = rollouts.rollout(newest["id"]) if newest else None
    if there is None or not (same(there, document) and not (there["over"] and insists)):
        if there is not None and not there["over"]:
            raise _occupied(model, there)
        begun = rollouts.start(model, body)
        show_change(begun, as_json=as_json)
        return begun["rollout"]["id"]
    _tell(model, there, as_json=as_json)
    return there["id"]


def same(there: RolloutAnswer, document: Document) -> bool:
    """Whether that rollout is what the document asks for."""
    try:
        running = plan_as_dict(plan_from(there["plan"]))
    except (RouterError, KeyError, TypeError, ValueError):
        return False
    wanted = plan_as_dict(document.plan)
    if not document.plan.salt:
        running["salt"] = wanted["salt"]
    gates = [(gate.kind.value, shown_url(gate.url), gate.name, gate.timeout_s) for gate in document.gates]
    hooks = [(shown_url(hook.url), [event.value for event in hook.events]) for hook in document.hooks]
    return (
        running == wanted
        and there["automation"] == document.automation.value
        and [(one["type"], one["url"], one["name"], one["timeout_s"]) for one in there["gates"]] == gates
        and [(one["url"], one["events"]) for one in there["webhooks"]] == hooks
    )


def _occupied(model: str, there: RolloutAnswer) -> ControlError:
    kind, name = there["kind"].replace("_", "-"), there["id"]
    hint = f"wait for it (`sluice rollout wait {name}`), or take it back (`sluice rollout rollback {name}`)"
    return ControlError(f"another rollout of {model} is under way: {name}, {kind}, {there['place']}", hint)


def _tell(model: str, there: RolloutAnswer, *, as_json: bool) -> None:
    if as_json:
        print_json({"unchanged": True, "rollout": there})
        return
    cause = f" ({there['cause']})" if there["cause"] else ""
    typer.echo(f"unchanged: {model} has this rollout already, {there['id']}, {there['place']}{cause}")
    if there["over"] and there["phase"] != "promoted":
        typer.echo("it is not begun again by itself: insist with --again, or change the file")
