"""What everything of drift's is called in Redis: samples, what is known of each version, findings.

Keepers write samples, the sidecar the rest, whoever shows it reads. A name is never put together anywhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from drift.errors import Unfit

GROUP: Final = "drift"
"""The consumer group of each stream of samples, with one consumer of the same name: whoever holds the model's lease."""

MOST_FINDINGS: Final = 10_000
"""Entries of the stream of findings, about."""

CAPTURED_KEPT_MS: Final = 7 * 24 * 3_600 * 1_000
"""How long samples are kept at most that were read."""

MOST_HISTORY: Final = 2_000
"""Windows that are remembered of a version."""

_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class DriftKeys:
    """The names of everything that one installation keeps of drift.

    All begin with the namespace in braces, so that on a cluster of Redis servers they share a slot and one script may
    touch them all.

    Args:
        namespace: up to 64 letters, digits, hyphens and underscores.

    Raises:
        Unfit: it is something else.
    """

    namespace: str

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise Unfit(f"{self.namespace!r} is no namespace: use up to 64 letters, digits, hyphens, underscores.")

    @property
    def sampled(self) -> str:
        """Set: names of the models that have a stream of samples."""
        return self._of("sampled")

    def samples(self, model: str) -> str:
        """Stream: batches of rows (`drift.samples`), field `b`; it is bounded by length."""
        return self._of(f"samples:{model}")

    def captured(self, model: str) -> str:
        """Stream: batches that were read, fields `b` and `t`, the bytes of all up to this one; its oldest make room."""
        return self._of(f"captured:{model}")

    def window(self, episode: str) -> str:
        """Stream: those that an episode of a model's drift rests on, kept for whoever trains anew."""
        return self._of(f"window:{episode}")

    @property
    def windows(self) -> str:
        """Sorted set: episodes whose batches are kept, by when that was decided, milliseconds since 1970."""
        return self._of("windows")

    @property
    def windows_about(self) -> str:
        """Hash: the same episodes to what is said of their windows, as JSON."""
        return self._of("windows:about")

    def state(self, model: str, version: int) -> str:
        """Hash: what the sidecar knows of a version (`drift.progress_form`)."""
        return self._of(f"state:{version}:{model}")

    def arms(self, model: str, version: int) -> str:
        """Hash: what the sidecar knows of a candidate beside stable (`drift.beside`)."""
        return self._of(f"arms:{version}:{model}")

    def labels(self, model: str, version: int) -> str:
        """Hash: what the sidecar knows of a version's labels (`drift.labels`)."""
        return self._of(f"labels:{version}:{model}")

    def feedback(self, model: str) -> str:
        """Hash: "version|metric|counter" to what feedback about that model adds up to; the control room's."""
        return f"{{{self.namespace}}}:feedback:sums:{model}"

    def learning(self, model: str, version: int) -> str:
        """List: batches of which a version without a baseline is to learn one."""
        return self._of(f"learning:{version}:{model}")

    def of_version(self, model: str, version: int) -> tuple[str, ...]:
        """All that is kept of a version by itself, its field of `status` aside."""
        every = (self.state, self.arms, self.labels, self.learning, self.history)
        return tuple(name(model, version) for name in every)

    @property
    def sidecars(self) -> str:
        """Sorted set: ids of sidecars by when they last said that they live, milliseconds since 1970."""
        return self._of("sidecars")

    def keepers(self, model: str) -> str:
        """Hash: id of a keeper to what was counted of its batches, as JSON; the empty field is the sidecar's own."""
        return self._of(f"keepers:{model}")

    def lease(self, model: str) -> str:
        """The token of the sidecar that reads this model's samples; it expires."""
        return self._of(f"lease:{model}")

    @property
    def status(self) -> str:
        """Hash: "model/version" to how it is watched (`drift.status.Status`), as JSON."""
        return self._of("status")

    @staticmethod
    def status_field(model: str, version: int) -> str:
        """Of `status`."""
        return f"{model}/{version}"

    def history(self, model: str, version: int) -> str:
        """List: windows that were heard (`drift.status.WindowSeen`), as JSON, the newest last; it is bounded."""
        return self._of(f"history:{version}:{model}")

    @property
    def findings(self) -> str:
        """Stream: findings (`drift.findings.Finding`) as JSON, field `f`; its oldest are dropped."""
        return self._of("findings")

    def _of(self, name: str) -> str:
        return f"{{{self.namespace}}}:drift:{name}"
