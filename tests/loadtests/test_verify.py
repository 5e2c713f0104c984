"""Whether the judge of answers finds what is wrong, and nothing else."""

from __future__ import annotations

from loadtests.steady import Answer
from loadtests.verify import Notes, Published, judge
from router.choose import Facts, Reason, choose
from router.codec import policy_as_dict
from router.match import How, Match, Said
from router.policy import Policy, Rule
from router.unit import FieldSource

_FIRST = Policy(1, salt="s").with_shares({2: 100_000})
_SECOND = _FIRST.with_shares({2: 500_000})


def _facts(number: int) -> Facts:
    return Facts(b"customer-%d" % number)


def _published() -> Published:
    entries = [
        {"facts": {"model": "m", "epoch": epoch, "policy": policy_as_dict(policy)}}
        for epoch, policy in ((7, _SECOND), (3, _FIRST))
    ]
    return Published("m", [*entries, {"facts": {"model": "other", "epoch": 5, "policy": policy_as_dict(_FIRST)}}])


def _answer(number: int, epoch: int, policy: Policy, *, version: int | None = None, status: int = 200) -> Answer:
    choice = choose(policy, _facts(number))
    headers = {
        "sluice-version": str(choice.version if version is None else version),
        "sluice-reason": choice.reason.value,
        "sluice-epoch": str(epoch),
    }
    return Answer(number, 0.0, 0.001, status, headers if status == 200 else {}, b"", "")


def _noted(*answers: Answer) -> Notes:
    notes = Notes()
    for answer in answers:
        notes.hear(answer)
    return notes


def test_answers_by_the_policy_of_their_epoch_are_right() -> None:
    """Each answer is judged by the policy that was in force at its own epoch, whenever it was sent."""
    notes = _noted(
        *(_answer(number, 3, _FIRST) for number in range(500)), *(_answer(number, 9, _SECOND) for number in range(500))
    )
    judged = judge(notes, _published(), _facts)
    assert (judged.right, judged.wrong, judged.epochs) == (1_000, 0, 2)
    assert judged.by_version.total() == 1_000
    assert set(judged.by_version) == {1, 2}


def test_an_answer_of_another_version_is_wrong_and_told() -> None:
    """One answer in the wrong place is found among thousands, and said in words."""
    strays = [number for number in range(2_000) if choose(_FIRST, _facts(number)).version == 1]
    notes = _noted(_answer(strays[0], 3, _FIRST), _answer(strays[1], 3, _FIRST, version=2))
    judged = judge(notes, _published(), _facts)
    assert (judged.right, judged.wrong) == (1, 1)
    assert judged.told == [f"request {strays[1]}: version 2 (stable) at epoch 3, where version 1 (stable) was due"]


def test_an_epoch_that_nobody_published_is_wrong() -> None:
    """An answer from before the first policy cannot be right."""
    judged = judge(_noted(_answer(1, 2, _FIRST)), _published(), _facts)
    assert (judged.right, judged.wrong) == (0, 1)


def test_failures_are_counted_apart() -> None:
    """An answer that is no 200 has no place to be judged by, and is not lost."""
    notes = _noted(_answer(1, 3, _FIRST), _answer(2, 3, _FIRST, status=503))
    assert (len(notes), notes.failed) == (1, 1)
    assert notes.told[0].startswith("request 2: 503")


def test_rules_are_judged_by_what_a_request_said() -> None:
    """An answer by a rule is right where its fields fulfil it, at the epochs that have the rule, and nowhere else."""
    ruled = Policy(1, salt="s", rules=(Rule(2, (Match("x-tier", ("g",), How.PREFIX),)),)).with_shares({3: 500_000})
    ruled_by_user = Policy(1, salt="s", rules=ruled.rules, unit_sources=(FieldSource("x-user"),))
    published = Published(
        "m",
        [
            {"facts": {"model": "m", "epoch": epoch, "policy": policy_as_dict(policy)}}
            for epoch, policy in ((1, _FIRST), (2, ruled), (3, ruled_by_user))
        ],
    )

    def facts(number: int) -> Facts:
        tier = b"gold" if number % 2 else b"iron"
        return Facts(b"customer-%d" % number, said=Said({b"x-tier": tier}))

    def answered(number: int, epoch: int) -> Answer:
        choice = choose(published.at(epoch) or _FIRST, facts(number))
        said = (str(choice.version), choice.reason.value, str(epoch))
        headers = dict(zip(("sluice-version", "sluice-reason", "sluice-epoch"), said, strict=True))
        return Answer(number, 0.0, 0.001, 200, headers, b"", "")

    right = [answered(number, epoch) for number in range(200) for epoch in (1, 2, 3)]
    judged = judge(_noted(*right), published, facts)
    assert (judged.right, judged.wrong) == (600, 0)
    assert sum(answer.headers["sluice-reason"] == Reason.RULE for answer in right) == 200
    early = answered(1, 2)
    strays = [Answer(1, 0.0, 0.001, 200, {**early.headers, "sluice-epoch": "1"}, b"", ""), answered(3, 2)]
    strays[1] = Answer(4, 0.0, 0.001, 200, strays[1].headers, b"", "")
    assert judge(_noted(*strays), published, facts).wrong == 2
