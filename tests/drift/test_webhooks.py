"""Messages of drift: what is sent is what is read, by the schema that is shipped."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from drift import attribution
from drift.errors import Unfit
from drift.webhooks import (
    ACTIONS,
    Action,
    ActionTold,
    Cause,
    Feature,
    Forged,
    Harm,
    Kind,
    LayerTold,
    Links,
    Malformed,
    Part,
    Stale,
    VersionTold,
    WindowTold,
    schema,
    signed,
    verify,
    window_path,
)

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "drift-webhook.schema.json"
SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
NOW_S = 1_800_000_000.0

TOLD = ActionTold(
    episode="5f0c",
    model="digits",
    cause=Cause.CANDIDATE,
    action=Action.ROLLBACK,
    words="digits version 2 answers otherwise than it did in training, and its inputs do not.",
    versions=(
        VersionTold(version=1, role=Part.STABLE),
        VersionTold(
            version=2,
            role=Part.CANDIDATE,
            layers={"prediction": LayerTold(log_sum=9.0, log_alarm=8.1, value=0.3, statistic="tv", since_s=NOW_S)},
        ),
    ),
    findings=("1800000000000-0",),
    features=(Feature(feature="scores[3]", variation=0.3, share=0.8),),
    harm=Harm(shown=False),
    window=WindowTold(from_s=NOW_S - 60, to_s=NOW_S, rows=500, parquet=window_path("5f0c")),
    rollout="r1",
    links=Links(explain="/api/v1/drift/models/digits/versions/2"),
)


def message_of(kind: str, data: object) -> dict[str, Any]:
    """A message as it is sent."""
    return {"type": kind, "timestamp": "2027-01-15T08:00:00+00:00", "data": data}


def sent(message: object) -> tuple[dict[str, str], bytes]:
    """Its headers and its body."""
    body = json.dumps(message).encode()
    return signed([SECRET], "msg_1", NOW_S, body), body


@pytest.mark.parametrize("kind", ACTIONS)
def test_an_action_is_read_as_it_was_sent(kind: Kind) -> None:
    """With its key, by which it is done once."""
    event = verify([SECRET], *sent(message_of(kind, TOLD.model_dump(mode="json"))), NOW_S)
    assert (event.id, event.sent_s, event.kind, event.action) == ("msg_1", NOW_S, kind, TOLD)
    assert event.key == f"{kind}/5f0c"
    assert TOLD.candidate == 2


def test_a_finding_and_a_test_ask_for_nothing() -> None:
    """Their key is the delivery's own id."""
    finding = {"finding": "1-0", "episode": "e", "model": "m", "version": 1, "layer": "schema", "words": "", "span": {}}
    for kind, data in ((Kind.FINDING, finding), (Kind.TEST, {"words": "a test"})):
        event = verify([SECRET], *sent(message_of(kind, data)), NOW_S)
        assert (event.kind, event.action, event.key) == (kind, None, "msg_1")


def test_what_a_newer_release_says_beside_is_passed_over() -> None:
    """Members that nobody knows, on every level."""
    said = TOLD.model_dump(mode="json")
    said["more"] = said["harm"]["more"] = said["versions"][0]["more"] = {"x": [1]}
    assert verify([SECRET], *sent(message_of("drift.retrain", said) | {"more": 1}), NOW_S).action == TOLD


@pytest.mark.parametrize(
    "message",
    [
        None, [], "text", {}, {"type": "drift.retrain"}, message_of("rollout.started", {}),
        message_of("drift.retrain", {}),
        message_of("drift.rollback", TOLD.model_dump(mode="json") | {"episode": "../x"}),
        message_of("drift.retrain", TOLD.model_dump(mode="json") | {"cause": "weather"}),
        message_of("drift.test", {}) | {"timestamp": "yesterday"}, [[[[[[]]]]]] * 1_000,
    ],
)  # fmt: skip
def test_a_genuine_message_of_another_kind_is_malformed(message: object) -> None:
    """It is said, and no value is repeated."""
    with pytest.raises(Malformed) as refused:
        verify([SECRET], *sent(message), NOW_S)
    assert "weather" not in refused.value.sentence
    assert "../x" not in refused.value.sentence


@pytest.mark.parametrize("body", [b"", b"{", b"\x00", b"[" * 100_000, b'{"a": ' * 10_000])
def test_a_genuine_body_that_is_no_json_is_malformed(body: bytes) -> None:
    """However deep it goes."""
    with pytest.raises(Malformed):
        verify([SECRET], signed([SECRET], "msg_1", NOW_S, body), body, NOW_S)


def test_nothing_is_read_of_what_is_forged_or_stale() -> None:
    """Who signed it comes first, then when."""
    headers, body = sent(["no message"])
    with pytest.raises(Forged):
        verify([SECRET], headers, body + b" ", NOW_S)
    with pytest.raises(Stale):
        verify([SECRET], headers, body, NOW_S + 301)


def test_the_shipped_schema_is_that_of_the_messages() -> None:
    """`python -m drift.webhooks` writes it; what is sent passes it."""
    shipped = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert shipped == schema()
    jsonschema.Draft202012Validator.check_schema(shipped)
    validator = jsonschema.Draft202012Validator(shipped)
    validator.validate(message_of("drift.rollback", TOLD.model_dump(mode="json")))
    validator.validate(message_of("drift.test", {}))
    assert not validator.is_valid(message_of("drift.rollback", {}))
    assert not validator.is_valid(message_of("drift.elsewhere", {}))


def test_every_action_of_the_attribution_can_be_told() -> None:
    """And that a rollout was paused."""
    assert {one.value for one in Action} == {one.value for one in attribution.Action} | {"pause"}


def test_an_episode_that_is_no_name_has_no_path() -> None:
    """It would lead elsewhere."""
    assert window_path("ab-1_C") == "/api/v1/drift/episodes/ab-1_C/window.parquet"
    for odd in ("", "a/b", "..", "a b", "a" * 65, "a\n"):
        with pytest.raises(Unfit):
            window_path(odd)
