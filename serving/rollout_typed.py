"""A rollout as it is typed on the command line, turned into the document that a file would hold. Pure.

The document is the strategy shorthand of the API (docs/rollouts.md): which stages it means is decided where documents
are read, so that a command, a file and `curl` cannot mean different things. Here only words become values, and options
that belong to a strategy nobody asked for are refused, since they would be dropped without a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from router.agreement import Comparison, comparison_as_dict, rule_typed
from router.verdicts.guardrails import is_metric
from router.verdicts.rewards import Better
from serving.amounts import pair_of, percent_of, seconds_of, share_of, step_of, time_of
from serving.rollout_terms import guardrails_of, number_of

_PERIOD: Final = re.compile(
    r"(?:(?P<name>[^=]{1,64})=)?(?P<begins>.+?)\s*(?:/|\.\.|\s(?:to|-|–)\s)\s*(?P<ends>.+?)"  # noqa: RUF001 - people type it
    r"(?:\s+(?:utc)?(?P<utc>[+-]\d{2}:\d{2}))?",
    re.IGNORECASE,
)
_DATED: Final = re.compile(r"\d{4}-")
_CONDITION: Final = re.compile(r"\s*(?P<name>[^=:\s]{1,64}?)\s*(?P<how>=|:|\^=|~=)\s*(?P<values>.*)")

_END: Final = "end"
"""Among the approvals: before the candidate becomes stable."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Typed:
    """What followed the options, None or empty where one was not given.

    The names are those of the options (`--shadow-for` is `shadow_for`); `lasts` is `--for`, whose name Python keeps.
    A candidate that was named by an `alias` has to be looked up before there is a document.
    """

    candidate: int | None = None
    alias: str | None = None
    canary: str | None = None
    hold: str | None = None
    min_requests: int | None = None
    needs: str | None = None
    approve: Sequence[str] = ()
    watch: str | None = None
    shadow: str | None = None
    shadow_for: str | None = None
    shadow_max_per_s: int | None = None
    noise: str | None = None
    compare: Sequence[str] = ()
    segment: Sequence[str] = ()
    redact: Sequence[str] = ()
    ab: Sequence[str] = ()
    lasts: str | None = None
    sample_size: int | None = None
    decide: str | None = None
    undecided: str | None = None
    by: str | None = None
    blue_green: bool = False
    preview: Sequence[str] = ()
    bake: str | None = None
    no_approval: bool = False
    keep_warm: str | None = None
    automation: str | None = None
    freeze: Sequence[str] = ()
    deadline: str | None = None
    on_deadline: str | None = None
    on_incident: str | None = None
    guardrail: Sequence[str] = ()
    tolerate: Sequence[str] = ()
    harm: str | None = None
    promotion: str | None = None
    rule: str | None = None
    warm_up: str | None = None
    salt: str | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was typed at all."""
        return self == Typed()


def document_of(typed: Typed) -> dict[str, Any]:
    """The document that says the same.

    Raises:
        ValueError: a value cannot be read, an option goes with a strategy that nobody asked for, or none was.
    """
    _check_together(typed)
    parts = {
        "candidate": typed.candidate,
        "shadow": _shadow(typed) if typed.shadow is not None else None,
        "blue_green": _blue_green(typed) if typed.blue_green else None,
        "canary": _canary(typed) if typed.canary is not None else None,
        "ab_test": _ab_test(typed) if typed.ab else None,
        "automation": typed.automation,
        "freezes": [_read("--freeze", text, freeze_of) for text in typed.freeze] or None,
        "deadline": _time("--deadline", typed.deadline),
        "on_deadline": typed.on_deadline,
        "on_incident": typed.on_incident,
        "judged_by": _judged_by(typed) or None,
        "compare": _compared(typed),
        "salt": typed.salt,
    }
    return {name: value for name, value in parts.items() if value is not None}


def freeze_of(text: str) -> dict[str, str]:
    """A freeze from '[NAME=]fri 16:00/mon 08:00 [+01:00]', or from two dates in place of the days.

    Raises:
        ValueError: not of that form; whether the moments are any is decided where documents are read.
    """
    found = _PERIOD.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not of the form [NAME=]BEGINS/ENDS, such as 'fri 16:00/mon 08:00 +01:00'")
    begins, ends = found["begins"].strip(), found["ends"].strip()
    dated = bool(_DATED.match(begins))
    if dated and found["utc"]:  # the end of a date is its own distance from UTC
        ends += found["utc"]
    moments = {"begins": begins, "ends": ends} if dated else {"begins": begins.lower(), "ends": ends.lower()}
    utc = {} if dated else {"utc": found["utc"] or "+00:00"}
    return {"name": (found["name"] or f"{begins} to {ends}").strip()[:64], **moments, **utc}


def condition_of(text: str) -> dict[str, Any]:
    """A condition from 'HEADER=VALUE', with several values after commas; '^=' for a beginning, '~=' for a pattern.

    Raises:
        ValueError: not of that form.
    """
    found = _CONDITION.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not of the form HEADER=VALUE, such as x-tier=staff")
    name, said = found["name"].lower(), found["values"].strip()
    if found["how"] == "~=":
        return {"name": name, "how": "regex", "values": [said]}
    if found["how"] == "^=":
        return {"name": name, "how": "prefix", "values": [said]}
    values = [value.strip() for value in said.split(",") if value.strip()] or [""]
    return {"name": name, "how": "in" if len(values) > 1 else "equals", "values": values}


def shares_of(texts: Sequence[str], alone: int | None) -> dict[str, str]:
    """Shares by version from '2=12.5%', or from '12.5%' where only one version can be meant.

    Args:
        texts: what was typed, each with one pair or several after commas.
        alone: the version that a share without one is for; None where that would be a guess.

    Raises:
        ValueError: one is no pair and no share, or a version is named twice.
    """
    found: dict[str, str] = {}
    for text in _words(texts):
        bare = "=" not in text and ":" not in text
        if bare and alone is None:
            raise ValueError(f"{text!r} does not say which version it is for: write it like 2={text}")
        version, share = (alone or 0, share_of(text)) if bare else pair_of(text)
        if str(version) in found:
            raise ValueError(f"version {version} is named twice: give each version one share")
        found[str(version)] = percent_of(share)
    return found


def _canary(typed: Typed) -> dict[str, Any]:
    steps = [percent_of(_read("--canary", text, step_of)) for text in _words([typed.canary or ""])]
    if not steps:
        raise ValueError("--canary takes its steps, such as 1,5,25,50,100")
    gates = [_END if text == _END else percent_of(_read("--approve", text, step_of)) for text in _words(typed.approve)]
    if strange := [gate for gate in gates if gate not in {*steps, _END}]:
        raise ValueError(f"--approve {strange[0]} is no step of the canary: there are {', '.join(steps)} and {_END}")
    return _said(
        steps=steps,
        hold=_time("--hold", typed.hold),
        min_requests=typed.min_requests,
        needs=typed.needs,
        approve=gates or None,
        watch=_time("--watch", typed.watch),
    )


def _shadow(typed: Typed) -> dict[str, Any]:
    return _said(
        version=typed.candidate,
        sample=percent_of(_read("--shadow", typed.shadow or "", share_of)),
        **{"for": _time("--shadow-for", typed.shadow_for)},
        max_per_s=typed.shadow_max_per_s,
        noise=None if typed.noise is None else percent_of(_read("--noise", typed.noise, share_of)),
    )


def _compared(typed: Typed) -> dict[str, Any] | None:
    """How the answers to copies are compared; None where nothing was said of it."""
    if not (typed.compare or typed.segment or typed.redact):
        return None
    outputs = {}
    for text in typed.compare:
        name, equals, how = text.rpartition("=")
        if not equals or not name or name in outputs:
            raise ValueError(f"--compare {text!r} is no OUTPUT=HOW, such as label=exact, once for an output")
        outputs[name] = _read("--compare", how, rule_typed)
    segments = tuple(name.lower() for name in _words(typed.segment))
    return comparison_as_dict(Comparison(outputs, segments, redact=tuple(_words(typed.redact))))


def _ab_test(typed: Typed) -> dict[str, Any]:
    arms = _read("--ab", typed.ab, lambda texts: shares_of(texts, typed.candidate))
    return _said(
        arms=arms,
        **{"for": _time("--for", typed.lasts)},
        sample_size=typed.sample_size,
        decide=typed.decide,
        undecided=typed.undecided,
        decide_by=None if typed.by is None else _read("--by", typed.by, metric_of),
        watch=_time("--watch", typed.watch),
    )


def metric_of(text: str) -> dict[str, str]:
    """What decides, from 'METRIC', or 'METRIC:lower' where less is better.

    Raises:
        ValueError: not of that form.
    """
    name, colon, direction = text.partition(":")
    if not is_metric(name) or (colon and direction not in {one.value for one in Better}):
        raise ValueError(f"{text!r} is no METRIC[:higher|:lower], such as reward or cost:lower")
    return {"metric": name, "direction": direction or Better.HIGHER.value}


def _blue_green(typed: Typed) -> dict[str, Any]:
    return _said(
        preview=[_read("--preview", text, condition_of) for text in typed.preview] or None,
        bake=_time("--bake", typed.bake),
        approval=False if typed.no_approval else None,
        keep_warm=_time("--keep-warm", typed.keep_warm),
    )


def _judged_by(typed: Typed) -> dict[str, Any]:
    levels = {"harm": typed.harm, "promotion": typed.promotion}
    chances = {name: _read(f"--{name}", text, number_of) for name, text in levels.items() if text is not None}
    return _said(
        guardrails=_read("--guardrail and --tolerate", typed, _guardrails),
        **chances,
        rule=typed.rule.replace("-", "_") if typed.rule else None,
        warm_up_s=None if typed.warm_up is None else _read("--warm-up", typed.warm_up, seconds_of),
    )


def _guardrails(typed: Typed) -> list[dict[str, Any]] | None:
    return guardrails_of(typed.guardrail, typed.tolerate, copies=typed.shadow is not None)


def _check_together(typed: Typed) -> None:
    """Refuses what would be dropped, and what is missing."""
    asked = {
        "--canary": typed.canary is not None,
        "--shadow": typed.shadow is not None,
        "--ab": bool(typed.ab),
        "--blue-green": typed.blue_green,
    }
    needs: Mapping[str, tuple[object, tuple[str, ...]]] = {
        "--hold": (typed.hold, ("--canary",)),
        "--min-requests": (typed.min_requests, ("--canary",)),
        "--needs": (typed.needs, ("--canary",)),
        "--approve": (typed.approve, ("--canary",)),
        "--watch": (typed.watch, ("--canary", "--ab")),
        "--shadow-for": (typed.shadow_for, ("--shadow",)),
        "--shadow-max-per-s": (typed.shadow_max_per_s, ("--shadow",)),
        "--noise": (typed.noise, ("--shadow",)),
        "--compare": (typed.compare, ("--shadow",)),
        "--segment": (typed.segment, ("--shadow",)),
        "--redact": (typed.redact, ("--shadow",)),
        "--for": (typed.lasts, ("--ab",)),
        "--sample-size": (typed.sample_size, ("--ab",)),
        "--decide": (typed.decide, ("--ab",)),
        "--undecided": (typed.undecided, ("--ab",)),
        "--by": (typed.by, ("--ab",)),
        "--preview": (typed.preview, ("--blue-green",)),
        "--bake": (typed.bake, ("--blue-green",)),
        "--no-approval": (typed.no_approval, ("--blue-green",)),
        "--keep-warm": (typed.keep_warm, ("--blue-green",)),
    }
    if not any(asked.values()):
        raise ValueError(f"say how it is to go: {', '.join(asked)}, several of them, or a file with -f")
    for option, (value, strategies) in needs.items():
        if value not in (None, (), [], False) and not any(asked[one] for one in strategies):
            raise ValueError(f"{option} goes with {' or '.join(strategies)}, which is not there")
    missing = [one for one in ("--canary", "--shadow", "--blue-green") if asked[one]]
    if missing and typed.candidate is None:
        raise ValueError(f"{missing[0]} needs --candidate: the version that is to take over")
    if asked["--shadow"] and typed.shadow_for is None:
        raise ValueError("--shadow needs --shadow-for: how long copies are made, such as 1h")


def _words(texts: Sequence[str]) -> list[str]:
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]


def _time(option: str, text: str | None) -> str | None:
    return None if text is None else time_of(_read(option, text, seconds_of))


def _read(option: str, value: Any, read: Callable[[Any], _Value]) -> _Value:  # noqa: ANN401 - what `read` takes
    """What it reads; a refusal names the option."""
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error


def _said(**values: object) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
