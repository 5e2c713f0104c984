"""What was found in the answers to copies, for a terminal. What models and clients wrote is shown as plain text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console

from serving.control.diff_client import CandidateDiffAnswer, DiffAnswer, OutputDiffAnswer, PairAnswer, RateAnswer
from serving.rollout_standing import printable
from serving.tables import console, moment, table

_INFINITELY: Final = 1e308
_STRUCTURAL: Final = 1e9
_LONGEST: Final = 400
_MOST_VALUES: Final = 10
"""Of one header that are shown."""


def show_diff(answer: DiffAnswer) -> None:
    """Every candidate: what stands out, what was counted, where it differs, and the worst pairs."""
    out = console()
    if not answer["candidates"]:
        out.print(f"{answer['model']} {answer['id']}: no pair of answers was compared so far")
    for one in answer["candidates"]:
        _show(out, answer, one)


def _show(out: Console, answer: DiffAnswer, one: CandidateDiffAnswer) -> None:
    who = f"version {one['candidate']} against version {one['stable']}"
    out.print(f"{answer['model']} {answer['id']}: {who}, {moment(one['since'])} to {moment(one['at'])}")
    for words in one["words"]:
        out.print(f"- {printable(words)}", soft_wrap=True)
    out.print(table("pairs", ("", "candidate", "stable", "neither or both"), _signs(one)))
    out.print(table("by output", ("output", "differs", "how", "farthest", "stable > candidate"), _outputs(one)))
    for segment in one["segments"]:
        rows = ((printable(by["value"]), _rate(by["disagreement"])) for by in segment["values"][:_MOST_VALUES])
        out.print(table(f"by {printable(segment['header'])}", ("value", "differs"), rows))
    out.print(_copies(one), soft_wrap=True)
    for nth, pair in enumerate(one["worst"], 1):
        for line in _pair(nth, pair):
            out.print(line, soft_wrap=True)


def _signs(one: CandidateDiffAnswer) -> Iterator[tuple[str, ...]]:
    told: tuple[tuple[str, Mapping[str, int]], ...] = (("failed", one["errors"]), ("slower", one["slower"]))
    if one["noise"] is not None:
        told += (("differs from the client's", one["against_noise"]),)
    for name, signs in told:
        yield name, f"{signs['worse']:,}", f"{signs['better']:,}", f"{signs['ties']:,}"


def _outputs(one: CandidateDiffAnswer) -> Iterator[tuple[str, ...]]:
    for of in one["outputs"]:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in of["kinds"].items())
        yield printable(of["output"]), _rate(of["disagreement"]), kinds, _farthest(of), _confused(of)


def _farthest(of: OutputDiffAnswer) -> str:
    return "" if not of["largest"] else "infinitely" if of["largest"] >= _INFINITELY else f"{of['largest']:.3g}"


def _confused(of: OutputDiffAnswer) -> str:
    said = (f"{one['stable']} > {one['candidate']} ({one['count']:,})" for one in of["confused"][:3])
    return printable(", ".join(said))


def _copies(one: CandidateDiffAnswer) -> str:
    """'copies: 8,000 in the sample, 7,900 sent, 100 shed (queue 100), 0 not to be read; 99 % compared'."""
    shed = ", ".join(f"{why} {count:,}" for why, count in sorted(one["shed"].items()))
    dropped = ", ".join(f"{why} {count:,}" for why, count in sorted(one["dropped"].items()))
    words = f"copies: {one['offered']:,} in the sample, {one['sent']:,} sent, {sum(one['shed'].values()):,} shed"
    words += f" ({printable(shed)})" if shed else ""
    words += f", {one['unread']:,} not to be read"
    words += "" if one["shown"] is None else f"; {one['shown'] * 100:.0f} % compared"
    words += ": not representative" if one["representative"] is False else ""
    return words + (f"; captured and not looked at: {printable(dropped)}" if dropped else "")


def _pair(nth: int, pair: PairAnswer) -> Iterator[str]:
    bad = "of another form" if pair["badness"] >= _STRUCTURAL else f"{pair['badness']:.3g} times what is tolerated"
    segment = "".join(f", {name}: {value}" for name, value in pair["segment"].items())
    yield printable(f"{nth}. {pair['request_id']} at {moment(pair['at'])}, {bad}{segment}")
    for name, tensor in pair["inputs"].items():
        yield "     " + printable(f"input {name}: {_values(tensor)}")
    for name, how in pair["outputs"].items():
        yield "     " + printable(f"output {name} ({how.get('kind')})")
        yield f"       stable    {printable(_values(pair['stable'].get(name)))}"
        yield f"       candidate {printable(_values(pair['candidate'].get(name)))}"


def _values(tensor: Mapping[str, Any] | None) -> str:
    if tensor is None:
        return "-"
    form = f"{tensor.get('datatype')}{tensor.get('shape')}"
    if tensor.get("redacted"):
        return f"{form} redacted"
    text = json.dumps(tensor.get("values"), ensure_ascii=False)
    cut = tensor.get("cut") or len(text) > _LONGEST
    return f"{form} {text[:_LONGEST]}{' …' if cut else ''}"


def _rate(one: RateAnswer) -> str:
    if one["rate"] is None:
        return "-"
    bounds = f"{one['lower'] * 100:.3g} to {one['upper'] * 100:.3g} %"
    return f"{one['rate'] * 100:.3g} % ({bounds}) of {one['total']:,}"
