"""`python -m loadtests.load`, which is `sluice loadtest`: a run with a report, or a search for the capacity.

This process only waits, judges and writes; what sends are processes of its own (`generator`). Exit codes: 0 good,
1 an objective missed, an answer in the wrong place or a worker dead, 2 wrong usage or no run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadtests.installation import Failed
from loadtests.load import options, summary
from loadtests.load.capacity import Found, Search
from loadtests.load.control import Control
from loadtests.load.playing import Wish, made_ready, place_for_runs, play
from loadtests.load.report import page
from loadtests.load.shapes import steady
from loadtests.load.spec import Spec
from loadtests.load.summary import Outcome
from serving.errors import SluiceError

_NOT_GOOD, _NOT_RUN, _STOPPED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """One run, or one search; what to exit with."""
    typed = list(sys.argv[1:] if argv is None else argv)
    try:
        return _capacity(typed[1:]) if typed[:1] == ["capacity"] else _run(typed)
    except (Failed, SluiceError) as error:
        _say(f"error: {error}")
        return _NOT_RUN
    except KeyboardInterrupt:
        _say("error: stopped by hand, and nothing was judged")
        return _STOPPED


def _run(argv: Sequence[str]) -> int:
    parser = options.parser()
    given = parser.parse_args(argv)
    shape = options.checked(given, parser.error)
    _writable(given.report)
    wish = Wish(given.slo, given.verify, given.while_rollout, float(given.change_every))
    with place_for_runs() as folder, _asked(given) as control:
        spec = replace(options.spec_from(given, shape, control.place, folder), version=given.version)
        outcome = play(made_ready(spec, control, verify=given.verify), control, wish, _progress(shape.seconds))
    said = json.dumps(summary.plain(outcome), indent=2, allow_nan=False)
    _write(given.report, page(outcome))
    _write(given.report.with_suffix(".json"), f"{said}\n")
    if given.json:
        _print(said)
    else:
        _tell(outcome, given.report)
    return _NOT_GOOD if outcome.problems else 0


def _tell(outcome: Outcome, report: Path) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    for line in summary.lines(outcome):
        _print(line)
    for problem in outcome.problems:
        _say(f"error: {problem}")
    _print(f"report: {report}, {report.with_suffix('.json')}")


def _capacity(argv: Sequence[str]) -> int:
    parser = options.capacity_parser()
    given = parser.parse_args(argv)
    search = options.checked_search(given, parser.error)
    found, offered = {}, True
    with _asked(given) as control:
        for version in dict.fromkeys(given.version or control.versions()):
            found[version] = one = _searched(given, control, version, search)
            if not given.json:
                _print(str(one))
            offered &= _offer(given, control, one)
    if given.json:
        _print(
            json.dumps({"model": given.model, "versions": {str(one.version): one.plain() for one in found.values()}})
        )
    return 0 if offered and all(one.search.kept for one in found.values()) else _NOT_GOOD


def _searched(given: argparse.Namespace, control: Control, version: int, search: Search) -> Found:
    """The highest rate of one version, and whether it is the version's or the generator's."""
    late = False
    while (rate := search.rate) is not None and not late:
        outcome = _tried(given, control, version, rate)
        late = bool(outcome.problems) and outcome.generator_late
        if not late:
            search = search.with_result(rate, kept=not outcome.problems)
        _say(f"version {version} at {rate:,.0f} a second: {'; '.join(outcome.problems) or 'kept'}")
    return Found(version, search, control.ready(version), generator_late=late)


def _offer(given: argparse.Namespace, control: Control, found: Found) -> bool:
    """Records what a replica carries where that is asked for and known, and else says how; False where it failed."""
    carries = found.recorded
    if carries is None:
        return True
    if found.at_least:
        _say(f"version {found.version} may carry more, so that nothing is recorded")
    elif given.record:
        words = ",".join(f"{one.name}={one.most:g}" for one in given.slo)
        try:
            control.record(found.version, carries, f"a load test, with {words}")
        except Failed as error:  # and what was found, of this version and others, is told all the same
            _say(f"error: what version {found.version} carries is not recorded: {error}")
            return False
        _say(f"recorded as what each replica of version {found.version} carries")
    else:
        option = f"--option carries_rps={carries:g}"
        _say(f"record it with --record, or `sluice models deploy {given.model} {found.version} {option}`")
    return True


def _tried(given: argparse.Namespace, control: Control, version: int, rate: float) -> Outcome:
    with place_for_runs() as folder:
        spec = options.spec_from(given, steady(rate, float(given.seconds)), control.place, folder)
        ready: Spec = made_ready(replace(spec, version=version), control, verify=False)
        return play(ready, control, Wish(given.slo, verify=False), lambda _: None)


@contextmanager
def _asked(given: argparse.Namespace) -> Iterator[Control]:
    with Control(options.place_from(given), given.model) as control:
        yield control


def _progress(seconds: float) -> Any:  # noqa: ANN401 - a Tell
    """Says on stderr how far a run is: one line that changes at a terminal, else a line every ten seconds."""
    live, told_s = sys.stderr.isatty(), -math.inf

    def tell(said: Mapping[str, Any]) -> None:
        nonlocal told_s
        if "at" not in said or (not live and said["at"] - told_s < 10):  # noqa: PLR2004 - seconds, as above
            return
        told_s = said["at"]
        p99 = "" if said["p99_ms"] is None else f", p99 {said['p99_ms']:,.0f} ms"
        line = f"{told_s:.0f} of {seconds:,.0f} s: {said['answered']:,} requests, {said['failed']:,} failed{p99}"
        sys.stderr.write(f"\r\033[K{line} " if live else f"{line}\n")
        sys.stderr.flush()

    return tell


def _writable(report: Path) -> None:
    """Refuses a report that could not be written, before anything is sent."""
    files = (report, report.with_suffix(".json")) if report.name else (report,)
    there = [one for one in files if one.exists()] or [report.absolute().parent]
    fit = all(os.access(one, os.W_OK) for one in there) and not any(one.is_dir() for one in files)
    if report.suffix == ".json" or not fit or not report.absolute().parent.is_dir():
        raise Failed(f"{report} is no file that a report can be written to: name one such as loadtest.html")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")  # as the page says of itself, whatever the locale says
    except OSError as error:
        raise Failed(f"{file} cannot be written ({error.strerror}), and what was measured is lost.") from error


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - to the person who typed it


def _say(line: str) -> None:
    live = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{live}{line}", file=sys.stderr, flush=True)  # noqa: T201 - likewise


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was begun is taken back
    sys.exit(main())
