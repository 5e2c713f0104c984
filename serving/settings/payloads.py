"""The payload log in the settings: whether requests and answers are kept, how many, where and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from router.policy import parse_share
from serving.kinds import AnyPath, Seconds, Size, Switch, number, text
from serving.payloads.rules import PayloadRules
from serving.settings.section import Section

_DAY_S = 86_400.0
Pattern = Annotated[str, text(str.strip, "names of inputs or outputs, such as card_number, or fraud:customer_*")]


def _as_share(value: object) -> int:
    """Parts per million; a value that was read before is one already."""
    return parse_share(str(value))


class PayloadSettings(Section):
    """What is kept of requests and answers."""

    enabled: Switch = False
    share: Annotated[int, BeforeValidator(_as_share)] = 10_000
    """In parts per million."""
    folder: AnyPath | None = None
    max_bytes: Size = 1_073_741_824
    file_bytes: Annotated[Size, Field(validate_default=True)] = 67_108_864
    file_s: Seconds = 60.0
    keep_days: Annotated[float, number(0.001, 3_650)] = 30.0
    redact: tuple[Pattern, ...] = ()

    @field_validator("file_bytes")
    @classmethod
    def _fits(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("max_bytes", value)
        if value > most:
            raise ValueError(f"a file may have at most payloads.max_bytes, which is {most}")
        return value

    def folder_in(self, state_dir: Path) -> Path:
        """Where its files are."""
        return self.folder or state_dir / "payloads"

    def rules(self, state_dir: Path) -> PayloadRules | None:
        """What a keeper is told; None where nothing is kept.

        Args:
            state_dir: of the installation, absolute.
        """
        if not self.enabled:
            return None
        return PayloadRules(
            self.folder_in(state_dir), self.share, self.max_bytes, self.file_bytes, self.file_s,
            self.keep_days * _DAY_S, self.redact,
        )  # fmt: skip
