"""Equal values have equal bytes, bytes give the value back, and what is not understood is refused as a whole."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.agreement import Agree, Comparison, OutputRule
from router.codec import READER, decode_policy, decode_snapshot, digest_of, encode_policy, encode_snapshot, reader_of
from router.epoch import Entry, Snapshot
from router.errors import PolicyError
from router.match import How, Match, Place
from router.observed import Observed, Reading
from router.policy import WHOLE, Arm, Policy, Role, Rule, Shadow
from router.unit import FieldSource, JsonSource
from tests.router.cases import policies_with_arms

POLICY = Policy(
    1,
    (Arm(2, 100_000, 0, Role.CANARY), Arm(3, 50_000, 550_000)),
    salt="s",
    unit_header="user",
    allow_override=True,
    repeatable=False,
)
SNAPSHOT = Snapshot(2, "p", {"digits": Entry("d", 3)})

SHADOWED = Policy(1, shadows=(Shadow(2, 500_000, "x"), Shadow(3)))

salts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=16)
shadows = st.lists(
    st.builds(Shadow, st.integers(1, 9), st.integers(0, WHOLE), salts), max_size=3, unique_by=lambda one: one.version
).map(tuple)
policies = st.builds(
    lambda stable, shares, **rest: Policy(stable, **rest).with_shares({stable + n: s for n, s in enumerate(shares, 1)}),
    st.integers(1, 1_000),
    st.lists(st.integers(0, WHOLE // 4), max_size=4),
    salt=salts,
    unit_header=st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
    allow_override=st.booleans(),
    repeatable=st.booleans(),
) | st.builds(Policy, st.integers(1, 9), shadows=shadows, salt=salts)
snapshots = st.builds(
    Snapshot,
    st.integers(0, 2**53),
    st.text("0123456789abcdef", max_size=64),
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.builds(Entry, st.text("0123456789abcdef", min_size=1, max_size=64), st.integers(1, 2**31)),
        max_size=4,
    ),
)


@given(policies | policies_with_arms)
def test_a_policy_comes_back_from_its_bytes(policy: Policy) -> None:
    """And encodes to the same bytes again."""
    blob = encode_policy(policy)
    assert decode_policy(blob) == policy
    assert encode_policy(decode_policy(blob)) == blob


@given(snapshots)
def test_a_snapshot_comes_back_from_its_bytes(snapshot: Snapshot) -> None:
    """And encodes to the same bytes again."""
    blob = encode_snapshot(snapshot)
    assert decode_snapshot(blob) == snapshot
    assert encode_snapshot(decode_snapshot(blob)) == blob


def test_the_bytes_never_change() -> None:
    """Golden vectors: other bytes would give every policy in every store another name."""
    assert encode_policy(POLICY) == (
        b'{"allow_override":true,"arms":[{"offset_ppm":0,"role":"canary","share_ppm":100000,"version":2},'
        b'{"offset_ppm":550000,"role":"arm","share_ppm":50000,"version":3}],"reader":1,"repeatable":false,'
        b'"salt":"s","stable":1,"unit_header":"user"}'
    )
    assert digest_of(encode_policy(POLICY)) == "d846055d97e709bd8b922c2fcee7bbf56ce1431ec556cf9d3f0f2fa4b3fbca2c"
    assert encode_snapshot(SNAPSHOT) == b'{"epoch":2,"models":{"digits":["d",3]},"parent":"p","reader":1}'
    assert digest_of(encode_snapshot(SNAPSHOT)) == "a0237e5ab3ecd0e4fb983dc53f35d79a0f9c5734e8db5c25c1e4906ee67a5e1b"


def test_the_bytes_with_shadows_never_change() -> None:
    """A golden vector; a policy without shadows says nothing of them, and so keeps the bytes and the name it had."""
    assert encode_policy(SHADOWED) == (
        b'{"allow_override":false,"arms":[],"reader":1,"repeatable":true,"salt":"",'
        b'"shadows":[{"salt":"x","sample_ppm":500000,"version":2},{"salt":"shadow","sample_ppm":1000000,"version":3}],'
        b'"stable":1,"unit_header":"sluice-unit"}'
    )
    assert b"shadows" not in encode_policy(replace(SHADOWED, shadows=()))
    assert decode_policy(changed(encode_policy(POLICY), shadows=[])) == POLICY


RULED = Policy(
    1,
    shadows=(Shadow(2, 500_000, "x", (Match("x-tier", ("gold",)),), 50, 8), Shadow(3)),
    rules=(Rule(4, (Match("x-tier", ("gold", "silver"), How.IN, Place.HEADER), Match("v", (r"v\d",), How.REGEX))),),
    unit_sources=(FieldSource("device", Place.METADATA), JsonSource("$.user.id", 1_000)),
)


def test_the_bytes_with_rules_never_change() -> None:
    """A golden vector; they name the form of reader that they need."""
    assert encode_policy(RULED) == (
        b'{"allow_override":false,"arms":[],"reader":2,"repeatable":true,"rules":[{"version":4,"when":['
        b'{"how":"in","name":"x-tier","place":"header","values":["gold","silver"]},'
        b'{"how":"regex","name":"v","place":"any","values":["v\\\\d"]}]}],"salt":"",'
        b'"shadows":[{"max_in_flight":8,"max_per_s":50,"salt":"x","sample_ppm":500000,"version":2,'
        b'"when":[{"how":"equals","name":"x-tier","place":"any","values":["gold"]}]},'
        b'{"salt":"shadow","sample_ppm":1000000,"version":3}],"stable":1,"unit_header":"sluice-unit",'
        b'"unit_sources":[{"name":"device","place":"metadata"},{"json":"$.user.id","max_bytes":1000}]}'
    )
    assert decode_policy(encode_policy(RULED)) == RULED


def test_a_policy_that_uses_nothing_new_keeps_its_bytes_and_its_readers() -> None:
    """Those that were written before there were rules are read, and are written again as they were."""
    old = (
        b'{"allow_override":true,"arms":[{"offset_ppm":0,"role":"canary","share_ppm":100000,"version":2}],"reader":1,'
        b'"repeatable":true,"salt":"s","shadows":[{"salt":"shadow","sample_ppm":10000,"version":3}],"stable":1,'
        b'"unit_header":"user"}'
    )
    assert encode_policy(decode_policy(old)) == old
    assert digest_of(old) == "bcd67df4387f89864893b0839f933269cda35ab9cfcdd26952ce91b0780b8856"
    assert [reader_of(policy) for policy in (POLICY, SHADOWED, RULED)] == [1, 1, 2]


@pytest.mark.parametrize(
    "new", [{"rules": RULED.rules}, {"unit_sources": RULED.unit_sources}, {"shadows": RULED.shadows}]
)
def test_whatever_is_new_needs_the_new_reader(new: dict[str, Any]) -> None:
    """An old gateway refuses the whole policy then, and says that it is too old."""
    assert reader_of(replace(Policy(1), **new)) == 2


def test_an_observed_output_needs_a_reader_that_counts_it() -> None:
    """A gateway that would not count it refuses the policy, in place of leaving a guardrail without numbers."""
    observing = replace(POLICY, observes=Observed("label", Reading.SCORE))
    assert reader_of(observing) == 3
    assert json.loads(encode_policy(observing))["observes"] == {"output": "label", "kind": "score"}
    assert decode_policy(encode_policy(observing)) == observing
    for wrong in ({"output": "label"}, {"output": "", "kind": "class"}, {"output": "x", "kind": "text"}, "label", None):
        with pytest.raises(PolicyError):
            decode_policy(changed(encode_policy(observing), observes=wrong))
    with pytest.raises(PolicyError, match="observes is 'label'"):
        Policy(1, observes="label")  # type: ignore[arg-type]


def test_rules_of_comparison_need_the_newest_reader() -> None:
    """A gateway that would not tell segments refuses the policy, in place of leaving them out of what is found."""
    comparison = Comparison({"label": OutputRule(Agree.EXACT)}, ("x-country",), keep=5, redact=("ssn",))
    compared = replace(SHADOWED, comparison=comparison)
    assert (reader_of(compared), READER) == (4, 4)
    assert json.loads(encode_policy(compared))["comparison"] == {
        "outputs": {"label": {"how": "exact"}}, "segments": ["x-country"], "keep": 5, "redact": ["ssn"]
    }  # fmt: skip
    assert decode_policy(encode_policy(compared)) == compared
    mistaken: tuple[object, ...] = ({"outputs": []}, {"keep": -1}, {"more": 1}, "exact", None)
    for wrong in mistaken:
        with pytest.raises(PolicyError):
            decode_policy(changed(encode_policy(compared), comparison=wrong))
    with pytest.raises(PolicyError, match="comparison is 'exact'"):
        Policy(1, comparison="exact")  # type: ignore[arg-type]


def test_snapshots_from_before_still_load() -> None:
    """Their form has not changed: an old gateway reads a new one too, and judges each policy by its own bytes."""
    old = b'{"epoch":2,"models":{"digits":["d",3]},"parent":"p","reader":1}'
    assert decode_snapshot(old) == SNAPSHOT
    assert encode_snapshot(SNAPSHOT) == old


def test_the_order_in_which_models_were_named_does_not_matter() -> None:
    """Equal snapshots have one digest."""
    entries = {"a": Entry("1", 1), "b": Entry("2", 1)}
    assert encode_snapshot(Snapshot(1, "", entries)) == encode_snapshot(
        Snapshot(1, "", dict(reversed(list(entries.items()))))
    )


def changed(blob: bytes, **more: object) -> bytes:
    """The same object with other fields."""
    return json.dumps({**json.loads(blob), **more}).encode()


def test_what_a_newer_release_wrote_is_refused() -> None:
    """A policy half understood is none."""
    with pytest.raises(PolicyError, match="form 5"):
        decode_policy(changed(encode_policy(POLICY), reader=5))
    with pytest.raises(PolicyError, match="form 5"):
        decode_snapshot(changed(encode_snapshot(SNAPSHOT), reader=5))


def test_unknown_keys_are_refused_wherever_they_are() -> None:
    """In a policy, in an arm, in a shadow and in a snapshot: each could change who answers."""
    arm = {"version": 2, "share_ppm": 1, "offset_ppm": 0, "role": "arm", "until": 5}
    shadow = {"version": 2, "sample_ppm": 1, "salt": "", "until": 5}
    rule = {"version": 2, "when": [{"name": "x", "values": ["a"], "how": "equals", "place": "any", "until": 5}]}
    source = {"json": "$.a", "max_bytes": 5, "until": 5}
    policy = encode_policy(POLICY)
    for more in (
        {"until": 5},
        {"arms": [arm]},
        {"shadows": [shadow]},
        {"rules": [rule]},
        {"rules": [{**rule, "until": 5}]},
        {"unit_sources": [source]},
        {"unit_sources": [{"name": "x", "place": "any", "until": 5}]},
    ):
        blob = changed(policy, **more)
        with pytest.raises(PolicyError, match="not understood"):
            decode_policy(blob)
    with pytest.raises(PolicyError, match="not understood"):
        decode_snapshot(changed(encode_snapshot(SNAPSHOT), frozen=True))


@pytest.mark.parametrize(
    "more",
    [
        {"stable": "1"},
        {"arms": {}},
        {"arms": None},
        {"arms": ["ab"]},
        {"arms": [{"version": 2}]},
        {"arms": [{"version": 2, "share_ppm": 1, "offset_ppm": 0, "role": "boss"}]},
        {"shadows": None},
        {"shadows": 5},
        {"shadows": ["ab"]},
        {"shadows": [{"version": 2}]},
        {"shadows": [{"version": 2, "sample_ppm": "1", "salt": ""}], "repeatable": True},
        {"shadows": [{"version": 2, "sample_ppm": 1, "salt": None}], "repeatable": True},
        {"shadows": [{"version": 2, "sample_ppm": 1, "salt": ""}] * 2, "repeatable": True},
        {"shadows": [{"version": 2, "sample_ppm": 1, "salt": ""}], "repeatable": False},
        {"rules": 5},
        {"rules": [5]},
        {"rules": [{"version": 2, "when": []}]},
        {"rules": [{"version": 2, "when": [{"name": "x", "values": "a", "how": "equals", "place": "any"}]}]},
        {"rules": [{"version": 2, "when": [{"name": "x", "values": ["a"], "how": "like", "place": "any"}]}]},
        {"unit_sources": [{"json": "user", "max_bytes": 5}]},
        {"unit_sources": [{"json": "$.user"}]},
        {"unit_sources": ["x"]},
        {"salt": 5},
        {"salt": "\ud800"},
        {"unit_header": None},
        {"allow_override": "no"},
        {"reader": True},
        {"reader": "1"},
        {"reader": 0},
    ],
)
def test_a_policy_with_a_wrong_value_is_refused(more: dict[str, Any]) -> None:
    """Each field is checked, none is converted."""
    if more == {"arms": {}}:
        assert decode_policy(changed(encode_policy(POLICY), **more)).arms == ()
        return
    with pytest.raises(PolicyError):
        decode_policy(changed(encode_policy(POLICY), **more))


@pytest.mark.parametrize(
    "more",
    [
        {"epoch": -1},
        {"epoch": "2"},
        {"parent": None},
        {"models": []},
        {"models": {"a": []}},
        {"models": {"a": ["d", 0]}},
    ],
)
def test_a_snapshot_with_a_wrong_value_is_refused(more: dict[str, Any]) -> None:
    """The same for snapshots."""
    with pytest.raises(PolicyError):
        decode_snapshot(changed(encode_snapshot(SNAPSHOT), **more))


@given(st.binary(max_size=64) | st.sampled_from([b"null", b"[]", b"{}", b"[" * 100_000, b'{"reader":1}', b"\xff"]))
def test_bytes_that_are_none_of_ours_are_refused(blob: bytes) -> None:
    """Never with another error than ours."""
    for decode in (decode_policy, decode_snapshot):
        with pytest.raises(PolicyError):
            decode(blob)
