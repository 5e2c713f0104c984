"""Values that several tests draw: conditions, rules, policies, plans."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from router.agreement import Agree, Comparison, OutputRule
from router.evidence.judge import Rule as HarmRule
from router.freeze import Dated, Freeze, Weekly
from router.match import How, Match, Place
from router.observed import Observed, Reading
from router.places import places_of
from router.plan import End, Incident, Kind, Plan, Stalled
from router.policy import WHOLE, Arm, OverCapacity, Policy, Role, Rule, Shadow
from router.stage import Does, Needs, Stage
from router.unit import FieldSource, JsonSource
from router.verdicts.guardrails import DEFAULTS, Terms, predictions

STABLE = 1
VERSIONS = range(2, 6)

salts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
names = st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
places = st.sampled_from(Place)

matches = (
    st.builds(Match, names, st.tuples(texts), st.just(How.EQUALS), places)
    | st.builds(
        Match,
        names,
        st.lists(texts, min_size=1, max_size=4, unique=True).map(tuple),
        st.sampled_from([How.IN, How.PREFIX]),
        places,
    )
    | st.builds(Match, names, st.sampled_from([("a*b",), ("[a-c]+",), (r"v\d{1,3}",)]), st.just(How.REGEX), places)
)
conditions = st.lists(matches, max_size=3).map(tuple)
versions = st.sampled_from(VERSIONS)
rules = st.builds(Rule, versions, st.lists(matches, min_size=1, max_size=3).map(tuple))
budgets = st.none() | st.integers(1, 1_000)
shadows = st.builds(Shadow, versions, st.integers(0, WHOLE), salts, conditions, budgets, budgets)
several_shadows = st.lists(shadows, max_size=2, unique_by=lambda one: one.version).map(tuple)
sources = st.builds(FieldSource, names, places) | st.builds(
    JsonSource, st.sampled_from(["$.user", "$.a[0].b", "$['odd key']"]), st.integers(1, 65_536)
)
tolerances = st.none() | st.floats(0, 1)
output_rules = (
    st.builds(OutputRule, st.sampled_from([Agree.EXACT, Agree.ARGMAX, Agree.IGNORE]))
    | st.builds(OutputRule, st.just(Agree.CLOSE), tolerances, tolerances)
    | st.builds(OutputRule, st.just(Agree.TOP_K), top=st.none() | st.integers(1, 1_000))
    | st.builds(OutputRule, st.sampled_from([Agree.COSINE, Agree.EDIT]), tolerated=tolerances)
)
several_names = st.lists(names, max_size=3, unique=True).map(tuple)
comparisons = st.builds(
    Comparison, st.dictionaries(names, output_rules, max_size=3), several_names, st.integers(0, 100), several_names
)
policies = st.builds(
    Policy,
    st.just(STABLE),
    salt=salts,
    unit_header=names,
    allow_override=st.booleans(),
    shadows=several_shadows,
    over_capacity=st.sampled_from(OverCapacity),
    rules=st.lists(rules, max_size=3).map(tuple),
    unit_sources=st.lists(sources, max_size=3, unique=True).map(tuple),
    observes=st.none() | st.builds(Observed, names, st.sampled_from(Reading)),
    comparison=st.none() | comparisons,
)
policies_with_arms = st.builds(
    lambda policy, share: replace(policy, arms=(Arm(6, share, 0, Role.CANARY),)), policies, st.integers(0, WHOLE)
)

RULES = (
    (),
    (Rule(2, (Match("x-tier", ("gold", "silver"), How.IN), Match("v", (r"v\d",), How.REGEX))),),
    (Rule(4, (Match("x-preview", ("yes",), place=Place.METADATA),)),),
)
SHADOWS = ((), (Shadow(2),), (Shadow(3, 10_000, "other", (Match("x", ("a",)),), 50, 8, 10_000), Shadow(4, 0)))

shares = st.lists(st.integers(0, WHOLE) | st.sampled_from([0, 1, 100, WHOLE]), min_size=1, max_size=len(VERSIONS)).map(
    lambda raw: {version: share // len(raw) for version, share in zip(VERSIONS, raw, strict=False)}
)

TERMS = (None, Terms(harm=0.02, rule=HarmRule.FAST), Terms((*DEFAULTS, predictions("label", kind=Reading.SCORE))))

freezes: st.SearchStrategy[Freeze] = st.sampled_from(
    [
        Weekly("weekend", "fri 16:00", "mon 08:00"),
        Weekly("nights", "sun 22:30", "mon 04:00", "-05:30"),
        Dated("holidays", "2026-12-20T00:00:00+01:00", "2027-01-02T00:00:00+01:00"),
    ]
)


@st.composite
def stages(draw: st.DrawFn, name: str) -> Stage:
    """A stage that runs or bakes, or at times has a policy set by hand."""
    if draw(st.integers(0, 9)) == 9:
        return Stage(name, needs=Needs.MINIMA, policy=Policy(STABLE, salt="by hand").with_shares(draw(shares)))
    runs = draw(st.booleans())
    given = draw(shares) if runs else {}
    copied, ruled = draw(st.sampled_from(SHADOWS)), draw(st.sampled_from(RULES))
    shows = any(given.values()) or copied or ruled
    return Stage(
        name,
        Does.RUN if runs else Does.BAKE,
        given,
        copied,
        ruled,
        min_s=draw(st.sampled_from([0, 60, 600])),
        min_requests=draw(st.sampled_from([0, 100])) if shows else 0,
        needs=draw(st.sampled_from(Needs)) if shows else Needs.MINIMA,
        approval=draw(st.booleans()),
        flip=draw(st.booleans()),
    )


@st.composite
def plans(draw: st.DrawFn, *, most: int = 4) -> Plan:
    """A plan of a few stages, of any end, with a watch where it may have one."""
    made = [draw(stages(f"stage {number}")) for number in range(draw(st.integers(1, most)))]
    if places_of([stage.shares for stage in made]) is None:
        made = made[:1]
    end = draw(st.sampled_from(End))
    if end is End.WINNER and not any(share for stage in made for share in stage.shares.values()):
        end = End.RESTORE
    by_hand = end is End.WINNER and draw(st.booleans())
    if end is not End.RESTORE and draw(st.booleans()):
        watch_s = draw(st.sampled_from([0, 300]))
        asks = draw(st.booleans()) and not by_hand
        made.append(Stage("watch", Does.WATCH, min_s=watch_s, needs=draw(st.sampled_from(Needs)), approval=asks))
    return Plan(
        draw(st.sampled_from(Kind)),
        tuple(made),
        end,
        candidate=draw(versions) if end is End.PROMOTE else draw(st.none() | versions),
        salt=draw(st.sampled_from(["", "mine", "é"])),
        approve_end=draw(st.booleans()) and not by_hand,
        winner_by_hand=by_hand,
        undecided=draw(st.sampled_from([End.RESTORE, End.KEEP])),
        deadline_s=draw(st.none() | st.integers(1, 5_000)),
        on_deadline=draw(st.sampled_from(Stalled)),
        on_incident=draw(st.sampled_from(Incident)),
        terms=draw(st.sampled_from(TERMS)),
        max_age_s=draw(st.integers(1, 120)),
        freezes=tuple(draw(st.lists(freezes, max_size=2, unique=True))),
        comparison=draw(st.none() | comparisons),
    )
