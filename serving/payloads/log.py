"""The log itself: rows in, files out. One thread uses it, and it may wait for the disk.

Each version of a model has a file that is being written for each form of its rows (nearly always one). Rows are held
until there are enough for a row group worth reading. A file is finished when it is large enough, old enough, or when a
row comes that asks for a wider form; then the oldest files give way. What the disk refuses is counted, and the disk is
left alone for a while.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from serving.payloads.counts import Counts
from serving.payloads.files import Unfinished, remove_oldest, sweep
from serving.payloads.form import Form
from serving.payloads.rows import Row, batch_of
from serving.payloads.rules import PayloadRules

_log = structlog.get_logger(__name__)
_MOST_OPEN: Final = 16
_MOST_REMEMBERED: Final = 65_536
_GROUP_ROWS: Final = 1_000
_GROUP_BYTES: Final = 4 * 1024 * 1024
_LEAVE_ALONE_S: Final = 5.0
_MICROSECONDS: Final = 1_000_000
_LOOK_S: Final = 60.0
"""How often files that are too old are looked for while nothing is finished."""


class PayloadLog:
    """Writes rows to files.

    Args:
        rules: where, and how much.
        now_s: seconds since 1970.
        boot: names this process in the files' names, 16 hexadecimal digits.

    Raises:
        OSError: the folder cannot be made or read.
    """

    def __init__(self, rules: PayloadRules, now_s: float, boot: str = "") -> None:
        self.counts = Counts()
        self._rules = rules
        self.boot = boot or secrets.token_hex(8)
        self._number = 0
        self._open: list[_Open] = []  # the one that was used last stands last
        self._forms: dict[tuple[str, int], Form] = {}
        self._remembered: OrderedDict[tuple[int, str, int], None] = OrderedDict()
        self._alone_until_s = 0.0
        self._looked_s = now_s
        rules.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.counts.swept = sweep(rules.folder)
        self._bound(now_s)

    def add(self, rows: Iterable[Row], now_s: float) -> None:
        """Takes rows; one that was taken before is not taken again."""
        for row in rows:
            if row.key in self._remembered:
                self.counts.dropped["twice"] += 1
            elif now_s < self._alone_until_s:
                self.counts.dropped["disk"] += 1
            else:
                self._remember(row)
                self._add(row, now_s)

    def tick(self, now_s: float) -> None:
        """Finishes files that are old enough. Call it at least once a second."""
        for one in [one for one in self._open if now_s - one.begun_s >= self._rules.file_s]:
            self._finish(one, now_s)
        if now_s - self._looked_s >= _LOOK_S:
            self._bound(now_s)

    def close(self, now_s: float) -> None:
        """Finishes every file."""
        for one in list(self._open):
            self._finish(one, now_s)

    def _add(self, row: Row, now_s: float) -> None:
        file = self._fitting(row) or self._opened(row, now_s)
        if file is None:
            self.counts.dropped["disk"] += 1
            return
        self.counts.kept[row.about["kept"]] += 1
        with self._losing(file, now_s):
            file.add(row, min(_GROUP_BYTES, self._rules.file_bytes))
        if file.written >= self._rules.file_bytes:
            self._finish(file, now_s)

    def _fitting(self, row: Row) -> _Open | None:
        """An open file whose form holds the row."""
        for one in self._open:
            if one.whose == (row.model, row.version) and one.form.holds(row.form):
                self._forget(one)
                self._open.append(one)
                return one
        return None

    def _form_for(self, row: Row) -> Form:
        """What this version's rows had before, and this one: nearly always one form in the end."""
        known = self._forms.get((row.model, row.version))
        return (known.joined(row.form) if known else None) or row.form

    def _make_room_for(self, row: Row, form: Form, now_s: float) -> None:
        """Finishes the files that a wider one takes the place of, or the one that was used longest ago."""
        whose = (row.model, row.version)
        for one in [one for one in self._open if one.whose == whose and form.holds(one.form)]:
            self._finish(one, now_s)
        if len(self._open) >= _MOST_OPEN:
            self._finish(self._open[0], now_s)

    def _opened(self, row: Row, now_s: float) -> _Open | None:
        """A new file; None where the disk refuses it."""
        form = self._form_for(row)
        self._make_room_for(row, form, now_s)
        self._number += 1
        name = f"{int(now_s * _MICROSECONDS):016d}-{self.boot}-{self._number:06d}"
        try:
            made = _Open(Unfinished(self._rules.folder, row.model, row.version, name), row, form, begun_s=now_s)
        except (OSError, pa.ArrowException) as error:
            self._leave_alone(now_s, error)
            return None
        self._forms[row.model, row.version] = form
        self._open.append(made)
        return made

    def _finish(self, one: _Open, now_s: float) -> None:
        with self._losing(one, now_s):
            one.finish()
            self._forget(one)
            self.counts.files += 1
            self.counts.rows += one.count
        self._bound(now_s)

    @contextmanager
    def _losing(self, one: _Open, now_s: float) -> Iterator[None]:
        """What the disk refuses costs this file, which is counted, and nothing else."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, half a row group must not become a file
            self._forget(one)
            self.counts.dropped["disk"] += one.count
            one.discard()
            self._leave_alone(now_s, error)

    def _forget(self, gone: _Open) -> None:
        self._open = [one for one in self._open if one is not gone]

    def _bound(self, now_s: float) -> None:
        self._looked_s = now_s
        under_way = sum(one.written for one in self._open)
        try:
            self.counts.removed += remove_oldest(
                self._rules.folder,
                most_bytes=max(0, self._rules.max_bytes - under_way),
                before_us=int((now_s - self._rules.keep_s) * _MICROSECONDS),
            )
        except OSError as error:
            self._leave_alone(now_s, error)

    def _leave_alone(self, now_s: float, error: Exception) -> None:
        self._alone_until_s = now_s + _LEAVE_ALONE_S
        _log.warning("the payload log cannot be written", folder=str(self._rules.folder), error=type(error).__name__)

    def _remember(self, row: Row) -> None:
        self._remembered[row.key] = None
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)


class _Open:
    """A file that is being written, and the rows that are not in it yet."""

    def __init__(self, file: Unfinished, first: Row, form: Form, *, begun_s: float) -> None:
        self.whose = (first.model, first.version)
        self.form = form
        self.begun_s = begun_s
        self.count = 0
        self._rows: list[Row] = []
        self._held = 0
        self._file = file
        self._schema = form.schema({"model": first.model, "version": first.version})
        try:
            self._writer = pq.ParquetWriter(file.file, self._schema, compression="zstd")
        except BaseException:
            file.discard()
            raise
        self.written = 0

    def add(self, row: Row, group_bytes: int) -> None:
        """Takes a row; those that make a group are written."""
        self.count += 1
        self._rows.append(row)
        self._held += row.size
        if len(self._rows) >= _GROUP_ROWS or self._held >= group_bytes:
            self._write()

    def finish(self) -> None:
        """Brings everything to the disk."""
        if self._rows:
            self._write()
        self._writer.close()
        self._file.finish()

    def discard(self) -> None:
        """Leaves nothing behind."""
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._file.discard()

    def _write(self) -> None:
        rows, self._rows, self._held = self._rows, [], 0
        self._writer.write_batch(batch_of(rows, self.form, self._schema))
        self.written = self._file.file.tell()
