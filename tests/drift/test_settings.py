"""The drift section says what it takes, for all models and for one, and travels to the sidecar without webhooks."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from drift.settings import DriftSettings, Installation


def test_a_model_may_be_watched_otherwise_than_all() -> None:
    """What is left out for it is as for all."""
    said: dict[str, Any] = {
        "floor": 0.2,
        "models": [{"name": "a", "false_alarm_days": 7}, {"name": "b", "enabled": False}],
    }
    settings = DriftSettings.model_validate(said)
    assert (settings.of("a").floor, settings.of("a").false_alarm_days) == (0.2, 7.0)
    assert settings.of("c").false_alarm_days == 30.0
    assert [settings.watches(name) for name in ("a", "b", "c")] == [True, False, True]


def test_one_model_may_be_watched_where_none_is() -> None:
    """`enabled` is a model's as well."""
    settings = DriftSettings.model_validate({"enabled": "false", "models": [{"name": "a", "enabled": True}]})
    assert [settings.watches(name) for name in ("a", "b")] == [True, False]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"learn_rows": 50}, "it takes 0 (never), or 2,000 and more"),
        ({"floor": 10**400}, "it takes a number from 0 to 1"),
        ({"floor": "much"}, "it takes a number from 0 to 1"),
        ({"false_alarm_days": True}, "it takes a number from"),
        ({"quiet_windows": 0}, "it takes a whole number from 1 to 1000"),
        ({"window": {"rows": 1}}, "it takes a whole number from 2"),
        ({"enabled": "yes"}, "it takes true or false"),
        ({"backend": "alibi:Other"}, "alibi:KSDrift"),
        ({"webhooks": [{"url": "ftp://a", "secret_file": "s"}]}, "it takes http://host/path"),
        ({"webhooks": [{"url": "https://a", "secret_file": "s", "name": "a\n"}]}, "a name of up to 64 characters"),
        ({"webhook_pauses": []}, "it takes 1 to 32 pauses"),
        ({"webhook_pauses": [0]}, "it takes a number from 0.05 to 604800"),
        ({"webhook_pauses": [1.0] * 33}, "it takes 1 to 32 pauses"),
        ({"captured_bytes": -1}, "it takes a whole number from 0"),
        ({"models": [{"name": "a"}, {"name": "a"}]}, "the model a is there twice"),
        ({"unknown": 1}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_is_refused_in_words(said: dict[str, Any], sentence: str) -> None:
    """Each key with what it takes."""
    with pytest.raises(ValidationError) as refused:
        DriftSettings.model_validate(said)
    assert sentence in str(refused.value)


def test_the_sidecar_is_told_all_but_webhooks_and_shows_no_password() -> None:
    """What it reads is what was written; `repr` has neither address nor webhook."""
    said: dict[str, Any] = {"webhooks": [{"url": "https://h/secret", "secret_file": "f"}], "models": [{"name": "a"}]}
    told = Installation(redis_url=SecretStr("redis://:pw@h/0"), drift=DriftSettings.model_validate(said))
    read = Installation.model_validate_json(told.to_json())
    assert read.redis_url.get_secret_value() == "redis://:pw@h/0"
    assert read.drift == told.drift.model_copy(update={"webhooks": ()})
    assert "pw" not in repr(told)
    assert "secret" not in told.to_json() + repr(told).replace("secret_file", "")
    assert "pauses" not in told.to_json()
