"""A key's record is one, or is refused where it is read: a broken one disturbs nobody else's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.access.keys import KeyRecord, create, decode
from serving.access.principal import Limits
from serving.access.roles import Role
from serving.access.verifier import Verifier

SHOWN = create()
RECORD = KeyRecord(
    SHOWN.id, "somebody", SHOWN.digest, Role.PREDICT, frozenset({"m"}), Limits(5.0, 5), 1.0, "test", 2e9, None
)  # fmt: skip
PLAIN: dict[str, Any] = json.loads(RECORD.encode())


def test_a_record_is_read_as_it_was_written() -> None:
    """What a newer release adds is passed over."""
    assert decode(RECORD.encode()) == RECORD
    assert decode(json.dumps({**PLAIN, "later": 1, "limits": {**PLAIN["limits"], "later": 1}})) == RECORD


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ["x"]), ("id", "x"), ("id", None), ("id", "0123456789AB"),
        ("name", 5), ("name", None), ("digest", None), ("digest", "\u00e4" * 64), ("digest", "0" * 63), ("digest", 5),
        ("models", "abc"), ("models", [5]), ("models", {"m": 1}), ("models", [None]), ("models", []),
        ("limits", []), ("limits", {"rate_per_s": "5"}), ("limits", {"rate_per_s": 10**400}),
        ("created_s", "1"), ("created_s", None), ("created_s", 10**400), ("created_by", 5),
        ("expires_s", "never"), ("expires_s", float("nan")), ("expires_s", float("inf")), ("expires_s", True),
        ("expires_s", 1e15), ("revoked_s", "1"), ("revoked_s", [1]), ("revoked_s", float("nan")), ("role", "root"),
    ],
)  # fmt: skip
def test_what_is_no_record(field: str, value: object) -> None:
    """Each field has its type, or there is no such key: who reads many passes over this one."""
    with pytest.raises(ValueError, match=r"\w"):
        decode(json.dumps({**PLAIN, field: value}))


def test_a_key_shows_its_id_alone() -> None:
    """Wherever it is printed, logged, or part of an error."""
    for words in (repr(SHOWN), str(SHOWN), f"{SHOWN}", repr([SHOWN])):
        assert SHOWN.id in words
        assert SHOWN.secret not in words


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=5,
)  # fmt: skip


@given(said=st.dictionaries(st.sampled_from(sorted(PLAIN)), _json) | _json)
def test_whatever_a_record_says_it_can_be_judged(said: Any) -> None:  # noqa: ANN401 (any JSON)
    """It is refused when it is read, or a verifier answers by it without a fault."""
    text = json.dumps({**PLAIN, **said} if isinstance(said, dict) else said)
    try:
        record = decode(text)
    except ValueError:
        return
    Verifier([record]).verify(f"Bearer {SHOWN.text}".encode(), 1e9)
    assert decode(record.encode()) == record
