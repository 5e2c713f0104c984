"""Every command block of the README is run here, in order, against a demo that is up.

Before each block the README says in a comment how it is run:

- `<!-- run: here -->`: as it stands, in the demo's folder, with the demo's ports in place of 8000 and 8080;
- `<!-- run: demo -->`: it is what the fixture `demo` has started;
- `<!-- run: suite -->`: it is what is running at this moment.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import pytest

from serving.control.client import ControlClient, shares_of
from serving.shares import with_shares

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
_BLOCK = re.compile(r"(?:^<!-- run: (\w+) -->\n)?^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


class Demo(Protocol):
    """What the fixture gives: where `.sluice` is, and the two addresses."""

    folder: Path
    http_url: str
    control_url: str


@dataclass(frozen=True)
class Block:
    """A fenced block: how it is run, its language and its text."""

    how: str
    language: str
    text: str


BLOCKS = [Block(*found) for found in _BLOCK.findall(README)]
HERE = [block for block in BLOCKS if block.how == "here"]


@pytest.fixture(scope="module")
def split_as_before(demo: Demo) -> Iterator[None]:
    """The tour changes the split; the tests after it find it as it was."""
    with ControlClient(demo.control_url) as control:
        shares = shares_of(control.policy("digits")["policy"])
        yield
        after = control.policy("digits")
        control.set_policy("digits", with_shares(after["policy"], shares), revision=after["revision"])


def test_every_command_block_says_how_it_is_run() -> None:
    """Only a picture may go without; a language that nothing here can run is refused."""
    commands = [block for block in BLOCKS if block.language != "mermaid"]
    assert [block.text for block in commands if block.how not in {"here", "demo", "suite"}] == []
    assert {block.language for block in commands} == {"bash", "python"}
    assert README.count("```") == 2 * len(BLOCKS)


def test_make_does_what_the_fixtures_do() -> None:
    """`make demo` is `sluice demo`, `make test` is pytest, and the README says no more than that in those blocks."""
    makefile = (ROOT / "Makefile").read_text()
    recipes = dict(re.findall(r"^(\w+): .*\n\t@(.*)$", makefile, flags=re.MULTILINE))
    assert recipes["demo"] == "$(VENV)/bin/sluice demo $(ARGS)"
    assert recipes["test"] == "$(VENV)/bin/pytest $(BESIDE) $(ARGS)"
    assert {block.how: block.text for block in BLOCKS if block.how in {"demo", "suite"}} == {
        "demo": "make demo\n",
        "suite": "make test\n",
    }


@pytest.mark.e2e
@pytest.mark.usefixtures("split_as_before")
@pytest.mark.parametrize("block", HERE, ids=[block.text.splitlines()[-1].strip()[:40] for block in HERE])
def test_the_readme_does_what_it_shows(block: Block, demo: Demo) -> None:
    """The block exits with 0."""
    shell = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[block.language]
    done = subprocess.run(
        [*shell, _with_ports_of(demo, block.text)],
        cwd=demo.folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    assert done.stdout.strip(), "a tour shows something"


def _with_ports_of(demo: Demo, text: str) -> str:
    text = text.replace("127.0.0.1:8000", urlsplit(demo.http_url).netloc)
    text = text.replace("127.0.0.1:8080", urlsplit(demo.control_url).netloc)
    return text.replace("source .venv/bin/activate", f"source {sys.prefix}/bin/activate")


def _environment() -> dict[str, str]:
    """That of a second terminal in which the environment has been activated, as the first block does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    return {**kept, "PATH": f"{sys.prefix}/bin{os.pathsep}{kept['PATH']}"}
