"""Who is let in on the prediction port: decided from a request's head, before its body is read.

What each operation asks for is in `serving.access.table`, who shows a header is the verifier's to say. Here its answers
are kept, under a hash of the header, for a client shows the same key with every request: a good one's until it ends, a
bad one's for a second, so that a flood of one wrong key costs a look-up each. A head that is known by its bytes (see
`remembered`) carries its answer along. All are forgotten as soon as a key or a signing key changes: then there is
another verifier. What was refused is told to the security log.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from serving.access.principal import ANONYMOUS, UNLIMITED, Principal
from serving.access.roles import Needs, gives
from serving.access.verifier import MISSING, Denied, Verifier
from serving.errors import Refusal
from serving.gateway.request import Bad

if TYPE_CHECKING:
    from serving.gateway.request import Asked

DOOR: Final = "prediction"
MOST_KEPT: Final = 4096
"""Answers of each kind, good and bad; the oldest make room."""
BAD_FOR_S: Final = 1.0
"""How long a bad answer is kept: what is not valid yet may be soon."""
_LONGEST_NAME: Final = 128
_Kept = TypeVar("_Kept")
_NOT_KNOWN_YET: Final = Bad(Refusal.NO_REPLICA, "The gateway does not know yet which keys are good: try again.")


class Peer(Protocol):
    """Whose request it is."""

    @property
    def address(self) -> str:
        """Of the other end of the connection, for the security log."""


class Trail(Protocol):
    """Where refused attempts are written down."""

    def refused(  # noqa: PLR0917 (the security log's own)
        self, door: str, address: str, kind: str, operation: str, key_id: str = "", now_s: float | None = None
    ) -> None:
        """One attempt."""


class Admission:
    """Says who asks, or why they may not.

    Args:
        trail: is told what was refused.
        required: whether somebody who shows nothing is turned away.
        verifier: tells who shows a header; None where it is not known yet, and `use` will say.
    """

    def __init__(self, trail: Trail, *, required: bool = False, verifier: Verifier | None = None) -> None:
        self._trail = trail
        self._required = required
        self._verifier = verifier
        self._let_in: dict[bytes, tuple[Principal, float]] = {}
        self._turned_away: dict[bytes, tuple[Denied, float]] = {}
        self.on_unknown_signing_key: Callable[[], None] = lambda: None
        """Called when a token names a signing key that is not known: its issuer may have a new one."""

    def use(self, verifier: Verifier) -> None:
        """From here on this one is asked; what the last one said no longer counts."""
        self._verifier = verifier
        self._let_in.clear()
        self._turned_away.clear()

    def admit(self, head: Asked, now_s: float, peer: Peer) -> Principal | Bad:
        """Whoever asks, if they may ask this; why not, if not.

        Args:
            head: of the request; one that could not be read asks for nothing.
            now_s: seconds since 1970.
            peer: who sent it.
        """
        known = head.admitted
        if known is not None and known[2] is self._verifier and now_s < known[1]:
            return known[0]
        found, until_s = self._who(head, now_s)
        if isinstance(found, Principal) and found.may(head.needs, head.target.model):
            head.admitted = found, until_s, self._verifier
            return found
        return self._refuse(found, head, now_s, peer)

    def _who(self, head: Asked, now_s: float) -> tuple[Principal | Denied | None, float]:
        """Whoever asks, and until when that holds; None where it cannot be told yet."""
        shown = head.fields.get(b"authorization")
        if not head.needs or (shown is None and not self._required):
            return ANONYMOUS, math.inf
        if shown is None:
            return MISSING, now_s
        name = sha256(shown).digest()
        kept = self._let_in.get(name) or self._turned_away.get(name)
        return self._ask(name, shown, now_s) if kept is None or now_s >= kept[1] else kept

    def _ask(self, name: bytes, shown: bytes, now_s: float) -> tuple[Principal | Denied | None, float]:
        """Asks the verifier and keeps what it says."""
        if self._verifier is None:
            return None, now_s
        self._let_in.pop(name, None)
        found = self._verifier.verify(shown, now_s)
        if isinstance(found, Denied):
            if found.kind == "unknown_signing_key":
                self.on_unknown_signing_key()
            return _keep(self._turned_away, name, (found, now_s + BAD_FOR_S))
        who = replace(found, limits=UNLIMITED) if found.limits.none else found
        return _keep(self._let_in, name, (who, math.inf if who.expires_s is None else who.expires_s))

    def _refuse(self, found: Principal | Denied | None, head: Asked, now_s: float, peer: Peer) -> Bad:
        """Why not, for the client and for the security log."""
        if found is None:
            return _NOT_KNOWN_YET
        kind: str
        if isinstance(found, Denied):
            kind, key_id = found.kind, found.key_id
            bad = Bad(Refusal.FORBIDDEN if kind == "not_allowed" else Refusal.UNAUTHENTICATED, found.sentence)
        else:
            kind, key_id = "role" if gives(found.role) < head.needs else "model", found.id
            bad = Bad(Refusal.FORBIDDEN, _forbidden(found, head))
        target = head.target
        operation = f"{head.method.decode('ascii', 'replace')} {target.operation.name.lower()} {target.model}".rstrip()
        self._trail.refused(DOOR, peer.address, kind, operation, key_id, now_s)
        return bad


def _forbidden(who: Principal, head: Asked) -> str:
    if gives(who.role) >= head.needs:
        return f"This {who.kind} may not ask model '{head.target.model[:_LONGEST_NAME]}'."
    what = "A request marked synthetic" if head.synthetic else "This"
    return f"{what} takes a key that may {Needs(head.needs).name.lower()}: yours may {who.role.value}."


def _keep(answers: dict[bytes, _Kept], name: bytes, answer: _Kept) -> _Kept:
    """Under its name, as the newest."""
    answers.pop(name, None)
    if len(answers) >= MOST_KEPT:
        del answers[next(iter(answers))]
    answers[name] = answer
    return answer
