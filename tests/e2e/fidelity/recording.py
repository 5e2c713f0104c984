"""What Triton alone answers to each vector, as a file that is read in reviews and checked on each run.

`RECORD_TRITON=1 pytest tests/e2e/fidelity` writes it anew; the difference then says what another release of Triton
answers differently. A vector that is no more has to be taken out by hand.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.e2e.fidelity.exchange import Outcome
from tests.e2e.fidelity.wire import Answer

RECORD = "RECORD_TRITON"
PLACE = Path(__file__).with_name("recorded.json")


class Recording:
    """The recorded answers by the vector's name.

    Args:
        renew: whether what is seen now is to replace what was recorded.
    """

    def __init__(self, *, renew: bool) -> None:
        self.renew = renew
        self._known: dict[str, Any] = json.loads(PLACE.read_text())

    def check(self, name: str, outcome: Outcome) -> None:
        """Fails where Triton answers differently from what was recorded."""
        plain = _plain(outcome)
        if self.renew:
            self._known[name] = plain
        assert name in self._known, f"{name} is not recorded yet: run with {RECORD}=1"
        assert plain == self._known[name], f"Triton answers {name} differently from {PLACE.name}"

    def names(self) -> set[str]:
        """The vectors that are recorded."""
        return set(self._known)

    def close(self) -> None:
        """Writes the file where it is to be renewed."""
        if self.renew:
            PLACE.write_text(json.dumps(self._known, indent=1, sort_keys=True) + "\n")


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {"answers": [_plain_answer(answer) for answer in outcome.answers], "after": outcome.after.value}


def _plain_answer(answer: Answer) -> dict[str, Any]:
    try:
        body = {"body": answer.body.decode()}
    except UnicodeDecodeError:
        body = {"base64": base64.b64encode(answer.body).decode()}
    interim = {"interim": list(answer.interim)} if answer.interim else {}
    headers = [f"{name}: {value}" for name, value in answer.headers]
    return {"status": f"{answer.code} {answer.phrase}", "headers": headers, **interim, **body}
