"""How gates and hooks are reached: through `serving.outgoing`, which alone calls configured addresses.

An address in a rollout came over the API, so it must be https to a public host, unless the settings name its origin.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from serving.control.rolling.outward import LONGEST_TIMEOUT_S
from serving.outgoing import Bounds, Outgoing, Target

_ANSWER_BYTES = 64 * 1024


class Sends(Protocol):
    """Who sends what gates and hooks get."""

    def check(self, url: str) -> None:
        """Refuses an address that nothing is sent to.

        Raises:
            SluiceError: says why.
        """

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer.

        Raises:
            SluiceError: there was none.
        """


class Sender:
    """Sends over the network.

    Args:
        trusted: origins that the settings name (`http://gate.internal:9000`): those may be plain and private.
        outgoing: makes the calls; None for the real one.
    """

    def __init__(self, trusted: Collection[str] = (), outgoing: Outgoing | None = None) -> None:
        self._trusted = frozenset(str(Target.trusted(origin)) for origin in trusted)
        self._outgoing = outgoing or Outgoing(Bounds(float(LONGEST_TIMEOUT_S), _ANSWER_BYTES))

    def check(self, url: str) -> None:
        """Refuses an address that nothing is sent to."""
        self._target(url)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer."""
        said = {"content-type": "application/json", **headers}
        return (await self._outgoing.call("POST", self._target(url), headers=said, body=body)).status

    def _target(self, url: str) -> Target:
        target = Target.trusted(url)
        return target if str(target) in self._trusted else Target.public(url)
