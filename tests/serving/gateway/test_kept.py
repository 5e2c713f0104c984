"""The snapshot on disk belongs to one namespace: another installation's is not served by."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from router.codec import digest_of, encode_policy, encode_snapshot
from router.epoch import EMPTY, Head
from router.policy import Policy
from serving.endpoint import Endpoint
from serving.gateway.kept import Kept, keep, recall
from serving.leases import Recovery

POLICY = encode_policy(Policy(1, salt="s"))
SNAPSHOT = encode_snapshot(EMPTY.with_policy("m", digest_of(POLICY), parent=""))
KEPT = Kept(
    Recovery(Head(1, digest_of(SNAPSHOT), ""), SNAPSHOT, {digest_of(POLICY): POLICY}),
    (Endpoint("127.0.0.1", 9_001, 0, "m", 1),),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What was kept of the namespace `west`."""
    path = tmp_path / "state" / "snapshot.json"
    keep(str(path), "west", *KEPT)
    return path


def test_what_was_kept_is_recalled(file: Path) -> None:
    """By whoever has the same namespace, and readable by its owner alone."""
    assert recall(str(file), "west") == KEPT
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_another_namespace_ran_is_not_recalled(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A state folder that is used again for another installation; the log says why nothing is there."""
    with caplog.at_level(logging.WARNING):
        assert recall(str(file), "east") is None
    assert "of namespace 'west': not used for east" in caplog.text


def test_what_an_older_release_kept_is_recalled(file: Path) -> None:
    """It named no namespace; a release is not installed to lose what gateways start from."""
    said = json.loads(file.read_text())
    del said["namespace"]
    file.write_text(json.dumps(said))
    assert recall(str(file), "west") == recall(str(file), "east") == KEPT


@pytest.mark.parametrize("said", ["[1, 2]", "null", "3", '{"namespace": "west"}', '{"namespace": ["west"]}', "{", ""])
def test_what_cannot_be_used_is_passed_over(file: Path, said: str) -> None:
    """With a line in the log, never an error: the store's is taken as ever."""
    file.write_text(said)
    assert recall(str(file), "west") is None
    assert recall(str(file.parent / "none.json"), "west") is None
    assert recall("", "west") is None
