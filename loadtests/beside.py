"""Something that goes on in a thread of its own while a block lasts; what it dies of is raised where the block ends."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

from loadtests.installation import Failed


class Beside(ABC):
    """What goes on; whoever extends it says what that is.

    Attributes:
        over: set when the block ends.
    """

    ends_within_s: ClassVar[float] = 60.0
    """How long it may take to end, once the block has."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=type(self).__name__)

    @abstractmethod
    def goes_on(self) -> None:
        """All of it; returns soon after `over` is set."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._thread.join(self.ends_within_s)
        if self._thread.is_alive():
            raise Failed(f"What went on beside ({self._thread.name}) did not end within {self.ends_within_s:g} s.")
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self.goes_on()
        except BaseException as error:  # noqa: BLE001 - told where the block ends
            self._error = error
