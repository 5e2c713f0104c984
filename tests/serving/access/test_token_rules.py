"""Rules for tokens are a value that cannot check too little, and travels as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serving.access.config import TokenRules
from serving.access.roles import Role


def test_they_travel() -> None:
    """What is read is what was written, and rules that say only what they must get the rest by default."""
    rules = TokenRules("https://i", "a", ("ES256",), 5.0, "r", {"x": "operate"}, "predict", "m")
    assert TokenRules.from_dict(json.loads(json.dumps(rules.as_dict()))) == rules
    assert TokenRules.from_dict({"issuer": "https://i", "audience": "a"}) == TokenRules("https://i", "a")


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": ""}, {"audience": ""}, {"algorithms": ["HS256"]}, {"algorithms": ["RS256", "none"]},
        {"algorithms": []}, {"algorithms": 5}, {"leeway_s": -1}, {"leeway_s": 301}, {"leeway_s": float("nan")},
        {"roles": {"a": "admin"}}, {"roles": 5}, {"default_role": "root"}, {"default_role": ""}, {"other": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_refused(said: dict[str, Any]) -> None:
    """Rules that would check too little, or that nobody can read, cannot be made."""
    with pytest.raises(ValueError, match=r"\w"):
        TokenRules.from_dict({"issuer": "https://i", "audience": "a", **said})


def test_roles() -> None:
    """The three names stand for themselves unless the rules say otherwise."""
    rules = TokenRules("https://i", "a", roles={"ml": "administer", "predict": "operate"})
    assert [rules.role(name) for name in ("ml", "predict", "operate", "x")] == [
        Role.ADMINISTER, Role.OPERATE, Role.OPERATE, None,
    ]  # fmt: skip
    assert rules.default is None
