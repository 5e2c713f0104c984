"""Whether a whole installation that was started is ready, asked of its control API as anybody would ask."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from serving.control.client import ControlClient
from serving.control.credentials import Credentials
from serving.errors import ControlError, StartFailed
from serving.settings import Settings

_WITHIN_S: Final = 180.0
_LOOK_EVERY_S: Final = 0.1


def patience_s(settings: Settings) -> float:
    """How long everything may take to get ready, seconds."""
    return max(_WITHIN_S, settings.triton.ready_timeout_s)


def await_ready(settings: Settings, control_url: str, shown: Credentials, progress: Callable[[str], None]) -> None:
    """Returns when every model answers.

    Args:
        settings: which models there are to be.
        control_url: where the control API is.
        shown: what it is shown.
        progress: told in a few words what is being waited for.

    Raises:
        StartFailed: it took too long, or never will.
    """
    wanted = {(model.name, one.version) for model in settings.models for one in model.versions}
    told = ""
    deadline = time.monotonic() + patience_s(settings)
    with ControlClient(control_url, credentials=shown) as client:
        while time.monotonic() < deadline:
            missing, failed = _missing(client, wanted)
            if failed:
                raise StartFailed(failed, f"Logs are under {settings.state_dir}.")
            if not missing:
                return
            if missing != told:
                progress(f"waiting for {missing}")
                told = missing
            time.sleep(_LOOK_EVERY_S)
    raise StartFailed(f"Waited in vain for {told}.", f"Logs are under {settings.state_dir}.")


def _missing(client: ControlClient, wanted: set[tuple[str, int]]) -> tuple[str, str]:
    """What is not ready yet, in words, and what never will be; both empty when all is well."""
    try:
        status = client.status()
    except ControlError:
        return "the control API", ""
    failed = {(p["model"], p["version"]): p["message"] for p in status["pools"] if p["state"] == "DEPLOY_FAILED"}
    if ours := sorted(failed.keys() & wanted):
        return "", f"A pool did not come up: {failed[ours[0]]}"
    ready = {
        (model["name"], one["version"])
        for model in status["models"]
        for one in model["versions"]
        if one["ready"] or one.get("asleep")  # nothing routes to it, and it is not to be kept warm
    }
    # What an operator deployed before and gave traffic to is waited for as well, as long as there is hope.
    deployed = {
        (model["name"], int(one)) for model in status["models"] for one, share in model["shares"].items() if share
    }
    ours_to_start = {(pool["model"], pool["version"]) for pool in status["pools"]} - failed.keys()
    if late := sorted((wanted | (deployed & ours_to_start)) - ready):
        return ", ".join(f"{model} {version}" for model, version in late), ""
    routed = {model["name"] for model in status["models"] if model["revision"]}
    if not status["gateways"] or {model for model, _ in wanted} - routed:
        return "the gateway", ""
    if any(gateway["epoch"] != status["epoch"] for gateway in status["gateways"]):
        return "the gateway", ""
    return "", ""
