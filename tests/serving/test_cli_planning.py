"""`sluice plan` and `sluice simulate`: what they ask, what they show, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from router.verdicts.described import Described, Drawn, Manner, Shares
from router.verdicts.moment_form import encode_moment
from tests.serving.fake_rollouts import FakeRollouts
from tests.serving.rollout_commands import ONE, api
from tests.serving.test_cli import Command, sluice

__all__ = ["api", "sluice"]

RULES = ["--candidate", "2", "--canary", "10,100", "--hold", "30s", "--min-requests", "0"]
TRAFFIC = ["--rps", "100", "--errors", "0.5%"]
RATES = "GET /api/v1/models/digits/rates"


def record(path: Path, errors: float = 0.03) -> None:
    """Three minutes of a candidate that fails that often, as they are recorded."""
    drawn = Drawn(Described(50.0, candidate=Manner(errors)), np.random.default_rng(3))
    moments = [drawn.moment(at, at + 10, Shares(0.2, 0.8)) for at in range(0, 180, 10)]
    path.write_text("\n".join(['{"ramped":[200000,800000]}', *map(encode_moment, moments)]) + "\n")


def test_plan_asks_for_the_models_rate(sluice: Command, api: FakeRollouts) -> None:
    """Once; the stable version's errors are those of the version that is asked most."""
    ran = sluice("plan", "digits", *RULES, "--worse", "5x", "--json")
    said = json.loads(ran.out)
    assert ran.code == 0
    assert api.lines() == [RATES]
    assert said["requests_per_s"] == 100.0
    assert said["errors"] == 0.0004
    first, last = said["steps"]
    assert next(one["what"] for one in first["prospects"]) == "5 times as often (0.2 %)"
    assert first["needs_verdict"]
    assert last["prospects"] == []
    assert first["requests_per_s"] == 10.0


def test_plan_needs_nobody_where_everything_is_typed(sluice: Command, api: FakeRollouts) -> None:
    """And says how long the step takes that waits for a certificate, at that rate."""
    ran = sluice("plan", *RULES, "--rps", "1", "--errors", "0.5%", "--worse", "5x")
    assert ran.code == 0
    assert api.asked == []
    assert "find errors 5 times as often (2.5 %)" in ran.out
    assert "at 1 requests/s step '10 %' takes " in ran.out
    assert "until a good candidate is certified" in ran.out
    assert "step '100 %': stable has nothing beside it" in ran.out


def test_plan_takes_a_file_and_the_models_name_from_it(sluice: Command, api: FakeRollouts) -> None:
    """The same file as a start would take; a silent model is told, with what to type."""
    api.rate = None
    ran = sluice("plan", "-f", "rollout.yaml", "--worse", "20x")
    assert ran.code == 1
    assert "nobody has asked digits for anything within the last ten seconds" in ran.err
    assert "--rps and --errors" in ran.err


def test_simulate_shows_both_candidates(sluice: Command, api: FakeRollouts) -> None:
    """One as described goes back, one as good as stable is promoted; rates have bounds, and the seed is said."""
    ran = sluice("simulate", *RULES, *TRAFFIC, "--candidate-errors", "20%", "--runs", "4", "--seed", "7")
    assert ran.code == 0
    assert api.asked == []
    assert "a candidate with 20 % errors" in ran.out
    assert "went back: 4 of 4 (100 %; 95 % bounds 39.8 % to 100 %), after " in ran.out
    assert "went back: 0 of 4 (0 %; 95 % bounds 0 % to 60.2 %)" in ran.out
    assert "promoted: 4 of 4" in ran.out
    assert "4 rollouts with each candidate, seed 7, judged by 'fast'" in ran.out


def test_what_copies_show_is_said_to_be_left_out(sluice: Command) -> None:
    """Nobody described answers that could be compared."""
    copies = ("--shadow", "10%", "--shadow-for", "1m")
    for words in (("simulate", *RULES, *copies, *TRAFFIC, "--runs", "1", "--at-most", "2m"), ("plan", *RULES, *copies)):
        said = sluice(*words, *(TRAFFIC if words[0] == "plan" else ())).out
        assert "what copies show is left out" in " ".join(said.split())
    assert "copies" not in sluice("plan", *RULES, *TRAFFIC).out


def test_simulate_says_the_same_to_machines_on_any_number_of_cores(sluice: Command) -> None:
    """Twenty-two rollouts go to other processes, and eleven of each are those that stay here as well."""
    words = [*RULES, *TRAFFIC, "--candidate-errors", "30%", "--at-most", "1m", "--json"]
    said = [json.loads(sluice("simulate", *words, "--runs", runs).out) for runs in ("11", "11")]
    assert said[0] == said[1]
    assert said[0]["candidate"]["outcomes"]["went back"]["came"] == 11
    assert said[0]["candidate"]["went_back"]["after_s"]["most"] <= 60


def test_simulate_by_the_models_own_traffic(sluice: Command, api: FakeRollouts) -> None:
    """Its rate, its errors and its latency, asked for once."""
    ran = sluice("simulate", "digits", *RULES, "--runs", "1", "--at-most", "40s")
    assert ran.code == 0
    assert api.lines() == [RATES]
    assert "at 100 requests/s, stable with 0.04 % errors and a median of 4.2 ms" in ran.out
    assert "the rate is digits's within the last ten seconds" in ran.out


def test_a_record_is_replayed_by_the_usual_terms_or_others(sluice: Command, tmp_path: Path) -> None:
    """Stricter ones would have found it no later."""
    blocks = str(tmp_path / "blocks")
    record(Path(blocks))
    ran = sluice("simulate", "--blocks", blocks, "--json")
    usual = json.loads(ran.out)
    assert ran.code == 0
    assert usual["blocks"] == 18
    assert usual["turns"][-1]["decision"] == "roll_back"
    strict = json.loads(sluice("simulate", "--blocks", blocks, *RULES, "--harm", "0.3", "--json").out)
    assert strict["rolled_back_after_s"] <= usual["rolled_back_after_s"]
    assert "speaks against the candidate" in sluice("simulate", "--blocks", blocks).out


def test_a_rollouts_own_record_is_asked_for(sluice: Command, api: FakeRollouts) -> None:
    """By its id or its model's name, judged by its own terms; one without a block says so."""
    drawn = Drawn(Described(50.0), np.random.default_rng(3))
    api.block = json.loads(encode_moment(drawn.moment(0.0, 10.0, Shares(0.1, 0.9))))
    ran = sluice("simulate", "--rollout", "digits", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["blocks"] == 1
    assert api.lines()[-1] == f"GET {ONE}/blocks"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "--candidate", "2", "--canary", "10"], "--rps and --errors"),
        (["plan", "digits"], "say how it is to go"),
        (["plan", *RULES, *TRAFFIC, "--worse", "1x"], "more than 1 time as bad"),
        (["plan", *RULES, *TRAFFIC, "--worse", "twice"], "--worse: 'twice'"),
        (["plan", *RULES, "--rps", "-1", "--errors", "1%"], "--rps"),
        (["plan", "-f", "rollout.yaml", *RULES, *TRAFFIC], "with -f the file says how it is to go"),
        (["simulate", "--ab", "2=25%,3=25%", "--for", "1h", *TRAFFIC], "one candidate beside stable"),
        (["simulate", *RULES, *TRAFFIC, "--at-most", "0"], "--at-most"),
        (["simulate", *RULES, *TRAFFIC, "--latency", "20"], "--latency: '20' is no duration"),
        (["simulate", "--blocks", "none"], "none cannot be read"),
        (["simulate", "--blocks", "rollout.yaml"], "line 1: this is no JSON"),
        (["simulate", "--blocks", "a", "--rollout", "b"], "replay one of them"),
    ],
    ids=range(12),
)
@pytest.mark.usefixtures("api")
def test_what_cannot_be_asked_is_refused(sluice: Command, words: list[str], said: str) -> None:
    """In a sentence with the option, exit code 2, before anything is drawn."""
    ran = sluice(*words)
    assert ran.code == 2
    assert said in " ".join(ran.err.replace("│", "").split())
