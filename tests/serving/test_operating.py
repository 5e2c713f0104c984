"""docs/operating.md: what it tells people to type can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.control.rolling.document import document_from, with_secrets
from tests.serving.fake_rollouts import FakeRollouts, rollout, serving
from tests.serving.test_cli import Command, sluice

__all__ = ["sluice"]

TEXT = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
SECRET = {"HOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}


def commands() -> list[str]:
    """Every command of its blocks, with what may be left out, and without what is said of it beside it."""
    blocks = re.findall(r"^```\n((?:sluice .*\n|    .*\n|\n)+)```", TEXT, flags=re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n   ", "").splitlines() if line]
    return [re.split(r"\s{2,}", line.replace("[", "").replace("]", ""))[0] for line in lines]


def applied() -> dict[str, Any]:
    """The rollout of its file, promoted."""
    [file] = re.findall(r"^```yaml\n(.+?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    Path("rollout.yaml").write_text(file)
    plan = document_from(with_secrets(yaml.safe_load(file), SECRET)).plan
    hooks = [{"url": "https://ci.example/…", "events": ["waiting", "rolled_back", "promoted"]}]
    return rollout(plan=plan, phase="promoted", over=True, webhooks=hooks)


@pytest.mark.parametrize("command", [one for one in commands() if "…" not in one])
def test_every_command_of_the_text_can_be_typed(
    sluice: Command, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0 where nothing stands in its way, so no option of it is misspelt and no value of it is unreadable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOOK_SECRET", SECRET["HOOK_SECRET"])
    api = FakeRollouts([applied()])
    with serving(api) as address:
        monkeypatch.setenv("SLUICE_URL", address)
        name, *words = shlex.split(command)
        ran = sluice(*words)
    assert (name, ran.code) == ("sluice", 0), ran.err


def test_its_commands_are_found() -> None:
    """Else the test above would test nothing."""
    assert len(commands()) > 25
    assert sum(one.startswith("sluice rollout start digits") for one in commands()) == 4
