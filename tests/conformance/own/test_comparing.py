"""What the kit calls equal, and what it does not let pass."""

from __future__ import annotations

from typing import Any

from tests.conformance.comparing import Entry, Likeness, compare, entries, is_sound, written
from tests.conformance.differences import Why
from tests.conformance.targets import Profile

PLAIN = Entry("HTTP infer", Profile.CORE, None)
OWN = Entry("HTTP unknown model", Profile.CORE, Why.UNKNOWN_MODEL)


def answer(code: int, body: str = "") -> dict[str, Any]:
    """As `--save-answers` writes it."""
    return {"after": "open", "answers": [{"status": f"{code} X", "headers": [], "body": body}]}


def test_equal_answers_are_sound() -> None:
    """The same status, headers, body and connection are no difference, wherever one was allowed."""
    both = {PLAIN.name: answer(200), OWN.name: answer(404)}
    rows = compare((PLAIN, OWN), both, both)
    assert [row.likeness for row in rows] == [Likeness.EQUAL, Likeness.EQUAL]
    assert is_sound(rows)


def test_a_difference_needs_a_case_of_the_protocol() -> None:
    """The same difference is sound where the protocol lists it and unsound where it does not."""
    for entry, sound in ((OWN, True), (PLAIN, False)):
        rows = compare((entry,), {entry.name: answer(400)}, {entry.name: answer(404)})
        assert is_sound(rows) is sound


def test_a_vector_that_only_one_was_asked_is_unsound() -> None:
    """Silence is no equality, not even where a difference is allowed."""
    for entry in (PLAIN, OWN):
        assert not is_sound(compare((entry,), {entry.name: answer(200)}, {}))
        assert not is_sound(compare((entry,), {}, {entry.name: answer(200)}))


def test_what_nobody_was_asked_is_left_out() -> None:
    """A run of a part of the kit compares that part."""
    assert compare((PLAIN, OWN), {PLAIN.name: answer(200)}, {PLAIN.name: answer(200)})[0].entry == PLAIN


def test_the_table_names_every_difference_under_its_reason() -> None:
    """The table counts by profile; under each reason stand its vectors, with both answers."""
    alone = {PLAIN.name: answer(200, "one"), OWN.name: answer(400, "unknown")}
    behind = {PLAIN.name: answer(200, "two"), OWN.name: answer(404, "none such")}
    text = written(compare((PLAIN, OWN), alone, behind))
    head, counts, *rest = text.splitlines()
    assert head.split() == ["profile", "vectors", "equal", "differ", "as", "listed", "differ", "otherwise"]
    assert counts.split() == ["HTTP", "core", "2", "0", "1", "1"]
    assert rest.index("NOT LISTED IN THE PROTOCOL:") < rest.index(f"{Why.UNKNOWN_MODEL.value}:")
    assert [line.split() for line in rest if line.startswith("  ")] == [
        ["HTTP", "infer", "200", "one", "200", "two"],
        ["HTTP", "unknown", "model", "400", "unknown", "404", "none", "such"],
    ]


def test_every_vector_of_both_protocols_has_an_entry_of_its_own() -> None:
    """No two share a name, and each profile has some."""
    table = list(entries())
    assert len({one.name for one in table}) == len(table)
    assert {one.profile for one in table if one.name.startswith("HTTP")} == set(Profile)
    assert {one.profile for one in table if one.name.startswith("gRPC")} == set(Profile) - {Profile.BINARY}
