"""What the registry's keys in Redis are called."""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry.errors import Unacceptable

_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of everything that one installation's registry keeps.

    All begin with the namespace in braces, so that on a cluster of Redis servers they share a slot and one script may
    touch them all.
    """

    namespace: str

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise Unacceptable(f"{self.namespace!r} is no namespace: it must match {_NAMESPACE.pattern}.")

    @property
    def models(self) -> str:
        """Sorted set: names of models, by name."""
        return f"{{{self.namespace}}}:registry:models"

    @property
    def audit(self) -> str:
        """Stream of what was changed, append-only."""
        return f"{{{self.namespace}}}:registry:audit"

    @property
    def baselines(self) -> str:
        """Hash: "model/version" to what is known of that version's baseline, as JSON."""
        return f"{{{self.namespace}}}:registry:baselines"

    @staticmethod
    def baseline_field(model: str, number: int) -> str:
        """Of `baselines`."""
        return f"{model}/{number}"

    def answer(self, nonce: str) -> str:
        """There for a minute after the commit of that nonce was written."""
        return f"{{{self.namespace}}}:registry:answer:{nonce}"

    def of(self, model: str, part: str) -> str:
        """One of a model's own keys.

        `model`: hash of revision and newest number. `versions`: sorted set of numbers. Hashes by number: `records`
        (canonical bytes), `summaries`, `states` (which keep the numbers that are gone), `baselines` (bytes).
        `aliases`: hash by name.
        """
        return f"{{{self.namespace}}}:registry:{part}:{model}"
