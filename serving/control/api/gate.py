"""The control API's door: who asks, and whether the table lets them; decided before anything of a body is read.

What each operation needs stands in `serving.access.table` and nowhere else. An operation that the application has and
the table has not is let through for nobody. Whatever is let through carries who it is (`serving.control.api.caller`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access.principal import Principal
from serving.access.roles import Needs
from serving.access.security_log import SecurityLog
from serving.access.table import CONTROL
from serving.access.verifier import Denied
from serving.control.api.caller import header, note_principal
from serving.control.api.refusing import Reason, turn_away, write_down
from serving.control.doorman import Doorman
from serving.errors import Refusal

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="sluice"'}

_WHERE_FROM: Final = "Send `Authorization: Bearer KEY`; the CLI takes the key from SLUICE_KEY_FILE or SLUICE_KEY."
_ASK: Final = "Ask an administrator of this installation."
_TWICE: Final = Denied("malformed", "The request carries more than one Authorization header.")


@dataclass(frozen=True)
class Door:
    """What stands before the application.

    Attributes:
        doorman: knows who may come in; by default everybody, as on loopback.
        hosts: names under which this API is reached, beside its address and localhost.
        log: where those are written down who are turned away; by default the ordinary log.
    """

    doorman: Doorman = field(default_factory=Doorman)
    hosts: frozenset[str] = frozenset()
    log: SecurityLog = field(default_factory=lambda: SecurityLog(""))


class Table:
    """What each operation needs, found by method and path.

    Args:
        rows: needs by 'METHOD /path/{template}'.
    """

    def __init__(self, rows: Mapping[str, Needs] = CONTROL) -> None:
        self._rows = [(*_compiled(row), needs) for row, needs in rows.items()]

    def needs(self, method: str, path: str) -> Needs | None:
        """What this asks for; None where no row is about it. Of several rows the one that asks for most."""
        method = "GET" if method == "HEAD" else method
        return max((needs for of, at, needs in self._rows if of == method and at.fullmatch(path)), default=None)


def _compiled(row: str) -> tuple[str, re.Pattern[str]]:
    method, _, template = row.partition(" ")
    parts = re.split(r"\{\w+\}", template)
    return method, re.compile("[^/]+".join(map(re.escape, parts)))


class Gate:
    """Lets through whom the table lets through.

    Args:
        app: what answers them.
        door: who may come in, and where others are written down.
        routes: the application's own, to tell an operation without a row from a path that is nothing.
        table: what each operation needs.
    """

    def __init__(self, app: ASGIApp, door: Door, routes: Iterable[BaseRoute], table: Table | None = None) -> None:
        self._app = app
        self._door = door
        self._routes = routes
        self._table = table or Table()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer, or 401 or 403."""
        needs = self._table.needs(scope["method"], scope["path"])
        if needs is Needs.NOTHING:
            await self._app(scope, receive, send)
            return
        judged = self._judge(scope, needs)
        if isinstance(judged, Reason):
            await turn_away(self._door.log, judged, scope, receive, send)
            return
        note_principal(scope, judged)
        await self._app(scope, receive, self._while_let_in(scope, needs, send))

    def _while_let_in(self, scope: Scope, needs: Needs | None, send: Send) -> Send:
        """Ends an answer that comes in pieces, maybe for days, where its reader's key has ended meanwhile."""
        over = False

        async def send_piece(message: Message) -> None:
            nonlocal over
            if over:
                return
            if message.get("more_body", False) and isinstance(judged := self._judge(scope, needs), Reason):
                over = True
                write_down(self._door.log, judged, scope)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        return send_piece

    def _judge(self, scope: Scope, needs: Needs | None) -> Principal | Reason:
        found = self._asks(scope)
        return _denied(found) if isinstance(found, Denied) else self._passed(scope, found, needs)

    def _asks(self, scope: Scope) -> Principal | Denied:
        shown = header(scope, b"authorization")
        return _TWICE if len(shown) > 1 else self._door.doorman.ask(shown[0] if shown else None)

    def _passed(self, scope: Scope, found: Principal, needs: Needs | None) -> Principal | Reason:
        if needs is None:  # the application's own 404 or 405, unless it would do something
            return _NO_ROW if self._is_served(scope) else found
        return found if found.may(needs) else _lacking(found, needs)

    def _is_served(self, scope: Scope) -> bool:
        # Routers note what they find in the scope, which the application is to get as it came.
        return any(route.matches({**scope, "state": {}})[0] is Match.FULL for route in self._routes)


_NO_ROW = Reason(
    Refusal.FORBIDDEN,
    "no_row",
    "Nobody is let through to this operation: the table of access says nothing of it.",
    "This is a mistake of this release. Please report it.",
)


def _denied(found: Denied) -> Reason:
    if found.kind == "not_allowed":
        return Reason(Refusal.FORBIDDEN, found.kind, found.sentence, _ASK, found.key_id)
    return Reason(Refusal.UNAUTHENTICATED, found.kind, found.sentence, _WHERE_FROM, found.key_id, CHALLENGE)


def _lacking(found: Principal, needs: Needs) -> Reason:
    role = needs.name.lower()
    return Reason(
        Refusal.FORBIDDEN,
        "role",
        f"This needs the role {role}, and {found.name} has the role {found.role.value}.",
        f"Ask an administrator for a key with the role {role}: `sluice keys create NAME --role {role}`.",
        found.id,
    )
