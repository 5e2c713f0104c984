"""One version as a sidecar has it in hand: what came of its samples and is not stored yet, and how it stands in words.

No I/O: whoever reads the samples hands them in and stores what `step` gives.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from drift import encoding, learning, progress_form, window
from drift.baseline import Baseline
from drift.errors import Damaged, DriftError
from drift.findings import Finding
from drift.flattening import Known, Part, widths_of
from drift.learning import Learning
from drift.progress import Course, Progress
from drift.settings import WatchSettings
from drift.status import Samples, Status, WindowSeen
from drift.store import VersionStep
from drift.window import Window

_LOG: Final = logging.getLogger(__name__)
NOT_FOLDED: Final = (DriftError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What `folded` may raise."""


class Watched:
    """A version that has a baseline.

    Args:
        baseline: its own.
        settings: of the model.
        fields: of its state, as they were stored.
        digest: of the baseline's bytes, as they are kept.
    """

    def __init__(self, baseline: Baseline, settings: WatchSettings, fields: dict[str, bytes], digest: str) -> None:
        self.digest = digest
        self.course = Course.of(baseline, settings)
        self._stored = self._from(fields, baseline.digest)
        self.progress = self._stored or self.course.begin()
        self._seen: list[WindowSeen] = []
        self._findings: list[Finding] = []
        self._odd = ""

    @property
    def known(self) -> Known:
        """What its baseline says of its tensors."""
        baseline = self.course.watch.baseline
        outputs = {} if baseline.outputs is None else widths_of(baseline.outputs.schema)
        return Known(encoding.widths(baseline.encoders, widths_of(baseline.inputs.schema)), outputs)

    def take(self, part: Part, hidden: tuple[str, ...]) -> Window | None:
        """Folds these rows in, and hears the window if that closes with them; the rows, None where they cannot be.

        Args:
            part: of this version.
            hidden: tensors whose values are redacted.
        """
        if names := sorted(self._columns() & set(hidden)):
            self._odd = (
                f"Its baseline has {', '.join(names[:5])}, whose values are redacted in samples (payloads.redact): "
                "make a baseline that ignores them."
            )
            return None
        try:
            rows = folded(self.course.watch.baseline, part)
            self.progress = self.course.with_rows(self.progress, rows)
        except NOT_FOLDED as error:
            self._cannot(f"{part.rows:,} rows cannot be held against its baseline", error)
            return None
        self._close(rows.last_s)
        return rows

    def close_quiet(self, now_s: float) -> None:
        """Hears the window under way if it is old enough and no row has come for as long as one lasts.

        While rows come their own times decide, so that it is all one when somebody looks.

        Args:
            now_s: seconds since 1970.
        """
        window = self.progress.under_way
        if window is not None and now_s - window.last_s >= self.course.seconds:
            self._close(now_s)

    def _close(self, now_s: float) -> None:
        try:
            step = self.course.closing(self.progress, now_s)
        except NOT_FOLDED as error:  # else every further row would meet the same
            self.progress = replace(self.progress, under_way=None)
            self._cannot("a window cannot be held against its baseline, and is left out", error)
            return
        if step is not None:
            self.progress = step.progress
            self._seen.append(step.seen)
            self._findings += step.findings

    def _cannot(self, what: str, error: Exception) -> None:
        level = logging.DEBUG if self._odd else logging.ERROR  # it comes with every batch
        self._odd = f"{what[:1].upper()}{what[1:]}: {error!r:.300}."
        _LOG.log(level, "%s: %s", self.course.watch.baseline, self._odd, exc_info=error)

    @property
    def is_stored(self) -> bool:
        """Whether nothing is to be stored."""
        return self.progress is self._stored

    def step(self) -> VersionStep:
        """What is to be stored now."""
        return VersionStep(
            fields=progress_form.fields_of(self.progress, self._stored),
            afresh=self._stored is None,
            seen=tuple(self._seen),
            findings=tuple(self._findings),
            learned=self._stored is None,
        )

    def stored(self) -> tuple[Finding, ...]:
        """What `step` gave is stored: the findings that were among it."""
        told = tuple(self._findings)
        self._stored = self.progress
        self._seen, self._findings = [], []
        return told

    def status(self, about: Status) -> Status:
        """How it stands.

        Args:
            about: what is known without this version.
        """
        baseline, progress = self.course.watch.baseline, self.progress
        return replace(
            about,
            sentence=self._sentence(),
            baseline=baseline.digest,
            learned=baseline.live,
            backend=self.course.backend,
            rows=progress.rows,
            windows=progress.windows,
            last_s=progress.last_s,
            heard_s=progress.heard_s,
            under_way=self.course.under_way(progress),
            layers=progress.layers,
            strata=progress.strata,
            episode=progress.episode,
        )

    def _columns(self) -> set[str]:
        known = self.known
        return {*known.inputs, *known.outputs}

    def _from(self, fields: dict[str, bytes], digest: str) -> Progress | None:
        if not fields or learning.FIELD in fields:
            return None
        try:
            return progress_form.read(fields, digest)
        except Damaged as error:
            _LOG.warning("how far watching has come cannot be read, and is begun anew: %s", error)
            return None

    def _sentence(self) -> str:
        hours = f"Compared with {self.progress.strata}." if self.progress.strata else ""
        return " ".join(one for one in (self._stands(), hours, self._odd, self.course.note) if one)

    def _stands(self) -> str:
        progress = self.progress
        episode = progress.episode
        if episode is not None and episode.closed_s is None:
            return f"It drifts: {', '.join(episode.layers)}."
        if progress.windows:
            return "Watched: calm."
        if progress.rows:
            return "Watched: its first window is being filled."
        return "Watched: no samples yet."


class Unwatched:
    """A version that has no baseline that can be used: it may be learning one.

    Args:
        model: its name.
        version: its number.
        settings: of the model.
        fields: of its state, as they were stored.
        why: the baseline that it has cannot be used; empty where it has none.
        digest: of that baseline.
    """

    def __init__(  # noqa: PLR0917 - a value in all but name
        self, model: str, version: int, settings: WatchSettings, fields: dict[str, bytes], why: str = "",
        digest: str = "",
    ) -> None:  # fmt: skip
        self.digest = digest
        self._model, self._version, self._settings, self._why = model, version, settings, why
        self._learning = self._from(fields)
        self._stored = self._given = self._learning
        self._gathered: list[bytes] = []
        self._has_learned = False
        self._last_s: float | None = None

    @property
    def learns(self) -> bool:
        """Whether what comes is gathered."""
        wanted = self._settings.learn_rows
        return bool(wanted) and not self._why and not self._learning.refused and not self._learning.is_enough(wanted)

    @property
    def is_ready(self) -> bool:
        """Whether all that it takes to learn a baseline is gathered and stored."""
        wanted = self._settings.learn_rows
        if self._has_learned or self._why or not self.is_stored:
            return False
        return bool(wanted) and self._learning.is_enough(wanted)

    def take(self, rows: int, last_s: float, blob: bytes) -> None:
        """Gathers a batch of which so many rows are this version's, the newest of that time."""
        self._last_s = last_s if self._last_s is None else max(self._last_s, last_s)
        if self.learns:
            self._gathered.append(blob)
            self._learning = self._learning.with_batch(rows, len(blob))

    def rest(self) -> None:
        """It has learned one: nothing more is gathered until that is looked for anew."""
        self._has_learned = True

    def refuse(self, why: str) -> None:
        """No baseline can be made of what was gathered."""
        self._learning = replace(self._learning, refused=why)

    @property
    def is_stored(self) -> bool:
        """Whether nothing is to be stored."""
        return self._learning is self._stored

    def step(self) -> VersionStep:
        """What is to be stored now."""
        self._given = self._learning
        fields = {} if self.is_stored else {learning.FIELD: self._given.encode()}
        return VersionStep(fields=fields, to_learn=tuple(self._gathered), learned=bool(self._given.refused))

    def stored(self) -> tuple[Finding, ...]:
        """What `step` gave is stored, which is not what was refused meanwhile; there are never findings."""
        self._stored, self._gathered = self._given, []
        return ()

    def status(self, about: Status) -> Status:
        """How it stands, as `Watched.status`."""
        wanted = self._settings.learn_rows
        learns = bool(wanted) and not self._why
        return replace(
            about,
            sentence=self._sentence(),
            last_s=self._last_s,
            learning=self._learning.rows if learns else None,
            learn_rows=wanted if learns else 0,
        )

    def _from(self, fields: dict[str, bytes]) -> Learning:
        try:
            return learning.read(fields.get(learning.FIELD))
        except Damaged as error:
            _LOG.warning("what was gathered to learn of cannot be read: %s", error)
            return Learning()

    def _sentence(self) -> str:
        if self._why:
            return f"Not watched: {self._why}"
        if self._learning.refused:
            return f"Not watched: no baseline could be learned. {self._learning.refused}"
        if self._settings.learn_rows:
            return (
                f"Not watched yet: it learns a baseline, {self._learning.rows:,} of {self._settings.learn_rows:,} rows."
            )
        return (
            "Not watched: it has no baseline. Compute one from its training data: "
            f"`sluice drift baseline {self._model} {self._version} --data FILE`."
        )


def folded(baseline: Baseline, part: Part) -> Window:
    """These rows as a window of their own.

    Raises:
        DriftError, ValueError and the like: they cannot be held against that baseline.
    """
    inputs, breaks = encoding.applied(baseline.encoders, part.inputs, part.embedded)
    found = window.folded_in(baseline, inputs, part.outputs, part.keys, part.at_s)
    if breaks:
        found = replace(found, inputs=replace(found.inputs, breaks=tuple(sorted({*found.inputs.breaks, *breaks}))))
    return found


def nothing_known(model: str, version: int, sidecar: str, now_s: float, samples: Samples) -> Status:
    """A status before anything is said of the version itself."""
    return Status(model, version, sidecar, "", now_s, samples=samples)
