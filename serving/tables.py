"""What the control API says, as tables for a terminal. What a machine reads is the API's own JSON, printed as it is."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from router.policy import format_share
from serving.control.client import (
    ChangeAnswer,
    ExplainAnswer,
    GatewayStatus,
    PolicyAnswer,
    PoolStatus,
    StatusAnswer,
    shares_of,
)
from serving.control.models_client import OperationAnswer, OperationsAnswer

_WIDTH_WITHOUT_TERMINAL = 120
_FIGURES = frozenset({"share", "ready", "connections", "in flight", "versions", "newest", "version", "crashes"})
_UNTOLD = frozenset({"model", "durable"})
_FIRST = {name: place for place, name in enumerate(("version", "created", "kind", "replicas", "revision", "epoch"))}
_PARTS_OF_A_MOMENT = 19  # without fractions of a second


def console() -> Console:
    """Where tables go: this terminal, or plain text of a fixed width in a pipe."""
    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    return Console(width=width, highlight=False, emoji=False, markup=False)


def show_status(status: StatusAnswer) -> None:
    """Everything at a glance."""
    out = console()
    store = "reachable" if status["store"]["reachable"] else "unreachable: gateways go on with what they have"
    out.print(f"sluice {status['version']}, epoch {status['epoch']}, store {store}")
    for warning in status["store"]["warnings"]:
        out.print(f"warning: {warning}")
    out.print(_models(status))
    out.print(_gateways(status["gateways"]))
    if troubled := [pool for pool in status["pools"] if pool["message"] or pool["crashes"]]:
        out.print(table("pools", ("model", "version", "state", "ready", "crashes", "message"), map(_pool, troubled)))


def show_policy(answer: PolicyAnswer) -> None:
    """One model's split."""
    out = console()
    out.print(_shares(answer))
    unit = answer["policy"].get("unit_header", "sluice-unit")
    out.print(f"revision {answer['revision']}, epoch {answer['epoch']}, unit header {unit}")


def show_change(answer: ChangeAnswer) -> None:
    """What was written, and who runs it: 'N of N', and by name those who do not."""
    out = console()
    out.print(_shares(answer))
    done = answer["acknowledged"]
    line = f"{done['by']} of {done['of']} gateway workers run epoch {answer['epoch']} ({answer['took_ms']:.0f} ms)"
    for what, who in (("lease expired", done["expired"]), ("still waiting for", done["waiting"])):
        line += f", {what}: {', '.join(who)}" if who else ""
    out.print(line)
    for note in answer.get("notes", ()):
        out.print(note)
    if not answer["durable"]:
        out.print("the store did not confirm that the change is on disk: it may be lost if the store fails now")


def show_explanation(model: str, answer: ExplainAnswer) -> None:
    """Which version, and why."""
    bucket = "" if answer["bucket"] is None else f", bucket {answer['bucket']:,} of 1,000,000"
    version = "any version" if answer["version"] is None else f"version {answer['version']}"
    console().print(f"{model}: {version} ({answer['reason']}{bucket}). {answer['words']}")


def show_operations(answer: OperationsAnswer) -> None:
    """Long work at a glance."""
    rows = (
        (one["id"], one["kind"], _whose(one), one["state"], moment(one["began_at"]), _last_words(one))
        for one in answer["operations"]
    )
    console().print(table("operations", ("id", "kind", "model", "state", "began", "words"), rows))


def show_operation(one: OperationAnswer) -> None:
    """What one operation is doing, has done, and came to."""
    out = console()
    out.print(f"{one['kind']} of {_whose(one)}: {one['state']}, begun {moment(one['began_at'])} by {one['who']}")
    for step in one["steps"]:
        out.print(f"  {step}")
    if words := _last_words(one):
        out.print(f"  {words}")
    if one["problem"] and one["problem"]["hint"]:
        out.print(f"  {one['problem']['hint']}")
    if one["result"]:
        out.print(_result(one))


def show_result(one: OperationAnswer) -> None:
    """What an operation came to, or how to find it while it goes on."""
    if one["state"] != "done":
        console().print(f"{one['kind']} of {_whose(one)} goes on: sluice operations show {one['id']}")
        return
    console().print(f"{one['kind']} of {one['model']}: {_result(one)}", soft_wrap=True)


def _pool(pool: PoolStatus) -> tuple[str, ...]:
    ready = f"{pool['ready']} of {pool['wanted']}"
    words = " ".join(said for said in (pool["message"], pool["last_words"]) if said)
    return (pool["model"], str(pool["version"]), pool["state"], ready, str(pool["crashes"]), words)


def _result(one: OperationAnswer) -> str:
    said = {name: value for name, value in one["result"].items() if name not in _UNTOLD and value not in (None, [], {})}
    order = sorted(said, key=lambda name: _FIRST.get(name, len(_FIRST)))
    said = {name: said[name] for name in order}
    return ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in said.items())


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _whose(one: OperationAnswer) -> str:
    return one["model"] if one["version"] is None else f"{one['model']} {one['version']}"


def _last_words(one: OperationAnswer) -> str:
    return one["problem"]["detail"] if one["problem"] else one["words"]


def moment(text: str) -> str:
    """A time of the API, without fractions of a second."""
    return text[:_PARTS_OF_A_MOMENT].replace("T", " ")


def _models(status: StatusAnswer) -> Table:
    rows = []
    for model in status["models"]:
        for one in model["versions"]:
            number = one["version"]
            role = "stable" if number == model["stable"] else ""
            share = format_share(model["shares"].get(str(number), 0))
            ready = "asleep" if one["asleep"] else str(one["ready"])
            rows.append((model["name"], str(number), role, share, ready, one["source"]))
    return table("models", ("model", "version", "role", "share", "ready", "source"), rows)


def _gateways(gateways: Sequence[GatewayStatus]) -> Table:
    names = ("gateway", "address", "epoch", "workers", "connections", "in flight", "requests")
    return table("gateways", names, (_gateway(one) for one in gateways))


def _gateway(one: GatewayStatus) -> tuple[str, ...]:
    late = "" if one["current"] else f" (behind{': ' + one['held'] if one['held'] else ''})"
    requests = ", ".join(f"{version}: {count:,}" for version, count in sorted(one["requests"].items()))
    figures = (str(one["workers"]), str(one["connections"]), str(one["in_flight"]))
    grpc = f", gRPC {one['grpc_port']}" if one.get("grpc_port") else ""
    return (one["id"], f"{one['host']}:{one['http_port']}{grpc}", f"{one['epoch']}{late}", *figures, requests)


def _shares(answer: PolicyAnswer) -> Table:
    stable = answer["policy"]["stable"]
    shares = shares_of(answer["policy"])
    rows = ((str(v), "stable" if v == stable else "", format_share(share)) for v, share in sorted(shares.items()))
    return table(answer["model"], ("version", "role", "share"), rows)


def table(title: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of plain texts."""
    made = Table(title=title, title_justify="left")
    for name in names:
        made.add_column(name, justify="right" if name in _FIGURES else "left")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made
