"""That somebody was not let in, and why: a value, as being let in is one."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["missing", "malformed", "wrong", "expired", "revoked", "unknown_signing_key", "not_allowed"]


class Denied(NamedTuple):
    """Why a credential opens nothing.

    Attributes:
        kind: in a word, for the security log and for choosing a status: `not_allowed` is 403, all else 401.
        sentence: for whoever showed it. The same for an unknown key and a wrong secret, or keys could be counted.
        key_id: of the key that was shown, where one of that id exists; for the security log, never for the caller.
    """

    kind: Kind
    sentence: str
    key_id: str = ""
