"""What is installed: known vulnerabilities, a bill of materials, and licences. `make audit` runs it.

Three parts, each with a tool of its own, whose reports land in build/audit:

- vulnerabilities (pip-audit), by whatever service answers. A service that is away, or a mirror of an index that answers
  "no such package" to everything, must not read as "nothing found": so it is asked first for a release that is known
  to be vulnerable, and where it does not know that one, the line says NOT CHECKED. That is no failure.
- a bill of materials in CycloneDX's form (cyclonedx-py). What only extras, tests and tools need is marked `excluded`.
- licences (pip-licenses), against docs/licences.toml; one that is not on the list is a failure.

`--report` is for CI: a vulnerability that was published yesterday is printed and fails nobody's change; a licence does.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "build" / "audit"
PROJECT = "sluice-gateway"

KNOWN_VULNERABLE = "requests==2.19.0"
"""It sends credentials on to whoever a redirect names (CVE-2018-18074). Only asked about, never installed."""

_SERVICE_WITHIN_S = 30
_UNKNOWN = "UNKNOWN"
_LONGEST_DECLARATION = 100
_WORDS = re.compile(r"\(|\)|[^\s()]+")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the report: what to print, and whether it is a failure."""

    lines: Sequence[str]
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Licences:
    """The list in docs/licences.toml.

    Attributes:
        allowed: identifiers (SPDX) that may be used.
        called: what releases call them.
        exceptions: by package, what it declares.
    """

    allowed: frozenset[str]
    called: Mapping[str, str]
    exceptions: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, text: str) -> Licences:
        """The list in this text.

        Raises:
            ValueError: it is none, or an exception has no reason.
        """
        said = tomllib.loads(text)
        exceptions = said.get("exceptions", {})
        if silent := [name for name, one in exceptions.items() if not one.get("reason", "").endswith(".")]:
            raise ValueError(f"{silent[0]} is an exception without a reason: write one, as a sentence")
        return cls(
            frozenset(said["allowed"]),
            said.get("called", {}),
            {canonicalize_name(name): frozenset(one["declares"]) for name, one in exceptions.items()},
        )

    def judge(self, package: str, declared: Sequence[str]) -> str | None:
        """What is wrong with a package that declares these; None where nothing is."""
        excepted = self.exceptions.get(canonicalize_name(package))
        if excepted is not None:
            if excepted == set(declared):
                return None
            return f"is an exception for {_listed(excepted)}, and declares {_listed(declared)} now"
        if not declared:
            return "declares no licence"
        if stray := [one for one in declared if not self.admits(one)]:
            return f"declares {_listed(stray)}, which is not on the list"
        return None

    def admits(self, expression: str) -> bool:
        """Whether a declaration is allowed: a name, or an expression of SPDX's with AND, OR and WITH."""
        if self._is_allowed(expression):
            return True
        words = _WORDS.findall(expression)
        try:
            admitted = self._either(words)
        except IndexError:
            return False
        return admitted and not words

    def _is_allowed(self, name: str) -> bool:
        return self.called.get(name, name) in self.allowed

    # Each of these takes its words from the front of the list.

    def _either(self, words: list[str]) -> bool:
        admitted = self._both(words)
        while words and words[0] == "OR":
            words.pop(0)
            admitted = self._both(words) or admitted
        return admitted

    def _both(self, words: list[str]) -> bool:
        admitted = self._one(words)
        while words and words[0] == "AND":
            words.pop(0)
            admitted = self._one(words) and admitted
        return admitted

    def _one(self, words: list[str]) -> bool:
        word = words.pop(0)
        if word == "(":
            admitted = self._either(words)
            return words.pop(0) == ")" and admitted
        if words and words[0] == "WITH":
            words.pop(0)
            word = f"{word} WITH {words.pop(0)}"
        return self._is_allowed(word)


def declarations(row: Mapping[str, str]) -> list[str]:
    """What a release declares, from a row of pip-licenses: its expression, else its classifiers and its short text."""
    said = {name: value for name, value in row.items() if value != _UNKNOWN}
    if "License-Expression" in said:
        return [said["License-Expression"]]
    classifiers = [one.strip() for one in said.get("License-Classifier", "").split(";") if one.strip()]
    text = said.get("License-Metadata", "").strip()
    # Some put the whole licence there, which says no more than the classifier beside it.
    short = [text] if text and "\n" not in text and len(text) <= _LONGEST_DECLARATION else []
    return list(dict.fromkeys([*classifiers, *short]))


def needed(name: str = PROJECT) -> frozenset[str]:
    """Everything that the package needs when it is installed without extras; names as packages are compared."""
    found: set[tuple[str, str]] = set()
    waiting = [(name, "")]
    while waiting:
        package, extra = waiting.pop()
        for requirement in _requirements(package):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                pairs = {(canonicalize_name(requirement.name), one) for one in ("", *requirement.extras)}
                waiting += sorted(pairs - found)
                found |= pairs
    return frozenset(package for package, _ in found)


def vulnerabilities(installed: Mapping[str, str]) -> Part:
    """Whether any of these releases is known to be vulnerable, as far as anybody can be asked."""
    known = _asked_of_service([KNOWN_VULNERABLE])
    if isinstance(known, str) or not any(one.get("vulns") for one in known):
        why = known if isinstance(known, str) else f"the service does not know the flaw of {KNOWN_VULNERABLE}"
        return Part([f"vulnerabilities: NOT CHECKED ({why}); run it where PyPI's own API can be reached"])
    # A local part such as +cpu is the builder's; the release is what is known.
    answers = _asked_of_service([f"{name}=={version.partition('+')[0]}" for name, version in installed.items()])
    if isinstance(answers, str):
        return Part([f"vulnerabilities: NOT CHECKED ({answers})"])
    (REPORTS / "vulnerabilities.json").write_text(json.dumps(answers, indent=2))
    return judged(answers)


def judged(answers: Iterable[Mapping[str, Any]]) -> Part:
    """What a service answered, in lines."""
    answers = list(answers)
    found = [
        f"  {one['name']} {one['version']}: {flaw['id']}, repaired in {', '.join(flaw['fix_versions']) or 'no release'}"
        for one in answers
        for flaw in one.get("vulns", ())
    ]
    skipped = sorted(one["name"] for one in answers if "skip_reason" in one)
    lines = [f"vulnerabilities: {len(found)} known in {len(answers) - len(skipped)} releases", *found]
    if skipped:
        lines.append(f"  NOT CHECKED, for the service has no such release: {', '.join(skipped)}")
    return Part(lines, failed=bool(found))


def bill_of_materials() -> Part:
    """Writes it; what plain installation does not bring is marked `excluded`."""
    file = REPORTS / "sbom.cdx.json"
    _run("cyclonedx-py", "environment", "--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible",
         "-o", str(file), sys.executable)  # fmt: skip
    bill = json.loads(file.read_text())
    required = needed()
    for component in bill["components"]:
        component["scope"] = "required" if canonicalize_name(component["name"]) in required else "excluded"
    file.write_text(json.dumps(bill, indent=2))
    count = sum(component["scope"] == "required" for component in bill["components"])
    parts = f"{len(bill['components'])} components, {count} of them in a plain installation"
    return Part([f"bill of materials: {parts}: {file.relative_to(ROOT)} (CycloneDX {bill['specVersion']})"])


def licences() -> Part:
    """Holds what every installed release declares against the list."""
    allowed = Licences.of((ROOT / "docs" / "licences.toml").read_text())
    rows = json.loads(_run("pip-licenses", "--python", sys.executable, "--from", "all", "--format", "json").stdout)
    (REPORTS / "licences.json").write_text(json.dumps(rows, indent=2))
    required = needed()
    bad = [
        f"  {row['Name']} {row['Version']}{_note(row['Name'], required)}: {why}"
        for row in rows
        if (why := allowed.judge(row["Name"], declarations(row))) is not None
    ]
    excepted = f"{len(allowed.exceptions)} exceptions, each with its reason in docs/licences.toml"
    return Part([f"licences: {len(rows)} releases, {len(bad)} not allowed; {excepted}", *bad], failed=bool(bad))


def main(arguments: Sequence[str]) -> int:
    """Runs all parts, and prints each as it is done; 1 where one has failed."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__, add_help=True)
    parser.add_argument("--report", action="store_true", help="vulnerabilities are printed and are no failure")
    options = parser.parse_args(arguments)
    REPORTS.mkdir(parents=True, exist_ok=True)
    flaws = _printed(vulnerabilities(_installed()))
    _printed(bill_of_materials())
    return int(_printed(licences()).failed or (flaws.failed and not options.report))


def _printed(part: Part) -> Part:
    print("\n".join(part.lines), flush=True)  # noqa: T201 - this is what it is for
    return part


def _installed() -> Mapping[str, str]:
    found = {str(canonicalize_name(one.metadata["Name"])): one.version for one in metadata.distributions()}
    return {name: found[name] for name in sorted(found) if name != PROJECT}


def _asked_of_service(releases: Sequence[str]) -> Sequence[Mapping[str, Any]] | str:
    """What the service knows of each; or why it could not be asked."""
    wanted = REPORTS / "releases.txt"
    wanted.write_text("\n".join(releases))
    done = _run("pip-audit", "--requirement", str(wanted), "--no-deps", "--disable-pip", "--progress-spinner", "off",
                "--timeout", str(_SERVICE_WITHIN_S), "--format", "json", fails=True)  # fmt: skip
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["it said nothing"]
        return f"the service did not answer: {lines[-1][:200]}"


def _run(tool: str, *arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
    """One of the tools, from beside the Python that runs this."""
    command = [str(Path(sys.executable).with_name(tool)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode and not fails:
        raise SystemExit(f"{tool} failed: {done.stderr.strip()[-1_000:]}")
    return done


def _requirements(package: str) -> Iterator[Requirement]:
    try:
        yield from map(Requirement, metadata.requires(package) or ())
    except metadata.PackageNotFoundError:
        return  # asked for on another platform, or by an extra that is not installed


def _note(package: str, required: frozenset[str]) -> str:
    return "" if canonicalize_name(package) in required else " (extras only)"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
