"""What a large installation would ask of its store, worked out from the code's own constants and encoders.

Nothing is measured here and nothing is guessed: how often something is said is the constant that says so, how long it
is, is the length of what the code writes. What a look and a renewal are in commands, and how many connections a worker
has, a test counts at a real store. `python -m scripts.scale_on_paper` writes the table of docs/scale.md anew; a test
compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from serving.control.acknowledging import _LOOK_S as WAIT_S
from serving.control.conductor import _TICK_S as DUTY_S
from serving.control.keeper import LONGEST_WITHOUT_FIGURES_S as FIGURES_S
from serving.control.rolling.loops import ACTIVE_S
from serving.control.rolling.stream import LOOK_BACK_S
from serving.endpoint import Endpoint, Load, encode_leased
from serving.figures import Figures, bucket_of
from serving.gateway.store import _MOST_TOTALS as MOST_TOTALS
from serving.gateway.telling import _TURNS as TURNS
from serving.gateway.telling import EVERY_S
from serving.keeping.store import MOST_KEEPERS
from serving.leases import GatewayLease
from serving.settings.parts import RedisSettings
from serving.store_keys import Keys
from serving.totals import Message, SeriesTotals, Units, UnitSeen
from serving.triton.replica import _RENEWALS as RENEWALS

ROOT: Final = Path(__file__).parents[1]
DOCUMENT: Final = ROOT / "docs" / "scale.md"
BEGINS: Final = "<!-- on paper: python -m scripts.scale_on_paper -->"
ENDS: Final = "<!-- on paper: to here -->"

LOOK_COMMANDS: Final = 13
"""Of a gateway worker that looks and finds nothing new, its lease renewed: counted by a test."""
HOLD_COMMANDS: Final = 4
"""Of a server that renews its lease: counted by a test."""
WORKER_CONNECTIONS: Final = 4
"""Looks, notifications, totals, and what keys use up: counted by a test."""

_DEFAULTS: Final = RedisSettings()
_KEYS: Final = Keys(_DEFAULTS.namespace)
_EXAMPLE_MS: Final = (8, 9, 10, 11, 12, 14, 16, 19, 23, 28, 40, 90)
"""How long answers took, in milliseconds: a bucket each."""
_KB, _MB = 1e3, 1e6


@dataclass(frozen=True, slots=True)
class Fleet:
    """An installation.

    Attributes:
        name: for the table.
        gateway_nodes: with a gateway each.
        workers: of each gateway.
        requests_per_s: of all clients together.
        models: each has a version.
        rollouts: models that have a second version, and a rollout in progress.
        servers: of each version.
    """

    name: str
    gateway_nodes: int
    workers: int
    requests_per_s: int = 10_000
    models: int = 1_000
    rollouts: int = 100
    servers: int = 2

    @property
    def all_workers(self) -> int:
        """Of all gateways."""
        return self.gateway_nodes * self.workers

    @property
    def all_servers(self) -> int:
        """Triton servers, each with a lease."""
        return (self.models + self.rollouts) * self.servers

    def versions(self) -> Iterator[tuple[str, int]]:
        """Every model and version."""
        for number in range(self.models):
            yield f"model-of-some-name-{number:04}", 11
            if number < self.rollouts:
                yield f"model-of-some-name-{number:04}", 12


FLEETS: Final = (
    Fleet("ten nodes of gateways, four workers each", 10, 4),
    Fleet("a gateway on each of 100 nodes, one worker", 100, 1),
)


class Line(NamedTuple):
    """One line of the table.

    Attributes:
        what: is counted.
        value: for a fleet.
        follows: from what.
    """

    what: str
    value: Callable[[Fleet], str]
    follows: str


def lines() -> Iterator[Line]:
    """The table's."""
    yield Line("gateway workers", lambda one: f"{one.all_workers:,}", "given")
    yield Line("requests/s of a worker", lambda one: f"{one.requests_per_s / one.all_workers:,.0f}", "evenly")
    yield Line("leases of servers", lambda one: f"{one.all_servers:,}", _of_all(_servers))
    yield from _commands()
    yield from _bytes()
    yield from _bounds()


def _servers(fleet: Fleet) -> str:
    return f"{fleet.models:,} models, {fleet.rollouts} of them with two versions, {fleet.servers} servers each"


def _commands() -> Iterator[Line]:
    poll_s, lease_s = _DEFAULTS.poll_s, _DEFAULTS.lease_s
    yield Line(
        "commands/s: looks of gateways",
        lambda one: f"{_looks_per_s(one) * LOOK_COMMANDS:,.0f}",
        f"{LOOK_COMMANDS} commands every `redis.poll_s` ({poll_s:g} s), a worker",
    )
    yield Line(
        "commands/s: totals of gateways",
        lambda one: f"{_messages_per_s(one):,.0f}",
        f"one every {EVERY_S:g} s (`telling.EVERY_S`), a worker",
    )
    yield Line(
        "commands/s: renewals of servers",
        lambda one: f"{_renewals_per_s(one) * HOLD_COMMANDS:,.0f}",
        f"{HOLD_COMMANDS} commands {RENEWALS} times in `redis.lease_s` ({lease_s:g} s), a server",
    )
    yield Line(
        "**commands/s together**",
        lambda one: f"**{_commands_per_s(one):,.0f}**",
        "beside the control room's, which do not grow with gateways",
    )


def _bytes() -> Iterator[Line]:
    yield Line(
        "MB/s to gateways: where versions are served",
        lambda one: f"{_looks_per_s(one) * _index_bytes(one) / _MB:.1f}",
        _of_all(lambda one: f"{_index_bytes(one) / _KB:,.0f} KB a look: each reads the leases of all servers"),
    )
    yield Line(
        "MB/s from gateways: leases and figures",
        lambda one: f"{_looks_per_s(one) * _renewal_bytes(one) / _MB:.1f}",
        _of_all(lambda one: f"{_lease_bytes(one) / _KB:,.0f} + {_figures_bytes(one) / _KB:,.0f} KB: of every version"),
    )
    yield Line(
        "MB/s from gateways: totals, and as much again to the control room",
        lambda one: f"{_totals_bytes_per_s(one) / _MB:.1f}",
        f"models with one version in {TURNS} turns, the others each time, units one by one",
    )
    yield Line(
        "MB/s to the control room: leases, figures, where versions are served",
        lambda one: f"{_told_bytes_per_s(one) / _MB:.1f}",
        f"two duties read leases every {DUTY_S:g} s, one of them servers too, and figures every {FIGURES_S:g} s where "
        f"that takes long; every {ACTIVE_S:g} s leases and servers, while a rollout is in progress",
    )
    yield Line(
        "MB/s from servers: renewals",
        lambda one: f"{_renewals_per_s(one) * _endpoint_bytes(one) / _MB:.2f}",
        _of_all(lambda one: f"{_endpoint_bytes(one):,.0f} bytes each"),
    )
    yield Line("**MB/s together**", lambda one: f"**{_bytes_per_s(one) / _MB:.0f}**", "all of these")
    yield Line(
        "MB/s besides, for each change that is waited for",
        lambda one: f"{one.all_workers * _applied_bytes(one) / WAIT_S / _MB:.2f}",
        _of_all(
            lambda one: (
                f"{_applied_bytes(one):,} bytes of each worker every {WAIT_S * 1e3:g} ms "
                "(`acknowledging._LOOK_S`), no lease"
            )
        ),
    )


def _bounds() -> Iterator[Line]:
    yield Line(
        "connections",
        lambda one: f"{one.all_workers * WORKER_CONNECTIONS + one.gateway_nodes + one.all_servers:,}",
        f"{WORKER_CONNECTIONS} a worker, one a gateway's keeper, one a server; some more of the control room",
    )
    yield Line(
        "totals that the control room hears in a tick",
        lambda one: f"{_messages_per_s(one) * ACTIVE_S:.0f} ({_totals_bytes_per_s(one) * ACTIVE_S / _KB:,.0f} KB)",
        f"a tick every {ACTIVE_S:g} s while a rollout is in progress (`loops.ACTIVE_S`)",
    )
    yield Line(
        "seconds of totals that the store keeps",
        lambda one: f"{MOST_TOTALS / _messages_per_s(one):,.0f}",
        f"{MOST_TOTALS:,} messages; a conductor reads back {LOOK_BACK_S:g} s when it begins, so this is enough for "
        f"{MOST_TOTALS * EVERY_S / LOOK_BACK_S:,.0f} workers",
    )
    yield Line(
        "gateways whose findings about shadows are sure to stand beside each other",
        lambda one: f"{min(one.gateway_nodes, MOST_KEEPERS)} of {one.gateway_nodes}",
        f"{MOST_KEEPERS} (`keeping.store.MOST_KEEPERS`): when a keeper begins, those silent for longest make room, "
        "which its log says; who compares more leaves all of its own again",
    )


def _of_all(said: Callable[[Fleet], str]) -> str:
    """What is the same for all of them."""
    [one] = {said(fleet) for fleet in FLEETS}
    return one


def table() -> str:
    """The table as Markdown."""
    heading = ("", *(fleet.name for fleet in FLEETS), "follows from")
    rule = ("---", *["---:"] * len(FLEETS), "---")
    rows = ((line.what, *map(line.value, FLEETS), line.follows) for line in lines())
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, rule, *rows))


def with_table(text: str) -> str:
    """The document with the table in its place.

    Raises:
        ValueError: it has no such place.
    """
    before, begins, rest = text.partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not ends:
        raise ValueError(f"{DOCUMENT} has no place for the table: {BEGINS} … {ENDS}")
    return f"{before}{begins}\n\n{table()}\n\n{ends}{after}"


# How often.


def _looks_per_s(fleet: Fleet) -> float:
    return fleet.all_workers / _DEFAULTS.poll_s


def _messages_per_s(fleet: Fleet) -> float:
    return fleet.all_workers / EVERY_S


def _renewals_per_s(fleet: Fleet) -> float:
    return fleet.all_servers * RENEWALS / _DEFAULTS.lease_s


def _commands_per_s(fleet: Fleet) -> float:
    looks = _looks_per_s(fleet) * LOOK_COMMANDS
    return looks + _messages_per_s(fleet) + _renewals_per_s(fleet) * HOLD_COMMANDS


# How much.


@cache
def _endpoints(fleet: Fleet) -> Mapping[str, int]:
    """The bytes of each server's lease, by its key."""
    found = {}
    for nth, (model, version) in enumerate(fleet.versions()):
        for server in range(fleet.servers):
            port = 21_000 + nth % 900
            endpoint = Endpoint(f"10.0.{nth % 90}.{server + 10}", port, port + 1, model, version, 8)
            found[_KEYS.endpoint(endpoint)] = len(encode_leased(endpoint, Load(3, 412.5)))
    return found


def _index_bytes(fleet: Fleet) -> int:
    """What one look moves to learn where versions are served: the keys come, are asked for, and their values come."""
    return sum(2 * len(key) + value for key, value in _endpoints(fleet).items())


def _endpoint_bytes(fleet: Fleet) -> float:
    """What one renewal moves: the key twice, and the lease there and what it was before back."""
    known = _endpoints(fleet)
    return sum(2 * len(key) + 2 * value for key, value in known.items()) / len(known)


@cache
def _lease(fleet: Fleet) -> GatewayLease:
    """What a worker says of itself that has answered for every version."""
    names = [f"{model}/{version}" for model, version in fleet.versions()]
    took = {bucket_of(ms * 1_000): 1_234 for ms in _EXAMPLE_MS}
    return GatewayLease(
        id="sluice-gateway-worker-abcde-123456-1", boot="0" * 16, pid=12_345, host="10.0.0.7", http_port=8_000,
        epoch=12_345, digest="0" * 64, grpc_port=8_001, connections=100, in_flight=10,
        requests=dict.fromkeys(names, 1_234_567), figures=dict.fromkeys(names, Figures(1_234_567, 123, took)),
        endings={f"{name}/first/{how}": 1_234_567 for name in names for how in ("ok", "client_error")},
        ejected=dict.fromkeys(names, 0), braked=dict.fromkeys(names, 0),
    )  # fmt: skip


def _lease_bytes(fleet: Fleet) -> int:
    return len(_lease(fleet).encode())


def _figures_bytes(fleet: Fleet) -> int:
    return len(_lease(fleet).encode_figures())


def _applied_bytes(fleet: Fleet) -> int:
    """What asking a worker moves that is waited for: the key there, what it goes by back."""
    lease = _lease(fleet)
    return len(_KEYS.gateway_applied(lease.id)) + len(lease.applied.encode())


def _renewal_bytes(fleet: Fleet) -> int:
    return _lease_bytes(fleet) + _applied_bytes(fleet) + _figures_bytes(fleet)


def _told_bytes_per_s(fleet: Fleet) -> float:
    """What the control room reads, while a rollout is in progress (`Conductor.settle`, `PoolKeeper.keep`, `Walker`)."""
    leases, servers = fleet.all_workers * _lease_bytes(fleet), _index_bytes(fleet)
    figures = fleet.all_workers * _figures_bytes(fleet)
    return (2 * leases + servers) / DUTY_S + figures / FIGURES_S + (leases + servers) / ACTIVE_S


@cache
def _totals_bytes_per_s(fleet: Fleet) -> float:
    """What all workers tell in a second."""
    answered = {200 + nth: 1_234 for nth in range(2 * len(_EXAMPLE_MS))}
    series = [
        SeriesTotals(model, version, "10.0.12.34:21034", {"ok": 1_234_567, "client_error": 123}, answered)
        for model, version in fleet.versions()
    ]
    compared, alone = series[: 2 * fleet.rollouts], series[2 * fleet.rollouts :]
    share = 2 * fleet.rollouts / len(series)
    units = round(fleet.requests_per_s * share / fleet.all_workers * EVERY_S / max(1, fleet.rollouts))
    seen = Units(2**53, tuple(UnitSeen(2**52 + nth, 11, 1_234) for nth in range(units)))
    named = {one.model: seen for one in compared} if units else {}
    each = Message("0" * 50, 12_345, (*compared, *alone[::TURNS]), {}, named).encode()
    return len(each) * _messages_per_s(fleet)


def _bytes_per_s(fleet: Fleet) -> float:
    looks = _looks_per_s(fleet) * (_index_bytes(fleet) + _renewal_bytes(fleet))
    renewals = _renewals_per_s(fleet) * _endpoint_bytes(fleet)
    return looks + 2 * _totals_bytes_per_s(fleet) + _told_bytes_per_s(fleet) + renewals


def main() -> None:
    """Writes it."""
    DOCUMENT.write_text(with_table(DOCUMENT.read_text()))


if __name__ == "__main__":
    main()
