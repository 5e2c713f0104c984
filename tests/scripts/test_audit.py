"""The audit says what it has checked, and what it has not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from scripts import audit
from scripts.audit import Licences, Part, declarations, judged, needed

ROOT = Path(__file__).parents[2]
LIST = """
allowed = ["MIT", "Apache-2.0", "BSD-3-Clause", "Apache-2.0 WITH LLVM-exception"]
[called]
"MIT License" = "MIT"
[exceptions.odd]
declares = ["GPLv2"]
reason = "A program of its own."
"""


@pytest.fixture
def licences() -> Licences:
    """A short list."""
    return Licences.of(LIST)


@pytest.mark.parametrize(
    "expression",
    [
        "MIT", "MIT License", "Apache-2.0 AND MIT", "MIT OR GPL-3.0-only", "GPL-3.0-only OR MIT",
        "(MIT OR GPL-2.0-only) AND BSD-3-Clause", "Apache-2.0 WITH LLVM-exception AND MIT", "MIT OR GPL-2.0-only AND X",
    ],
)  # fmt: skip
def test_an_expression_is_allowed_where_one_may_choose_so(licences: Licences, expression: str) -> None:
    """All of what is joined by AND, one of what is joined by OR."""
    assert licences.admits(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "GPL-3.0-only", "MIT AND GPL-3.0-only", "MIT WITH some-exception", "", "MIT AND", "(MIT", "MIT)", "MIT MIT",
        "AND",
        "(GPL-2.0-only OR X) AND MIT", "mit", "MIT WITH",
    ],
)  # fmt: skip
def test_what_is_not_on_the_list_is_not_allowed(licences: Licences, expression: str) -> None:
    """Nor what cannot be read."""
    assert not licences.admits(expression)


def test_an_exception_is_for_what_was_looked_at(licences: Licences) -> None:
    """A package whose licence changes is looked at anew, in either direction."""
    assert licences.judge("Odd", ["GPLv2"]) is None
    for declared in (["AGPL-3.0-only"], ["MIT"], []):
        assert "is an exception for GPLv2" in str(licences.judge("odd", declared))


def test_a_package_is_told_with_what_it_declares(licences: Licences) -> None:
    """Nothing is not an allowed licence."""
    assert licences.judge("a", ["MIT License", "MIT"]) is None
    assert licences.judge("a", ["MIT License", "GPLv2"]) == "declares GPLv2, which is not on the list"
    assert licences.judge("a", []) == "declares no licence"


def test_an_exception_has_a_reason() -> None:
    """One without is no list."""
    with pytest.raises(ValueError, match="an exception without a reason"):
        Licences.of('allowed = []\n[exceptions.a]\ndeclares = []\nreason = ""')


def test_every_exception_of_ours_is_still_installed() -> None:
    """For a package that constraints.txt still pins."""
    pinned = {
        canonicalize_name(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    assert Licences.of((ROOT / "docs" / "licences.toml").read_text()).exceptions.keys() - pinned == set()


def test_what_is_declared_is_the_expression_else_all_the_rest() -> None:
    """A whole licence in the field for its name says nothing by itself; a short remark counts."""
    row = {
        "License-Expression": "UNKNOWN",
        "License-Classifier": "MIT License; BSD License",
        "License-Metadata": "GPLv2",
    }
    assert declarations(row) == ["MIT License", "BSD License", "GPLv2"]
    assert declarations({**row, "License-Expression": "MIT"}) == ["MIT"]
    assert declarations({**row, "License-Metadata": "Copyright\nPermission is hereby granted"}) == [
        "MIT License", "BSD License",
    ]  # fmt: skip
    assert declarations(dict.fromkeys(row, "UNKNOWN")) == []


def test_what_is_needed_leaves_tests_and_tools_out() -> None:
    """Extras of dependencies count, extras of ours do not."""
    found = needed()
    assert {"ray", "torch", "redis", "httpcore", "h11"} <= found
    assert not {"hypothesis", "alibi-detect", "mlflow", "pip-audit"} & found


def answering(*stdouts: str, stderr: str = "") -> Callable[..., subprocess.CompletedProcess[str]]:
    """A tool that says these things, one after the other."""
    said = list(stdouts)

    def run(*_: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, said.pop(0), stderr)

    return run


def service(*dependencies: dict[str, Any]) -> str:
    """What pip-audit prints."""
    return json.dumps({"dependencies": dependencies, "fixes": []})


KNOWN = {"name": "requests", "version": "2.19.0", "vulns": [{"id": "CVE-2018-18074", "fix_versions": ["2.20.0"]}]}
SKIPPED = {"name": "requests", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("stdout", "stderr", "why"),
    [
        (service(SKIPPED), "", "does not know the flaw"),
        (service({**KNOWN, "vulns": []}), "", "does not know the flaw"),
        ("", "ERROR:pip_audit._cli:Could not connect", "Could not connect"),
        ("", "", "it said nothing"),
    ],
)
def test_a_service_that_finds_nothing_in_what_is_known_has_checked_nothing(
    stdout: str, stderr: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is not asked any further, the line says so, and it is no failure."""
    monkeypatch.setattr(audit, "REPORTS", tmp_path)
    monkeypatch.setattr(audit, "_run", answering(stdout, stderr=stderr))
    part = audit.vulnerabilities({"a": "1"})
    assert "NOT CHECKED" in part.lines[0]
    assert why in part.lines[0]
    assert not part.failed


def test_a_service_that_knows_is_asked_for_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each flaw with what repairs it; what the service does not have is named as not checked."""
    monkeypatch.setattr(audit, "REPORTS", tmp_path)
    bad = {"name": "torch", "version": "2.13.0", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}
    own = {"name": "own", "skip_reason": "not found"}
    monkeypatch.setattr(audit, "_run", answering(service(KNOWN), service(bad, own)))
    part = audit.vulnerabilities({"torch": "2.13.0+cpu", "own": "1"})
    assert part.failed
    assert part.lines == [
        "vulnerabilities: 1 known in 1 releases",
        "  torch 2.13.0: PYSEC-1, repaired in no release",
        "  NOT CHECKED, for the service has no such release: own",
    ]
    assert (tmp_path / "releases.txt").read_text() == "torch==2.13.0\nown==1"


@pytest.mark.parametrize(
    ("failing", "arguments", "code"),
    [
        ((False, False), [], 0),
        ((True, False), [], 1),
        ((True, False), ["--report"], 0),
        ((False, True), [], 1),
        ((False, True), ["--report"], 1),
    ],
)
def test_what_fails_whom(
    failing: tuple[bool, bool], arguments: Sequence[str], code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A licence fails always; a vulnerability fails `make audit`, and is a line of CI's report."""
    monkeypatch.setattr(audit, "REPORTS", tmp_path / "audit")
    monkeypatch.setattr(audit, "vulnerabilities", lambda _: Part(["flaws"], failed=failing[0]))
    monkeypatch.setattr(audit, "bill_of_materials", lambda: Part(["bill"]))
    monkeypatch.setattr(audit, "licences", lambda: Part(["licences"], failed=failing[1]))
    assert audit.main(arguments) == code


def test_nothing_known_is_no_failure() -> None:
    """With the number of releases that were looked up."""
    assert judged([{"name": "a", "version": "1", "vulns": []}]) == Part(["vulnerabilities: 0 known in 1 releases"])
