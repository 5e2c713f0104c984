"""Questions of the gateway's own to a Triton, whole answers only: whether a version is ready, what it has counted."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from serving.access.principal import Principal
from serving.gateway import answers

if TYPE_CHECKING:
    from serving.gateway.routing import Routing
    from serving.gateway.upstream import AnswerHead, Upstream, UpstreamConnection

AT_ONCE = 16
"""How many questions of the gateway's own may be under way."""
_LONGEST = 1024 * 1024


async def is_ready(upstream: Upstream, within_s: float) -> bool:
    """Whether the version answers that it is ready, on a connection that nobody has used."""
    found = await _fetch(upstream, "ready", within_s)
    return found is not None and found[0] == HTTPStatus.OK


async def statistics(routing: Routing, limit: asyncio.Semaphore, within_s: float, who: Principal) -> bytes:
    """The answer to `GET /v2/models/stats`: what one replica of each version has counted, as Triton shows its models.

    Args:
        routing: whose versions.
        limit: on questions at once, of all clients together.
        within_s: how long a version may take; one that does not answer in time is left out.
        who: asks; only models that they may know are shown.
    """
    models = [model for name, model in sorted(routing.models.items()) if who.sees(name)]
    routes = [model.versions[version] for model in models for version in sorted(model.versions)]
    found = await asyncio.gather(*(_counted(route.pick_any(), limit, within_s) for route in routes))
    return answers.document({"model_stats": [row for rows in found for row in rows]})


async def _counted(upstream: Upstream | None, limit: asyncio.Semaphore, within_s: float) -> list[Any]:
    if upstream is None:
        return []
    async with limit:
        found = await _fetch(upstream, "stats", within_s)
    if found is None or found[0] != HTTPStatus.OK:
        return []
    try:
        return list(json.loads(found[1])["model_stats"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


async def _fetch(upstream: Upstream, what: str, within_s: float) -> tuple[int, bytes] | None:
    """Status and body; None where there was no whole answer in time."""
    question = _Question(what, upstream)
    try:
        async with asyncio.timeout(within_s):
            upstream.dial(question)
            return await question.answer
    except TimeoutError:
        return None
    finally:
        question.end()


class _Question:
    """One question on its way."""

    def __init__(self, what: str, upstream: Upstream) -> None:
        self.answer: asyncio.Future[tuple[int, bytes] | None] = asyncio.get_running_loop().create_future()
        self._path = f"/v2/models/{quote(upstream.model, safe='')}/versions/{upstream.version}/{what}".encode()
        self._connection: UpstreamConnection | None = None
        self._body: list[bytes] = []

    def end(self) -> None:
        """Nobody waits for the answer any more."""
        self.answer.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def awaits(self, upstream: Upstream) -> bool:
        """Whether the answer is still wanted."""
        del upstream
        return not self.answer.done()

    def on_connected(self, connection: UpstreamConnection) -> None:
        """Out with it."""
        self._connection = connection
        connection.write(b"GET %s HTTP/1.1\r\nHost: triton\r\n\r\n" % self._path)

    def on_refused(self, upstream: Upstream) -> None:
        """No connection came to stand."""
        del upstream
        self._settle(None)

    def on_upstream_lost(self, connection: UpstreamConnection) -> None:
        """It broke off."""
        del connection
        self._connection = None
        self._settle(None)

    def on_upstream_full(self) -> None:
        """All of it is written already."""

    def on_upstream_ready(self) -> None:
        """All of it is written already."""

    def on_answer(self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes]) -> None:
        """A part of the answer."""
        del connection, answer
        self._body += pieces
        if sum(map(len, self._body)) > _LONGEST:
            self._settle(None)

    def on_answer_end(
        self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes], *, keep_alive: bool
    ) -> None:
        """The rest of it."""
        del keep_alive
        self._connection = None
        connection.close()  # it was dialled for this one question: a pool that nobody takes from only grows
        self._settle((answer.code, b"".join((*self._body, *pieces))))

    def _settle(self, answer: tuple[int, bytes] | None) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)
