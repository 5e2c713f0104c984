"""What is typed becomes the run that it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.load.options import checked, parser, spec_from
from loadtests.load.records import Kind
from loadtests.load.spec import Place, Spec


def typed(folder: Path, *words: str) -> Spec:
    """The run of these words."""
    made = parser()
    given = made.parse_args(["m", *words])
    return spec_from(given, checked(given, made.error), Place("http://h:1"), folder)


def test_a_run_is_as_it_was_typed(tmp_path: Path) -> None:
    """Rates, times, shares and headers."""
    spec = typed(
        tmp_path, "--rps", "500", "--for", "2m", "--mix", "json=60%,grpc=40%", "-H", "X-Tier: gold", "--timeout", "5s",
        "--processes", "3", "--connections", "10",
    )  # fmt: skip
    assert (spec.shape.peak, spec.shape.seconds, spec.closed, spec.synthetic) == (500, 120, False, True)
    assert spec.mix == {Kind.JSON: 0.6, Kind.GRPC: 0.4}
    assert spec.headers == {"x-tier": "gold"}
    assert spec.timeout_s == 5
    assert Spec.decode(spec.encode()) == spec


def test_every_worker_has_a_user_for_each_kind(tmp_path: Path) -> None:
    """However few connections there are: each has requests of each kind that nobody else sends."""
    spec = typed(
        tmp_path, "--rps", "5", "--mix", "json=98%,grpc=1%,binary=1%", "--processes", "4", "--connections", "9"
    )
    assert all(count >= 4 and count % 4 == 0 for count in spec.users.values())
    assert set(spec.users) == set(Kind)


def test_a_recorded_day_has_the_peak_that_was_typed(tmp_path: Path) -> None:
    """A count on each line; users where users were typed."""
    day = tmp_path / "day.txt"
    day.write_text("10\n40\n20\n")
    spec = typed(tmp_path, "--users", "8", "--for", "10s", "--recorded", str(day))
    assert spec.closed
    assert [spec.shape.rate(at_s) for at_s in (0, 5, 10)] == [2, 8, 4]


@pytest.mark.parametrize(
    "words",
    [
        ["--mix", "json=50%,json=50%"], ["--mix", "soap"], ["--for", "0s"], ["--timeout", "0s"], ["-H", "no colon"],
        ["-H", "bad name: x"], ["-H", "Sluice-Synthetic: 0"], ["--processes", "0"], ["--units", "-1"], ["--for", "10"],
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the sentence names the option."""
    with pytest.raises(SystemExit):
        typed(tmp_path, "--rps", "5", *words)
    assert words[0] in capsys.readouterr().err


def test_a_record_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Words, bytes that are no text, and zeros."""
    day = tmp_path / "day.txt"
    for said in (b"ten\n", b"\xff\xfe", b"0\n0\n", b"nan\n1\n", b""):
        day.write_bytes(said)
        with pytest.raises(SystemExit):
            typed(tmp_path, "--rps", "5", "--recorded", str(day))
        assert "no shape" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        typed(tmp_path, "--rps", "5", "--recorded", str(tmp_path / "none.txt"))
    assert "none.txt cannot be read: No such file or directory" in capsys.readouterr().err
