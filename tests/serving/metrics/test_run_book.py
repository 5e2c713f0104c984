"""docs/operations.md: what it tells whoever is called to type can be typed."""

from __future__ import annotations

import re
import shlex

import pytest
import typer.main

from scripts.make_metrics_files import ROOT
from serving.cli import app
from serving.metrics.alerts import RUN_BOOK

COMMANDS = sorted(set(re.findall(r"`sluice ([^`]+)`", (ROOT / RUN_BOOK).read_text())))


@pytest.mark.parametrize("typed", COMMANDS)
def test_every_command_of_the_run_book_can_be_typed(typed: str) -> None:
    """It exists, its options do, and no option that it asks for is missing."""
    command, words = typer.main.get_command(app), shlex.split(typed)
    while (several := getattr(command, "commands", None)) is not None:
        assert words, f"`sluice {typed}` is a group of commands: name one of {', '.join(several)}"
        command = several[words.pop(0)]
    given = {word for word in words if word.startswith("--")}
    options = [one for one in command.params if one.param_type_name == "option"]
    assert given <= {name for one in options for name in one.opts}
    assert [one.name for one in options if one.required and not given & set(one.opts)] == []


def test_its_commands_are_found() -> None:
    """Else the test above would test nothing."""
    assert {"status", "stop MODEL", "rollout why MODEL"} <= set(COMMANDS)
