"""What may be said of a document that is wrong: a mistake shows the wrong value, and a secret at a wrong place is one.

Every mistake of `document_from` has gone through this, so whoever shows one need not.
"""

from __future__ import annotations

import re
from typing import Final

_AFTER_HOST: Final = re.compile(r"(https?://)(?:[^/\s'\"]*@)?([^/\s'\"]*)[^\s'\"]*")
_SECRET: Final = re.compile(r"(['\"]secret['\"]: |\.secret is |whsec_)((?!: it is |; ).)*")


def discreet(sentence: str) -> str:
    """The sentence without secrets, and without the user in an address and what comes after its host."""
    return _SECRET.sub(r"\1…", _AFTER_HOST.sub(r"\1\2/…", sentence))
