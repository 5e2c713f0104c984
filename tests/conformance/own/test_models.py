"""The repository that the kit writes for whoever wants to try a server of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conformance.models.repository import DATATYPES, MODELS


def made(folder: Path) -> subprocess.CompletedProcess[str]:
    """What the command says."""
    command = [sys.executable, "-m", "tests.conformance.models", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_writes_every_model(tmp_path: Path) -> None:
    """Each has a configuration by its name and a program that is one of the kit's, which imports nothing of it."""
    assert made(tmp_path / "new" / "repository").returncode == 0
    found = tmp_path / "new" / "repository"
    assert {one.name for one in found.iterdir()} == set(MODELS)
    for name in MODELS:
        assert f'name: "{name}"' in (found / name / "config.pbtxt").read_text()
        program = (found / name / "1" / "model.py").read_text()
        compile(program, name, "exec")
        assert "from tests" not in program


def test_the_command_overwrites_nothing(tmp_path: Path) -> None:
    """A folder that holds something is left as it is, with a sentence."""
    (tmp_path / "mine").write_text("")
    said = made(tmp_path)
    assert said.returncode == 1
    assert "name a folder that is empty or missing" in said.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]


def test_the_echo_has_every_datatype() -> None:
    """An optional input of each, and an output of the same name."""
    _, configuration = MODELS["echo"]
    for datatype in DATATYPES:
        assert configuration.count(f'name: "{datatype.lower()}" ') == 2
