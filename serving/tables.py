"""What the control API says, as tables for a terminal. What a machine reads is the API's own JSON, printed as it is."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from router.policy import format_share
from serving.control.client import ChangeAnswer, ExplainAnswer, GatewayStatus, PolicyAnswer, StatusAnswer, shares_of

_WIDTH_WITHOUT_TERMINAL = 120


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
        out.print(f"store: {warning}")
    out.print(_models(status))
    out.print(_gateways(status["gateways"]))
    waiting = [pool for pool in status["pools"] if pool["message"]]
    if waiting:
        rows = ((pool["model"], str(pool["version"]), pool["state"], pool["message"]) for pool in waiting)
        out.print(_table("pools", ("model", "version", "state", "message"), rows))


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
    if not answer["durable"]:
        out.print("the store did not confirm that the change is on disk: it may be lost if the store fails now")


def show_explanation(model: str, answer: ExplainAnswer) -> None:
    """Which version, and why."""
    bucket = "" if answer["bucket"] is None else f", bucket {answer['bucket']:,} of 1,000,000"
    version = "any version" if answer["version"] is None else f"version {answer['version']}"
    console().print(f"{model}: {version} ({answer['reason']}{bucket}). {answer['words']}")


def _models(status: StatusAnswer) -> Table:
    rows = []
    for model in status["models"]:
        for one in model["versions"]:
            number = one["version"]
            role = "stable" if number == model["stable"] else ""
            share = format_share(model["shares"].get(str(number), 0))
            rows.append((model["name"], str(number), role, share, str(one["ready"]), one["source"]))
    return _table("models", ("model", "version", "role", "share", "ready", "source"), rows)


def _gateways(gateways: Sequence[GatewayStatus]) -> Table:
    names = ("gateway", "address", "epoch", "workers", "connections", "in flight", "requests")
    return _table("gateways", names, (_gateway(one) for one in gateways))


def _gateway(one: GatewayStatus) -> tuple[str, ...]:
    late = "" if one["current"] else f" (behind{': ' + one['held'] if one['held'] else ''})"
    requests = ", ".join(f"{version}: {count:,}" for version, count in sorted(one["requests"].items()))
    figures = (str(one["workers"]), str(one["connections"]), str(one["in_flight"]))
    return (one["id"], f"{one['host']}:{one['http_port']}", f"{one['epoch']}{late}", *figures, requests)


def _shares(answer: PolicyAnswer) -> Table:
    stable = answer["policy"]["stable"]
    shares = shares_of(answer["policy"])
    rows = ((str(v), "stable" if v == stable else "", format_share(share)) for v, share in sorted(shares.items()))
    return _table(answer["model"], ("version", "role", "share"), rows)


def _table(title: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name, justify="right" if name in {"share", "ready", "connections", "in flight"} else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
