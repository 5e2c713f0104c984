"""Keys as tables for a terminal; secrets are not among what the API tells."""

from collections.abc import Mapping
from typing import Any

from serving.control.keys_client import KeyRow, KeysAnswer, WhoAnswer
from serving.tables import console, moment, table

_LIMITS = (("rate_per_s", "{:g}/s"), ("burst", "burst {}"), ("in_flight", "{} in flight"), ("max_body", "{:,} bytes"))


def show_keys(answer: KeysAnswer) -> None:
    """Whose keys there are, and what they are good for."""
    names = ("id", "name", "role", "models", "limits", "state", "created", "by", "expires")
    console().print(table("keys", names, map(_key, answer["keys"])))


def show_caller(answer: WhoAnswer) -> None:
    """Whom the API takes the caller for."""
    who = answer["name"] if answer["kind"] == "anonymous" else f"{answer['kind']} {answer['name']} ({answer['id']})"
    models = "" if answer["models"] is None else f" {', '.join(answer['models'])}"
    until = "" if answer["expires"] is None else f", until {moment(answer['expires'])}"
    limits = f"; limits: {said}" if (said := _limits(answer["limits"])) else ""
    console().print(f"{who} may {answer['role']}{models}{until}{limits}", soft_wrap=True)


def _key(one: KeyRow) -> tuple[str, ...]:
    models = "all" if one["models"] is None else ", ".join(one["models"])
    expires = "never" if one["expires"] is None else moment(one["expires"])
    made = (moment(one["created_at"]), one["created_by"])
    return (one["id"], one["name"], one["role"], models, _limits(one["limits"]), one["state"], *made, expires)


def _limits(limits: Mapping[str, Any]) -> str:
    return ", ".join(words.format(limits[name]) for name, words in _LIMITS if limits[name] is not None)
