"""What the API says of deliveries to webhooks, for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping

from serving.control.webhooks_client import AttemptAnswer, DeliveriesAnswer, DeliveryAnswer
from serving.rollout_standing import printable
from serving.tables import console, moment, table


def show_deliveries(seen: DeliveriesAnswer) -> None:
    """The webhooks of the settings, what waits, what was given up, and the last attempts."""
    out = console()
    if seen["webhooks"]:
        rows = (
            (printable(one["name"]), printable(one["url"]), ", ".join(one["events"]), str(one["secrets"]))
            for one in seen["webhooks"]
        )
        out.print(table("webhooks of the settings", ("name", "address", "hears", "secrets"), rows))
    else:
        out.print("The settings name no webhooks: drift.webhooks lists them.")
    if seen["waiting"]:
        waiting = ((one["id"], one["type"], str(one["tries"]), moment(one["next"])) for one in seen["waiting"])
        out.print(table("waiting", ("id", "type", "tries", "next"), waiting))
    if seen["dead"]:
        dead = (
            (one["id"], one["type"], str(one["tries"]), moment(one["at"]), printable(one["failed"]))
            for one in seen["dead"]
        )
        out.print(table("dead letters", ("id", "type", "tries", "given up", "why"), dead))
    if seen["tried"]:
        out.print(
            table("last attempts", ("at", "id", "type", "address", "became", "why"), map(_attempt, seen["tried"]))
        )
    for count, words in ((seen["dropped"], "found no room"), (seen["dropped_dead"], "dead letters fell off")):
        if count:
            out.print(f"{count:,} deliveries {words}." if words == "found no room" else f"{count:,} {words}.")


def show_delivery(one: DeliveryAnswer) -> None:
    """One delivery: how it stands, its message, its attempts."""
    out = console()
    if one["waiting"]:
        stands = f"waits, {one['waiting']['tries']} tries in vain, next at {moment(one['waiting']['next'])} UTC"
    elif one["dead"]:
        stands = f"given up after {one['dead']['tries']} tries: {printable(one['dead']['failed'])}"
    else:
        stands = one["attempts"][0]["became"] if one["attempts"] else "over"
    out.print(f"{one['id']}, {one['type']}: {stands}", soft_wrap=True)
    if one["attempts"]:
        out.print(table("attempts", ("at", "id", "type", "address", "became", "why"), map(_attempt, one["attempts"])))
    out.print(json.dumps(one["message"], indent=2), soft_wrap=True)


def show_outcomes(found: Mapping[str, AttemptAnswer | None]) -> None:
    """What came of tests."""
    out = console()
    for message, one in found.items():
        if one is None:
            out.print(f"{message}: not tried yet; `sluice drift webhooks show {message}` tells", soft_wrap=True)
        else:
            why = f": {printable(one['failed'])}" if one["failed"] else f" in {one['took_s']:g} s"
            out.print(f"{message} to {printable(one['hook'])}: {one['became']}{why}", soft_wrap=True)


def _attempt(one: AttemptAnswer) -> tuple[str, ...]:
    return (moment(one["at"]), one["id"], one["type"], printable(one["hook"]), one["became"], printable(one["failed"]))
