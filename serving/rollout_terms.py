"""By what a rollout is judged: as it is typed after options, and as it is told to whoever starts it. Pure.

What is typed becomes the `judged_by` of a document (docs/rollouts.md); what that means is decided where documents are
read (`router.verdicts.terms_form`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from router.policy import format_share
from router.verdicts.guardrails import BESIDE_COPIES, DEFAULTS, PAIRED, Guardrail, Terms, Watches

_NUMBERS: Final = frozenset({"tolerated", "weight", "margin", "ceiling", "limit", "effect"})
_WORDS: Final = frozenset({"name", "output", "kind", "metric", "direction", "bounded"})
_YES: Final = frozenset({"true", "yes"})
_NOTHING: Final = frozenset({"none", "null"})


def guardrails_of(
    typed: Sequence[str], tolerances: Sequence[str], *, copies: bool = False
) -> list[dict[str, Any]] | None:
    """The guardrails that a document names: the usual ones and those that were typed, with the tolerances that were.

    Args:
        typed: like 'timeouts', 'errors:margin=3,ceiling=none' or 'latency:quantiles=p50+p99'; one of the name of a
            usual one takes its place.
        tolerances: like 'latency=1.5', by a guardrail's name.
        copies: whether a version gets copies, so that those on pairs of answers are usual as well.

    Returns:
        None where nothing was typed.

    Raises:
        ValueError: one is of another form, or a tolerance is for a guardrail that is not there.
    """
    if not typed and not tolerances:
        return None
    usual = (*DEFAULTS, *BESIDE_COPIES) if copies else DEFAULTS
    found: dict[str, dict[str, Any]] = {one.name: {"watches": one.watches.value} for one in usual}
    found.update((str(one.get("name", one.get("metric", one["watches"]))), one) for one in map(guardrail_of, typed))
    for text in tolerances:
        name, ratio = _tolerance(text)
        if name not in found:
            raise ValueError(f"there is no guardrail {name!r} to tolerate more of: there are {', '.join(found)}")
        found[name] = {**found[name], "tolerated": ratio}
    return list(found.values())


def guardrail_of(text: str) -> dict[str, Any]:
    """A guardrail from 'WATCHES' or 'WATCHES:KEY=VALUE,...'.

    Raises:
        ValueError: not of that form, or a key that guardrails do not have.
    """
    watches, _, rest = text.strip().partition(":")
    if watches not in set(Watches):
        raise ValueError(f"{watches!r} is nothing that a guardrail watches: there are {', '.join(Watches)}")
    found: dict[str, Any] = {"watches": watches}
    for pair in filter(None, (one.strip() for one in rest.split(","))):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or key not in _NUMBERS | _WORDS | {"quantiles"}:
            known = ", ".join(sorted(_NUMBERS | _WORDS | {"quantiles"}))
            raise ValueError(f"{pair!r} is not of the form KEY=VALUE with one of the keys {known}")
        found[key] = _value(key, value)
    return found


def number_of(text: str) -> float:
    """A number as people type it: '0.01', '1%', '2x'.

    Raises:
        ValueError: none of these.
    """
    said = text.strip().lower()
    try:
        return float(said[:-1]) / 100 if said.endswith("%") else float(said.removesuffix("x"))
    except ValueError as error:
        raise ValueError(f"{text!r} is no number: write it like 0.01, 1% or 1.5") from error


def terms_lines(terms: Terms, needing: Sequence[str]) -> Iterator[str]:
    """What a rollout is judged by, in sentences.

    Args:
        terms: what holds.
        needing: the names of the stages that need a verdict.
    """
    yield f"judged by: {'; '.join(map(guardrail_words, terms.guardrails))}"
    rule = "burst_proof where both versions have two replicas, else fast" if terms.rule is None else terms.rule.value
    yield (
        f"taken back where {1 / terms.harm:,.0f} to 1 speaks against it (a sound candidate: "
        f"{_percent(terms.harm)} at most), by the rule {rule}"
    )
    stages = ", ".join(f"'{name}'" for name in needing)
    if stages:
        yield f"passed by a verdict: stage {stages}; `sluice plan` says how long that takes"
    else:
        yield "no stage needs a verdict to be passed; harm takes it back all the same"


def guardrail_words(one: Guardrail) -> str:
    """'errors up to 1x stable's odds, certified under 2x or a rate of 1 %, paused over 5 %'."""
    return f"{one.name}{' (shown only)' if not one.weight else ''} {', '.join(_parts(one))}"


def _parts(one: Guardrail) -> Iterator[str]:
    if one.watches is Watches.FEEDBACK:
        yield f"of feedback, {one.direction} is better{', decides' if one.decides else ''}"
        yield f"up to {one.effect:g} worse than stable's mean"
        return
    if one.watches in PAIRED:
        yield _of_pairs(one)
        return
    yield f"up to {one.tolerated:g}x stable's odds"
    certified = [f"{one.margin:g}x"] if one.margin is not None else []
    certified += [f"a rate of {_percent(one.ceiling)}"] if one.ceiling is not None else []
    if certified:
        yield f"certified under {' or '.join(certified)}"
    if one.limit is not None:
        yield f"paused where both are over {_percent(one.limit)}"


def _of_pairs(one: Guardrail) -> str:
    if one.limit is None:
        return "of copies, no more often than the other way round"
    return f"of copies, up to {_percent(one.limit)}, or up to stable's own noise where it is asked twice"


def _percent(rate: float) -> str:
    return format_share(round(rate * 1_000_000))


def _tolerance(text: str) -> tuple[str, float]:
    name, equals, ratio = (part.strip() for part in text.partition("="))
    if not equals or not name:
        raise ValueError(f"{text!r} is not of the form GUARDRAIL=RATIO, such as latency=1.5")
    return name, number_of(ratio)


def _value(key: str, text: str) -> float | str | list[float] | None:
    if key == "bounded":
        return text.lower() in _YES
    if key in _WORDS:
        return text
    if key == "quantiles":
        return [
            number_of(one.lower().removeprefix("p")) / (100 if "p" in one.lower() else 1) for one in text.split("+")
        ]
    return None if text.lower() in _NOTHING else number_of(text)


def _quantile(text: str) -> float:
    """0.99 from 'p99' and from '0.99'."""
    return number_of(f"{text[1:]}%") if text.startswith("p") else number_of(text)
