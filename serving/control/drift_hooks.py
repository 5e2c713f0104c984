"""The webhooks that the settings name for drift, and who may ask our rollback target: read before anything starts.

Whoever writes the settings owns the machine, so that their addresses may be plain and private, unlike those that come
over the API (`serving.outgoing`).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from drift.kinds import OURSELVES
from drift.settings import DriftSettings, WebhookSettings
from serving.control.rolling.drift_findings import number_of
from serving.control.rolling.outward import shown_url
from serving.control.rolling.standing import SecretFile, Standing, StandingHooks, Unreadable
from serving.errors import SettingsError
from serving.outgoing import NotCallable, Target

TARGET: Final = "/api/v1/drift/hooks/rollback"
"""The path of the rollback target on the control API."""

ANYWHERE: Final = "http://127.0.0.1:1"
"""Stands for our own control API where nothing is sent yet."""


def standing_hooks(drift: DriftSettings, ourselves: str = "") -> StandingHooks:
    """Who hears of drift, by the number of its address, and who may ask our rollback target.

    Args:
        drift: the section of the settings.
        ourselves: scheme, host and port at which this process reaches its own control API; empty where that speaks TLS,
            whose certificate has another name.

    Raises:
        SettingsError: a secret cannot be read or is none, or an address is none or is there twice.
    """
    found: list[Standing] = []
    for said in drift.webhooks:
        found.append(_standing(said, ourselves, {one.number for one in found}))
    others = None if drift.rollback_secret_file is None else _opened_to(drift.rollback_secret_file)
    return StandingHooks(found, others)


def _standing(said: WebhookSettings, ourselves: str, known: Collection[int]) -> Standing:
    address = said.url.get_secret_value()
    ours = address == OURSELVES
    url = f"{ourselves}{TARGET}" if ours else address
    number = number_of(address)
    where = f"The webhook of drift at {OURSELVES if ours else shown_url(url)}"
    if ours and not ourselves:
        raise SettingsError(
            f"{where} cannot be told: the control API speaks TLS, and has another name than loopback's.",
            f"Give it with the name in its certificate, https://NAME:PORT{TARGET}, and set drift.rollback_secret_file.",
        )
    if number in known:
        raise SettingsError(
            f"{where} is there twice.", "List each address of drift.webhooks once, with all its events."
        )
    try:
        Target.trusted(url)
    except NotCallable as error:
        raise SettingsError(f"{where} cannot be told: {error.sentence}", error.hint) from error
    return Standing(number, said.name, url, tuple(said.events), _file(where, said.secret_file, _OF_WEBHOOK), ours)


_OF_WEBHOOK: Final = "drift.webhooks.secret_file"


def _opened_to(file: str) -> SecretFile:
    return _file("The rollback target", file, "drift.rollback_secret_file")


def _file(where: str, path: str, key: str) -> SecretFile:
    try:
        return SecretFile(Path(path))
    except Unreadable as error:
        raise SettingsError(
            f"{where}: its secret cannot be read from {path}: {str(error).rstrip('.')}.",
            f"{key} names a file that holds whsec_ and base64, one secret a line, the newest first.",
        ) from error
