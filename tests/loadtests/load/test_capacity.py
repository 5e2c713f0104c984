"""The search for a capacity: it ends, and close to what there is."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.load import __main__ as command
from loadtests.load.capacity import MOST_TRIES, WITHIN, Found, Search
from tests.examples import examples
from tests.loadtests.load.places import MODEL, Gateway, served


def found(search: Search, capacity: float) -> Search:
    """The search against a server that keeps its objectives up to that rate."""
    while (rate := search.rate) is not None:
        search = search.with_result(rate, kept=rate <= capacity)
    return search


@settings(max_examples=examples(100))
@given(st.floats(2, 20_000), st.floats(1, 500))
def test_it_comes_close_from_anywhere(capacity: float, first: float) -> None:
    """Within 5 % below, never above, wherever it begins, in a bounded number of tries."""
    search = found(Search(first, 100_000), capacity)
    assert search.kept <= capacity < search.missed
    assert search.missed / search.kept <= 1 + WITHIN
    assert search.tries <= MOST_TRIES


def test_nothing_that_is_kept_is_no_capacity() -> None:
    """A server that misses its objectives at one request a second has none."""
    search = found(Search(50), 0.0)
    assert (search.kept, search.rate) == (0.0, None)


def test_no_rate_above_the_highest_is_tried() -> None:
    """The answer then is that one, and the lowest that was missed is unknown."""
    search = found(Search(50, 120), 1_000)
    assert (search.kept, search.missed) == (120, math.inf)


def test_a_first_rate_above_the_highest_is_refused() -> None:
    """So is one below 1 a second."""
    for first, most in ((200.0, 100.0), (0.5, 100.0)):
        with pytest.raises(ValueError, match="first rate"):
            Search(first, most)


def typed(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, *more: str, late: bool = False) -> int:
    """A search against versions that carry 200 and 100 a second, by a generator that may be late beyond 90."""

    def tried(_given: object, _control: object, version: int, rate: float) -> object:
        problems = [] if rate <= 200 / version else ["too slow"]
        return SimpleNamespace(problems=problems, generator_late=late and rate > 90)

    monkeypatch.setattr(command, "_tried", tried)
    places = ["--gateway", gateway.url, "--url", gateway.url]
    return command.main(["capacity", MODEL, "--slo", "p99=50ms", *places, *more])


def test_what_each_replica_carries_is_recorded_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each version with traffic is tried, and half of its rate recorded for each of its two replicas."""
    with served(Gateway()) as gateway:
        assert typed(gateway, monkeypatch, "--record", "--json") == 0
    said = json.loads(capsys.readouterr().out)["versions"]
    for version, carries in ((1, 200), (2, 100)):
        assert carries / (1 + WITHIN) <= said[str(version)]["rps"] <= carries
        assert said[str(version)]["per_replica"] == said[str(version)]["rps"] / 2
    assert [path for _, path, _ in gateway.calls] == [f"/api/v1/models/{MODEL}/versions/{one}/deploy" for one in (1, 2)]
    assert gateway.calls[0][2]["options"] == {"carries_rps": round(said["1"]["per_replica"], 3)}


def test_what_cannot_be_recorded_is_told_and_the_search_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What both versions carry is printed all the same; the exit code says that something is missing."""
    with served(Gateway(refuses_changes=True)) as gateway:
        assert typed(gateway, monkeypatch, "--record", "--json") == 1
    told = capsys.readouterr()
    assert set(json.loads(told.out)["versions"]) == {"1", "2"}
    assert "version 1 carries is not recorded" in told.err
    assert "may not operate" in told.err


@pytest.mark.parametrize("more", [["--from", "0.5"], ["--each", "30d"], ["--from", "200", "--most", "100"]])
def test_a_search_that_cannot_be_is_wrong_usage(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and a sentence, before anything is asked."""
    with pytest.raises(SystemExit) as ended:
        command.main(["capacity", MODEL, "--slo", "p99=50ms", *more])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_rate_too_low_for_one_decimal_is_recorded_as_what_the_option_takes() -> None:
    """One request a second over a hundred replicas is no 0."""
    assert Found(1, Search(1.0, kept=1.0), 100).recorded == 0.01
    assert Found(1, Search(1.0), 100).recorded is None


def test_nothing_is_recorded_without_being_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is offered: the sentence shows the command."""
    with served(Gateway()) as gateway:
        assert typed(gateway, monkeypatch, "--version", "2") == 0
    assert not gateway.calls
    assert f"sluice models deploy {MODEL} 2 --option carries_rps=" in capsys.readouterr().err


def test_a_generator_that_is_late_finds_a_lower_bound_and_records_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it could not send says nothing of the version."""
    with served(Gateway()) as gateway:
        assert typed(gateway, monkeypatch, "--version", "2", "--record", late=True) == 0
    assert not gateway.calls
    told = capsys.readouterr()
    assert "at least" in told.out
    assert "nothing is recorded" in told.err
