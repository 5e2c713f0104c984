"""What SECURITY.md points at is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "SECURITY.md").read_text()


def test_every_proof_is_there() -> None:
    """Each attack in the table names tests, and each of these exists."""
    rows = [row for row in TEXT.split("## Attacks")[1].split("\n\n")[1].splitlines()[2:] if row.startswith("|")]
    assert rows
    for row in rows:
        proofs = re.findall(r"`(tests/[^`]+)`", row.split("|")[3])
        assert proofs, row
        assert [proof for proof in proofs if not (ROOT / proof).is_file()] == [], row


def test_every_setting_that_is_named_is_there() -> None:
    """By its key in the example, which a test holds against the settings."""
    example = (ROOT / "docs" / "sluice.example.yaml").read_text()
    named = re.findall(r"`(?:access|tls|control|registry|redis)\.([a-z_]+)", TEXT)
    assert named
    assert [key for key in named if not re.search(rf"^\s*#?\s*{key}:", example, flags=re.MULTILINE)] == []


def test_no_address_is_made_up() -> None:
    """Reports go where the repository is."""
    assert re.findall(r"[\w.]+@[\w.]+|https?://\S+", TEXT) == []
