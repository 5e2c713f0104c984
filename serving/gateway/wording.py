"""Sentences that both doors say."""

from __future__ import annotations

from typing import Final

from serving.errors import Refusal
from serving.gateway.request import Bad

FULL: Final = Bad(Refusal.OVERLOADED, "The gateway is full: try again in a second.")
LATE: Final = Bad(Refusal.BROKEN_FRAMING, "The request did not arrive in time: send it faster.")
UNREADABLE: Final = Bad(Refusal.MALFORMED, "The message is no request of this method's: it cannot be read.")
