"""The webhooks that the settings name for findings of drift: read once, with their secrets, before anything starts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from drift.settings import WebhookSettings
from router.errors import PlanError
from serving.control.rolling.drift_findings import number_of
from serving.control.rolling.outward import Hook, shown_url
from serving.control.rolling.sending import Sender
from serving.errors import SettingsError, SluiceError


def standing_hooks(webhooks: Iterable[WebhookSettings], trusted: Collection[str]) -> dict[int, Hook]:
    """Who hears of findings, by the number of its address.

    Args:
        webhooks: of the settings.
        trusted: origins that may be plain and private (`control.trusted_addresses`).

    Raises:
        SettingsError: a secret cannot be read or is none, or an address may not be called.
    """
    sender = Sender(trusted)
    return dict(_hook(one, sender) for one in webhooks)


def _hook(said: WebhookSettings, sender: Sender) -> tuple[int, Hook]:
    url = said.url.get_secret_value()
    where = f"The webhook of drift at {shown_url(url)}"
    try:
        secret = Path(said.secret_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(
            f"{where}: its secret cannot be read from {said.secret_file}: {reason}.",
            "drift.webhooks.secret_file names a file that holds whsec_ and base64.",
        ) from error
    try:
        hook = Hook(url, secret)
        sender.check(url)
    except (PlanError, SluiceError) as error:
        words = error.sentence if isinstance(error, SluiceError) else f"{error}."
        raise SettingsError(
            f"{where} cannot be told: {words}",
            "It must be https to a public host, unless control.trusted_addresses names its origin.",
        ) from error
    return number_of(url), hook
