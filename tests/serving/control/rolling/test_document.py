"""Documents mean the plans that they name, and are refused with every mistake and its place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # without annotations, as released
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from router.agreement import Agree, Comparison, OutputRule
from router.codec import policy_as_dict
from router.errors import PlanError
from router.evidence.judge import Rule
from router.plan import End, Incident, Kind, Stalled
from router.plan_form import plan_as_document
from router.policy import Policy
from router.rollout import Automation
from router.stage import Does, Needs
from router.verdicts.guardrails import USUAL
from serving.control.rolling.document import DOCUMENT_SCHEMA, document_from, with_secrets
from serving.control.rolling.outward import GateKind

SCHEMA_FILE = Path(__file__).parents[4] / "docs" / "rollout.schema.json"
SECRET = "whsec_" + "A" * 32

STEPS: dict[str, Any] = {"steps": ["1%", "50%", "100%"], "hold": "5m", "approve": ["50%"], "watch": "1d"}
CANARY: dict[str, Any] = {"candidate": 2, "canary": STEPS}
SHADOW = {"shadow": {"version": 3, "sample": "10%", "for": "1h", "max_per_s": None}}
AB_TEST = {"ab_test": {"arms": {"2": "50%"}, "for": "1d", "sample_size": 10, "decide": "first"}}
BLUE_GREEN = {
    "candidate": 2,
    "blue_green": {"preview": [{"name": "x-tier", "values": ["staff"]}], "bake": "10m", "keep_warm": "1h"},
}
SMALL: dict[str, Any] = {"name": "a", "shares": {"2": "1%"}}
PLAN: dict[str, Any] = {"plan": {"form": 1, "end": "promote", "candidate": 2, "stages": [SMALL]}}
EVERYTHING = {
    "model": "digits",
    **CANARY,
    "automation": "approve",
    "freezes": [{"name": "weekend", "begins": "fri 16:00", "ends": "mon 08:00"}],
    "deadline": "2h",
    "on_deadline": "fail",
    "gates": [{"type": "confirm-rollout", "url": "https://ci.example.com", "metadata": {"a": "b"}, "timeout": "5s"}],
    "webhooks": [{"url": "https://hooks.example.com", "secret": SECRET, "events": ["promoted"]}],
    "again": True,
    "why": "the new form",
}


def test_a_canary_has_a_stage_for_each_step_and_a_watch() -> None:
    """With its times, requests and approvals; before the candidate gets everything it has to have earned that."""
    plan = document_from(CANARY).plan
    assert (plan.kind, plan.end, plan.candidate) == (Kind.CANARY, End.PROMOTE, 2)
    assert [dict(one.shares) for one in plan.stages] == [{2: 10_000}, {2: 500_000}, {2: 1_000_000}, {}]
    assert [one.min_s for one in plan.stages] == [300, 300, 300, 86_400]
    assert [one.approval for one in plan.stages] == [False, True, False, False]
    assert [one.needs for one in plan.stages] == [Needs.MINIMA, Needs.VERDICT, Needs.MINIMA, Needs.MINIMA]
    assert [one.min_requests for one in plan.stages] == [100, 100, 100, 0]


@pytest.mark.parametrize("needs", Needs)
def test_what_every_step_of_a_canary_needs_can_be_said(needs: Needs) -> None:
    """Then it is of all of them, and as many requests as are said."""
    steps = document_from({**CANARY, "canary": {**STEPS, "needs": needs.value}}).plan.stages[:3]
    assert {(one.needs, one.min_requests) for one in steps} == {(needs, 0)}
    few = document_from({**CANARY, "canary": {**STEPS, "min_requests": 5}}).plan.stages[:3]
    assert {one.min_requests for one in few} == {5}


def test_what_a_rollout_is_judged_by_is_part_of_its_plan() -> None:
    """Guardrails and levels; what is left out is as usual, and so is everything where nothing is said."""
    judged_by = {"guardrails": [{"watches": "errors"}, {"watches": "latency", "tolerated": 1.5}], "rule": "fast"}
    plan = document_from({**CANARY, "judged_by": judged_by, "on_incident": "hold"}).plan
    assert [one.tolerated for one in plan.judged_by.guardrails] == [1.0, 1.5]
    assert (plan.judged_by.rule, plan.judged_by.harm, plan.on_incident) == (Rule.FAST, 0.01, Incident.HOLD)
    assert document_from({"plan": plan_as_document(plan)}).plan == plan
    assert (document_from(CANARY).plan.terms, document_from(CANARY).plan.judged_by) == (None, USUAL)


def test_how_answers_are_compared_is_part_of_the_plan() -> None:
    """Rules by output, segments, and what is never kept; without copies there is nothing to compare."""
    compare = {"outputs": {"score": {"how": "close", "relative": 0.01}}, "segments": ["x-country"], "redact": ["ssn"]}
    plan = document_from({**SHADOW, "compare": compare}).plan
    rules = {"score": OutputRule(Agree.CLOSE, relative=0.01)}
    assert plan.comparison == Comparison(rules, ("x-country",), redact=("ssn",))
    assert document_from({"plan": plan_as_document(plan)}).plan == plan
    with pytest.raises(PlanError, match="compare has no copies"):
        document_from({**CANARY, "compare": compare})
    with pytest.raises(PlanError, match=r"compare\.keep is -1"):
        document_from({**SHADOW, "compare": {"keep": -1}})


def test_how_far_arms_may_differ_is_the_rollouts_own_word() -> None:
    """Total variation, from 0 to 1; beside a plan, too, for it is no part of what happens to traffic."""
    assert document_from({**CANARY, "drift": {"arms": 0}}).arms_tolerance == 0.0
    assert document_from({**PLAN, "drift": {"arms": 0.25}}).arms_tolerance == 0.25
    for nothing in ({}, {"arms": None}):
        assert document_from({**CANARY, "drift": nothing}).arms_tolerance is None
    assert document_from(CANARY).arms_tolerance is None


def test_a_shadow_leaves_everything_as_it_was() -> None:
    """A version of its own, or the candidate."""
    plan = document_from(SHADOW).plan
    assert (plan.end, plan.stages[0].shadows[0].version, plan.stages[0].shadows[0].sample_ppm) == (
        End.RESTORE,
        3,
        100_000,
    )
    assert document_from({"candidate": 2, "shadow": {}}).plan.stages[0].shadows[0].version == 2


def test_an_ab_test_and_a_blue_green() -> None:
    """What is decided earlier is kept; a preview is a rule."""
    assert document_from(AB_TEST).plan.stages[0].needs is Needs.EITHER
    bake, warm = document_from(BLUE_GREEN).plan.stages
    assert (bake.does, bake.rules[0].version, warm.does, warm.flip, warm.approval) == (
        Does.BAKE,
        2,
        Does.WATCH,
        True,
        True,
    )


def test_several_are_put_together_in_their_order() -> None:
    """Shadow first, whatever version it is about and wherever it stands in the file."""
    plan = document_from({**CANARY, **SHADOW}).plan
    assert [one.name for one in plan.stages] == ["shadow", "1 %", "50 %", "100 %", "watch"]
    assert (plan.kind, plan.candidate, plan.end) == (Kind.CUSTOM, 2, End.PROMOTE)
    both = document_from({**AB_TEST, **SHADOW}).plan
    assert [one.name for one in both.stages] == ["shadow", "a/b"]


def test_everything_that_can_be_said_is_read() -> None:
    """Gates, hooks, freezes, deadline, automation."""
    document = document_from(EVERYTHING)
    assert (document.model, document.automation, document.again) == ("digits", Automation.APPROVE, True)
    assert (document.plan.deadline_s, document.plan.on_deadline) == (7_200, Stalled.FAIL)
    assert document.plan.freezes[0].name == "weekend"
    [gate], [hook] = document.gates, document.hooks
    assert (gate.kind, gate.timeout_s, dict(gate.metadata)) == (GateKind.CONFIRM_ROLLOUT, 5, {"a": "b"})
    assert (hook.secret, [*hook.events]) == (SECRET, ["promoted"])


def test_yaml_reads_numbers_as_names() -> None:
    """`2: 50%` is version 2."""
    said = yaml.safe_load("ab_test:\n  arms:\n    2: 50%\n  for: 1d\n")
    assert document_from(said).plan.stages[0].shares == {2: 500_000}


def test_a_plan_is_taken_as_it_is_but_for_what_its_stages_need() -> None:
    """Where it does not say, the last split before the promotion needs a verdict, and nothing else does."""
    assert document_from(PLAN).plan.stages[0].needs is Needs.VERDICT
    for needs in Needs:
        said = {"name": "a", "shares": {"2": "1%"}, "needs": needs.value}
        assert document_from({"plan": {**PLAN["plan"], "stages": [said]}}).plan.stages[0].needs is needs
    look = {"name": "look", "does": "bake", "rules": [{"version": 2, "when": [{"name": "x", "values": ["a"]}]}]}
    stages = [look, SMALL, {"name": "all", "shares": {"2": "100%"}}]
    needed = [one.needs for one in document_from({"plan": {**PLAN["plan"], "stages": stages}}).plan.stages]
    assert needed == [Needs.MINIMA, Needs.VERDICT, Needs.MINIMA]
    shown = document_from(CANARY).plan
    assert document_from({"plan": plan_as_document(shown)}).plan == shown


def test_a_verdict_that_nobody_could_give_is_not_waited_for() -> None:
    """Where nothing has been split yet there is nothing to compare; what may also be passed without one is taken."""
    asks = {"name": "copies", "shadows": [{"version": 2}], "needs": "verdict"}
    with pytest.raises(PlanError, match=r"stages\[0\] needs a 'verdict', and up to there no version.*'minima'"):
        document_from({"plan": {**PLAN["plan"], "stages": [asks, SMALL]}})
    after = document_from({"plan": {**PLAN["plan"], "stages": [SMALL, asks]}})
    assert after.plan.stages[1].needs is Needs.VERDICT
    asks["needs"] = "either"
    assert document_from({"plan": {**PLAN["plan"], "stages": [asks]}}).plan.stages[0].needs is Needs.EITHER


def test_a_plan_with_a_policy_by_hand_waits_for_no_verdict() -> None:
    """Nothing in it is judged, whoever has a share at some other stage."""
    by_hand = {"name": "by hand", "policy": policy_as_dict(Policy(stable=1, arms=())), "needs": "minima"}
    split = {"name": "part", "shares": {"2": "10%"}, "needs": "verdict"}
    with pytest.raises(PlanError, match=r"stages\[0\] needs a 'verdict', and a plan that sets a policy by hand"):
        document_from({"plan": {"form": 1, "end": "keep", "stages": [split, by_hand]}})


def test_no_strategy_but_a_canary_waits_for_a_verdict() -> None:
    """Nor does any watch: those documents walk to their end on time and requests."""
    for said in (SHADOW, AB_TEST, {"ab_test": {**AB_TEST["ab_test"], "watch": "1h"}}, BLUE_GREEN):
        assert {stage.needs for stage in document_from(said).plan.stages} <= {Needs.MINIMA, Needs.EITHER}


def test_a_salt_can_be_named() -> None:
    """Beside strategies, or in a plan, which says it itself; left out, it is drawn when the rollout starts."""
    assert document_from({**CANARY, "salt": "mine"}).plan.salt == "mine"
    assert document_from(CANARY).plan.salt == ""
    with pytest.raises(PlanError, match="salt beside a plan"):
        document_from({**PLAN, "salt": "mine"})


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "give a plan, or strategies"),
        (None, "the document is None"),
        ({**CANARY, **PLAN}, "both"),
        ({**PLAN, "deadline": "2h"}, "deadline beside a plan"),
        ({"canary": {"steps": ["1%"]}}, "candidate is missing"),
        ({"candidate": 2, "canary": {"steps": []}}, "canary.steps"),
        ({"candidate": 2, "canary": {"steps": ["1 %", "150%"]}}, "at most 100%"),
        ({"candidate": 2, "canary": {"steps": ["1%"], "hold": "ten"}}, "canary.hold"),
        ({"candidate": 2, "canary": {"steps": ["1%"], "approve": ["5%"]}}, "none of the steps"),
        ({"candidate": 2, "canary": {"steps": ["1%", "1%"]}}, "two stages are named"),
        ({**CANARY, "judged_by": {"harm": 1}}, "judged_by.harm is 1: it is the chance"),
        ({**CANARY, "judged_by": {"guardrails": [{"watches": "errors", "margin": 1.0}]}}, "judged_by.guardrails"),
        ({**CANARY, "judged_by": {"guardrails": [{"watches": "latency", "limit": 0.1}]}}, "judged_by.guardrails"),
        ({**CANARY, "on_incident": "panic"}, "on_incident"),
        ({**CANARY, "drift": {"arms": 1.5}}, "drift.arms"),
        ({**CANARY, "drift": {"arms": "10%"}}, "drift.arms"),
        ({**CANARY, "drift": {"arm": 0.1}}, "drift.arm is not understood"),
        ({"candidate": 2, "canary": {"steps": ["1%"], "needs": "luck"}}, "canary.needs is 'luck'"),
        ({**PLAN, "judged_by": {}}, "judged_by beside a plan"),
        ({"shadow": {}}, "shadow.version is missing"),
        ({"ab_test": {"arms": {"2": "50%"}}}, "duration or a sample size"),
        ({**CANARY, "canari": 1}, "canari is not understood"),
        ({**CANARY, "gates": [{"type": "confirm", "url": "https://x.example"}]}, "gates[0].type"),
        ({**CANARY, "webhooks": [{"url": "https://x.example"}]}, "webhooks[0]: its secret is missing"),
        ({**CANARY, "freezes": [{"name": "w", "begins": "fri", "ends": "mon 08:00"}]}, "freezes[0]"),
    ],
)
def test_what_is_no_rollout_is_refused_with_its_place(document: object, said: str) -> None:
    """Every mistake is a sentence."""
    with pytest.raises(PlanError) as refused:
        document_from(document)
    assert said in str(refused.value)


def test_all_mistakes_are_told_together() -> None:
    """Nobody has to find them one after the other."""
    with pytest.raises(PlanError) as refused:
        document_from({"gates": [{"type": "rollback", "url": "x"}], "webhooks": [{"url": "x", "secret": SECRET}]})
    for part in ("gates[0]", "webhooks[0]", "give a plan"):
        assert part in str(refused.value)


def test_a_secret_may_come_from_the_environment_of_whoever_reads_the_file() -> None:
    """It is replaced before the document is read; one that is not set is named."""
    said = {**CANARY, "webhooks": [{"url": "https://hooks.example.com", "secret_env": "HOOK"}]}
    assert document_from(with_secrets(said, {"HOOK": SECRET})).hooks[0].secret == SECRET
    with pytest.raises(PlanError, match="HOOK"):
        with_secrets(said, {})
    with pytest.raises(PlanError, match="secret_env"):
        document_from(said)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**7) | st.sampled_from(["1%", "10m", "x", "", "2", "promote"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*DOCUMENT_SCHEMA["properties"], "steps", "url", "2"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_the_document_of_the_manual_is_one() -> None:
    """Docs/rollouts.md shows what is read, its secret set where the file is read."""
    text = (SCHEMA_FILE.parent / "rollouts.md").read_text(encoding="utf-8")
    judged_by, shown, compared = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    judged = document_from({**CANARY, **yaml.safe_load(judged_by)}).plan
    assert [one.name for one in judged.judged_by.guardrails] == ["errors", "latency", "timeouts", "predictions"]
    assert (judged.judged_by.guardrails[0].margin, judged.judged_by.guardrails[0].ceiling) == (1.5, 0.01)
    document = document_from(with_secrets(yaml.safe_load(shown), {"HOOK_SECRET": SECRET}))
    assert [one.name for one in document.plan.stages][:2] == ["shadow", "1 %"]
    assert document.plan.freezes
    assert document.gates
    assert document.hooks
    comparison = document_from({**SHADOW, **yaml.safe_load(compared)}).plan.comparison
    assert comparison is not None
    assert {name: rule.how for name, rule in comparison.outputs.items()} == {
        "score": Agree.CLOSE, "label": Agree.EXACT, "embedding": Agree.COSINE
    }  # fmt: skip
    assert (comparison.segments, comparison.redact) == (("x-country",), ("ssn",))


@given(_JSON)
def test_whatever_is_sent_is_a_document_or_refused(said: object) -> None:
    """With our own error and nothing else."""
    with suppress(PlanError):
        assert document_from(said).plan.stages


@pytest.mark.parametrize("document", [CANARY, SHADOW, AB_TEST, BLUE_GREEN, PLAN, EVERYTHING])
def test_the_shipped_schema_allows_what_is_read(document: Mapping[str, Any]) -> None:
    """An editor that goes by it marks nothing that is right."""
    jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))).validate(document)


def test_the_shipped_schema_is_the_one_that_is_checked_by() -> None:
    """`python -m serving.control.rolling.document_schema` writes it."""
    shipped = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert shipped == json.loads(json.dumps(dict(DOCUMENT_SCHEMA)))
    jsonschema.Draft202012Validator.check_schema(shipped)


@pytest.mark.parametrize(
    "said",
    [
        {"webhooks": SECRET}, {"webhooks": [SECRET]}, {"webhooks": [{"url": "https://h.example", "secret": [SECRET]}]},
        {"webhooks": [{"url": {"secret": SECRET}}]}, {"candidate": SECRET}, {"again": {"secret": "hunter2"}},
        {"gates": ["https://ci.example/hooks/hunter2"]}, {"gates": [{"type": "x", "url": "https://h.example/hunter2"}]},
        {"canary": {"steps": ["https://u:hunter2@h.example/"]}}, {SECRET: 1}, {"webhooks": [{SECRET: 1}]},
    ],
)  # fmt: skip
def test_a_mistake_shows_no_secret(said: dict[str, Any]) -> None:
    """A secret at a wrong place is a wrong value, and so is an address with one in it: their places are named alone."""
    with pytest.raises(PlanError) as caught:
        document_from({**CANARY, **said})
    assert "hunter2" not in str(caught.value)
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize("share", [1, 5, 50, 100, 999])
@pytest.mark.parametrize(
    "said",
    [
        {"candidate": 2, "canary": {"steps": ["SHARE", "100%"]}},
        {"candidate": 2, "canary": {"steps": ["5%", "100%"], "approve": ["SHARE"]}},
        {"shadow": {"version": 2, "sample": "SHARE"}},
        {"ab_test": {"arms": {"2": "SHARE"}, "for": "1d"}},
    ],
    ids=["steps", "approve", "sample", "arms"],
)
def test_a_share_without_its_unit_is_refused(said: dict[str, Any], share: float) -> None:
    """Whoever writes 5 means 5 %, and would get five in a million: as a number, as text, whole or not."""
    for bare in (share, str(share)):
        with pytest.raises(PlanError, match="with its unit: write '10%' or '100000ppm'"):
            document_from(_with_share(said, bare))
    for written in (f"{int(share)}ppm", 0, "0"):
        with suppress(PlanError):
            document_from(_with_share(said, written))
            continue
        with pytest.raises(PlanError) as caught:
            document_from(_with_share(said, written))
        assert "unit" not in str(caught.value)


def _with_share(said: Any, share: float | str) -> Any:  # noqa: ANN401 (any JSON)
    if isinstance(said, dict):
        return {name: _with_share(one, share) for name, one in said.items()}
    if isinstance(said, list):
        return [_with_share(one, share) for one in said]
    return share if said == "SHARE" else said


@pytest.mark.parametrize(
    "said",
    [
        {"gates": [{"type": "rollback", "url": "https://ci.example.com/\ud800"}]},
        {"gates": [{"type": "rollback", "url": "https://ci.example.com/", "metadata": {"\ud800": "x"}}]},
        {"webhooks": [{"url": "https://ci.example.com/", "secret": "whsec_hush\ud800"}]},
        {"freezes": [{"name": "\ud800", "begins": "fri 16:00", "ends": "mon 08:00"}]},
        {"why": "\ud800"},
    ],
)
def test_text_that_cannot_be_written_down_is_refused_without_being_repeated(said: dict[str, Any]) -> None:
    """Half a character would be stored and could never be shown; and it may stand in a secret."""
    with pytest.raises(PlanError, match="half a character") as refused:
        document_from({**CANARY, **said})
    str(refused.value).encode()
    assert "hush" not in str(refused.value)


def test_what_is_nested_without_end_is_refused() -> None:
    """Before anything walks through it."""
    deep: object = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(PlanError, match="nested deeper"):
        document_from({"plan": {"a": deep}})


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "\u202e"])
def test_names_are_printable(name: str) -> None:
    """A gate's and a freeze's stand in sentences, logs and on terminals."""
    gate = {"type": "rollback", "url": "https://ci.example.com/", "name": name}
    freeze = {"name": name, "begins": "fri 16:00", "ends": "mon 08:00"}
    for said in ({"gates": [gate]}, {"freezes": [freeze]}):
        with pytest.raises(PlanError, match="printable"):
            document_from({**CANARY, **said})
