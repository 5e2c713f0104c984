"""What the chart's documents tell people to type and to set is there: commands, options, values, files."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml
from typer.main import get_command

from serving.cli import app
from tests.helm.chart import CHART, ROOT

pytestmark = pytest.mark.helm
TEXT = (ROOT / "docs" / "cluster.md").read_text()
README = (ROOT / "helm" / "README.md").read_text()


def commands() -> list[str]:
    """Every command of ours in its blocks, without what is said of it beside it."""
    blocks = re.findall(r"^```\n(.+?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("sluice ")]
    return [re.split(r"\s+# ", line)[0] for line in lines]


@pytest.mark.parametrize("typed", commands())
def test_every_command_can_be_typed(typed: str) -> None:
    """There is such a command, and it takes these arguments and options."""
    _, *words = shlex.split(typed)
    command: Any = get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)


def test_its_commands_are_found() -> None:
    """Else the test above would test nothing."""
    assert len(commands()) >= 8


def test_every_value_that_is_named_is_there() -> None:
    """Dotted names that begin as one of the values do are values, down to what their defaults show."""
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    named = re.findall(r"`([a-z][A-Za-z]+(?:\.[A-Za-z]+)+)`", TEXT + README)
    found = [name for name in named if name.split(".")[0] in values]
    assert len(found) >= 10
    for name in found:
        place: Any = values
        for part in name.split("."):
            assert part in place, name
            place = place[part]


def test_every_file_that_is_named_is_there() -> None:
    """Documents, Dockerfiles and values files of the repository."""
    files = re.findall(r"\b((?:docs|helm|tests/helm)/[\w./-]*\w)", TEXT + README)
    assert len(files) >= 8
    assert [file for file in files if not (ROOT / file).exists()] == []
