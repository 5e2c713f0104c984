"""What Serve says of the pools, read: names of applications, states, and our own sentences in Serve's messages.

Serve's details come as plain values here; asking for them is `pool.py`'s.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from serving.pools import PoolKey, PoolState

_PREFIX = "sluice-pool:"
_NAME = re.compile(rf"{_PREFIX}(?P<model>[^:]+):(?P<version>\d+):(?P<digest>[0-9a-f]+)")
_RUNNING = "RUNNING"
_OUR_ERROR = re.compile(r"^serving\.[\w.]+: (.+)$", re.MULTILINE)


def is_pool(application: str) -> bool:
    """Whether a Serve application of this name is a pool of ours."""
    return application.startswith(_PREFIX)


def name_of(key: PoolKey) -> str:
    """The name of that pool's application."""
    return f"{_PREFIX}{key.model}:{key.version}:{key.digest}"


def states_in(details: Mapping[str, Any]) -> Mapping[PoolKey, PoolState]:
    """Every pool in Serve's instance details, as its controller gives them."""
    states = {}
    for name, application in details.get("applications", {}).items():
        if found := _NAME.fullmatch(name):
            key = PoolKey(found["model"], int(found["version"]), found["digest"])
            states[key] = _state(key, application)
    return states


def _state(key: PoolKey, application: Mapping[str, Any]) -> PoolState:
    deployments = list(application.get("deployments", {}).values())
    replicas = [replica for one in deployments for replica in one.get("replicas", ())]
    return PoolState(
        key,
        _word(application["status"]),
        _reason(deployments) or str(application.get("message", "")),
        replicas_running=sum(_word(replica["state"]) == _RUNNING for replica in replicas),
        replicas_wanted=sum(int(one.get("target_num_replicas", 0)) for one in deployments),
    )


def _reason(deployments: Iterable[Mapping[str, Any]]) -> str:
    """Our own sentence, where Serve's message holds the traceback of an error of ours; else all of it."""
    message = next((str(one["message"]) for one in deployments if one.get("message")), "")
    found = _OUR_ERROR.findall(message)
    return str(found[-1]).strip() if found else message


def _word(value: object) -> str:
    """An enumeration's value, or the text that it travels as."""
    return str(getattr(value, "value", value))
