"""Who sends a request, from where, and what for, as the server and the gate have noted it in the request's scope."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from serving.access.principal import ANONYMOUS, Principal

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing, and whose body nobody reads."""

_PRINCIPAL: Final = "principal"


def note_principal(scope: Scope, principal: Principal) -> None:
    """Notes who it is. The gate alone does."""
    scope.setdefault("state", {})[_PRINCIPAL] = principal


def principal_of(scope: Scope) -> Principal:
    """Who it is; anonymous where nobody has asked."""
    found = scope.get("state", {}).get(_PRINCIPAL)
    return found if isinstance(found, Principal) else ANONYMOUS


def address_of(scope: Scope) -> str:
    """The peer's address as its socket has it; no header has a say in it."""
    client = scope.get("client")
    return str(client[0]) if client else "nowhere"


def operation_of(scope: Scope) -> str:
    """What is asked, without the query: that may hold what is nobody's business."""
    return f"{scope['method']} {scope['path']}"


def header(scope: Scope, name: bytes) -> list[bytes]:
    """All values of a header of the request; the name in lower case."""
    return [value for given, value in scope["headers"] if given == name]
