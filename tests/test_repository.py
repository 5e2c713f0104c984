"""What the repository promises about itself: dependencies, rooms, and folders of tests."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("router", "registry", "drift", "serving", "loadtests", "helm")
A_SCREEN = 45
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name_of(requirement: str) -> str:
    """The package that a requirement names."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return normal(found[0])


def normal(name: str) -> str:
    """A package's name as packages are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def direct() -> list[str]:
    """The packages that pyproject.toml names, extras included, in its order."""
    extras = [requirement for listed in PROJECT["optional-dependencies"].values() for requirement in listed]
    return [name_of(requirement) for requirement in [*PROJECT["dependencies"], *extras]]


def pins() -> dict[str, str]:
    """What constraints.txt pins, by package."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normal(name): version for name, version in pairs}


def test_every_dependency_has_a_reason() -> None:
    """docs/dependencies.md lists exactly what pyproject.toml names, in its order, with a licence and a sentence."""
    text = (ROOT / "docs" / "dependencies.md").read_text()
    rows = re.findall(r"^\| ([A-Za-z0-9._-]+) \| (.+?) \| (.+?) \|$", text, flags=re.MULTILINE)
    rows = [row for row in rows if row[0] not in {"package", "---"}]
    assert [normal(name) for name, _, _ in rows] == direct()
    assert [name for name, licence, reason in rows if not (licence and reason.endswith("."))] == []


def test_every_direct_dependency_is_pinned() -> None:
    """Left to itself, pip's resolver slides back to old releases of some of them."""
    assert [name for name in direct() if name not in pins()] == []


def test_torch_is_pinned_without_a_local_part() -> None:
    """Spelt with +cpu it would be found on one kind of index only; spelt loosely it brings gigabytes of CUDA."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", pins()["torch"])


def test_what_is_pinned_is_one_release_each() -> None:
    """No address, no range, no marker: every line of constraints.txt is NAME==RELEASE, in order, once."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line)] == []
    assert len(pins()) == len(lines)


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_what_it_is_for(room: str) -> None:
    """A README of at most a screen, which begins with the room's question."""
    lines = (ROOT / room / "README.md").read_text().splitlines()
    assert len(lines) <= A_SCREEN
    assert lines[0] == f"# {room}"
    assert re.fullmatch(r"\*\*.+\?\*\*", lines[2])


@pytest.mark.parametrize("room", ["router", "registry", "drift", "serving", "loadtests", "tests"])
def test_every_package_says_what_it_is(room: str) -> None:
    """Its docstring is there."""
    assert (ROOT / room / "__init__.py").read_text().startswith('"""')


def test_every_folder_of_tests_is_a_package() -> None:
    """Without an __init__.py, tests/router would shadow router."""
    folders = {file.parent for file in (ROOT / "tests").rglob("*.py")}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").is_file()) == []


def test_every_link_of_the_readme_leads_somewhere() -> None:
    """Relative links name files that are there."""
    targets = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_make_help_names_every_target() -> None:
    """What can be made is what is listed."""
    makefile = (ROOT / "Makefile").read_text()
    [phony] = re.findall(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE)
    done = subprocess.run(
        ["make", "--no-print-directory", "help"],  # noqa: S607 - whichever make the developer uses
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert [line.split()[1] for line in done.stdout.splitlines()] == phony.split()


def test_decisions_are_numbered_and_complete() -> None:
    """Each record has its number once, and says context, decision and price."""
    records = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [record.name[:4] for record in records] == [f"{number:04d}" for number in range(1, len(records) + 1)]
    for record in records:
        headings = re.findall(r"^## (.+)$", record.read_text(), flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Price"], record.name
