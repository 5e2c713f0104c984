"""`sluice payloads` and `sluice replay`: what they read, what they send, what they show, and how they end."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.keeping.decoding import Tensors, request_in
from serving.payloads.counts import Counts, write_counts
from serving.payloads.files import finished_in
from serving.payloads.log import PayloadLog
from serving.payloads.reading import rows_in
from serving.payloads.requests import rebuilt, why_not
from serving.payloads.rows import rows_of
from serving.payloads.rules import Kept
from tests.examples import examples
from tests.serving.payloads.gateway import FakeGateway, serving
from tests.serving.payloads.made import NOW_S, answered, body, captured, rules
from tests.serving.test_cli import Command, sluice

__all__ = ["sluice"]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a log with ten requests of `fraud`, of which the fourth was copied, and one of `other`."""
    monkeypatch.chdir(tmp_path)
    for name in ("SLUICE_CONFIG", "SLUICE_URL", "SLUICE_KEY", "SLUICE_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / ".sluice" / "payloads"
    keep(folder, *range(10))
    return folder


def keep(folder: Path, *nonces: int, redact: tuple[str, ...] = (), at_s: float = NOW_S) -> None:
    """Keeps requests whose score was half of the amount, and one of another model."""
    written = PayloadLog(rules(folder), NOW_S)
    for nonce in nonces:
        one = captured(
            nonce,
            request=body("inputs", amount=("FP32", [float(nonce), 1.0])),
            first=answered(body=body("outputs", score=("FP32", [nonce / 2, 0.5]))),
            copies=(answered(2),) if nonce == 3 else (),
            at_s=at_s + nonce,
        )
        written.add(rows_of(one, Kept.DISAGREEMENT if nonce == 3 else Kept.SAMPLE, redact), NOW_S)
    written.add(rows_of(captured(999, model="other"), Kept.ERROR), NOW_S)
    written.close(NOW_S)


@pytest.fixture
def gateway(log: Path) -> Iterator[tuple[FakeGateway, list[str]]]:
    """A gateway, and the options that lead a replay to it without a pause."""
    fake = FakeGateway()
    with serving(fake) as address:
        yield fake, ["--gateway", address, "--rate", "0"]


Gateway = tuple[FakeGateway, list[str]]


def test_list_says_what_there_is(sluice: Command, log: Path) -> None:
    """By model and version, what was dropped, and that nothing is kept at present."""
    dropped = Counts()
    dropped.dropped["queue"] += 12
    write_counts(log, "gone", dropped, NOW_S)
    ran = sluice("payloads", "list")
    assert ran.code == 0
    assert "3 files, 12 rows" in ran.out
    assert "dropped: queue 12" in ran.out
    assert "payloads.enabled is false" in ran.out
    said = json.loads(sluice("payloads", "list", "fraud", "--json").out)
    assert [(one["model"], one["version"], one["rows"]) for one in said["versions"]] == [
        ("fraud", 1, 10),
        ("fraud", 2, 1),
    ]
    assert (said["versions"][0]["from"], said["versions"][0]["to"]) == (
        "2025-11-22T08:26:40+00:00",
        "2025-11-22T08:26:49+00:00",
    )
    assert said["files"][0]["tensors"] == {"input.amount": "FP32", "output.score": "FP32"}
    assert sluice("payloads", "list", "--files").out.count(".parquet") == 3


def test_list_of_a_log_that_is_not_there(sluice: Command, log: Path, tmp_path: Path) -> None:
    """Is empty, and no mistake."""
    ran = sluice("payloads", "list", "--folder", str(tmp_path / "nowhere"))
    assert ran.code == 0
    assert "0 files, 0 rows" in ran.out


def test_a_log_that_may_not_be_read_is_not_called_empty(
    sluice: Command, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It belongs to somebody else."""
    monkeypatch.setattr("os.access", lambda *_: False)
    for words in (["payloads", "list"], ["replay", "fraud", "--version", "1"]):
        ran = sluice(*words)
        assert (ran.code, "may not be read by this user" in ran.err, "Traceback" in ran.err) == (1, True, False)


def test_show_finds_a_request_wherever_it_is(sluice: Command, log: Path) -> None:
    """With its copy's answer."""
    said = json.loads(sluice("payloads", "show", "--request-id", "id-3", "--json").out)
    assert sorted((one["answered"], one["role"], one["kept"]) for one in said["rows"]) == [
        (1, "first", "disagreement"), (2, "shadow", "disagreement"),
    ]  # fmt: skip
    first = next(one for one in said["rows"] if one["role"] == "first")
    assert first["inputs"]["amount"] == {"datatype": "FP32", "shape": [2], "values": [3.0, 1.0]}
    ran = sluice("payloads", "show", "--request-id", "id-77")
    assert (ran.code, "No file in" in ran.err, "Traceback" in ran.err) == (1, True, False)


def test_show_of_a_file(sluice: Command, log: Path) -> None:
    """Some rows of it, as many as are asked for; long tensors are cut."""
    file = next(one.path for one in finished_in(log, "fraud"))
    ran = sluice("payloads", "show", str(file), "--rows", "2")
    assert ran.code == 0
    assert ran.out.count("kept as sample") == 2
    assert "input amount [2]: 0.0, 1.0" in ran.out


def test_what_is_shown_cannot_command_a_terminal(sluice: Command, log: Path, tmp_path: Path) -> None:
    """Escape sequences in a value stay what they are: text. NaN is one in JSON, and bytes are base64."""
    folder = tmp_path / "other"
    written = PayloadLog(rules(folder), NOW_S)
    said = body("outputs", note=("BYTES", ["\x1b[2Jboo\x9b31m"]), score=("FP64", [math.nan]))
    written.add(rows_of(captured(1, first=answered(body=said)), Kept.SAMPLE), NOW_S)
    written.close(NOW_S)
    for more in ([], ["--json"]):
        ran = sluice("payloads", "show", "--request-id", "id-1", "--folder", str(folder), *more)
        assert ran.code == 0
        assert not {"\x1b", "\x9b"} & set(ran.out)
        assert "boo" in ran.out
    assert json.loads(ran.out)["rows"][0]["outputs"]["score"]["values"] == ["nan"]


@pytest.mark.parametrize("what", ["missing", "text", "strange", "folder"])
def test_what_is_no_file_of_a_log_is_told_in_a_sentence(what: str, sluice: Command, log: Path, tmp_path: Path) -> None:
    """Nothing there, no Parquet, Parquet of somebody else, a folder."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    path = tmp_path / what
    if what == "text":
        path.write_text("hello")
    if what == "strange":
        pq.write_table(pa.table({"a": [1]}), path)
    if what == "folder":
        path.mkdir()
    ran = sluice("payloads", "show", str(path))
    assert (ran.code, "Traceback" in ran.err, ran.out) == (1, False, "")
    assert str(path) in ran.err


def test_a_replay_sends_every_request_once_and_finds_the_same(sluice: Command, gateway: Gateway) -> None:
    """To the version that is named, marked synthetic; copies are not sent, and other models' requests neither."""
    fake, to = gateway
    ran = sluice("replay", "fraud", "--version", "7", "--compare", *to, "--json")
    said = json.loads(ran.out)
    assert ran.code == 0
    assert (said["sent"], said["answered"], said["same"], said["differ"], said["failed"]) == (10, 10, 10, 0, {})
    assert set(fake.asked) == {"/v2/models/fraud/versions/7/infer"}
    assert fake.marks == [True] * 10
    assert said["marked"]


def test_a_replay_says_what_is_answered_otherwise(sluice: Command, gateway: Gateway) -> None:
    """By output, with the ids of some requests, and the exit code is 1."""
    fake, to = gateway
    fake.model = lambda inputs: [float(one) / 2 + (one > 7) for one in inputs["amount"].values]
    ran = sluice("replay", "fraud", "--version", "2", "--compare", *to, "--json")
    said = json.loads(ran.out)
    assert ran.code == 1
    assert (said["same"], said["differ"], sorted(said["differing"])) == (8, 2, ["id-8", "id-9"])
    assert said["outputs"] == {"score": {"compared": 10, "differ": 2, "kinds": {"values": 2}, "largest": 1.0}}
    plain = sluice("replay", "fraud", "--version", "2", "--compare", *to)
    assert (plain.code, "the same 8, otherwise 2" in plain.out, "id-8" in plain.out) == (1, True, True)


def test_rules_decide_what_is_the_same(sluice: Command, gateway: Gateway) -> None:
    """As they do for shadows: a tolerance, or an output that is not compared."""
    fake, to = gateway
    fake.model = lambda inputs: [float(one) / 2 + 0.01 for one in inputs["amount"].values]
    asked = ["replay", "fraud", "--version", "2", "--compare", *to]
    assert sluice(*asked).code == 1
    assert sluice(*asked, "--rule", "score=close:0,0.02").code == 0
    assert sluice(*asked, "--rule", "score=argmax").code == 0
    ignored = sluice(*asked, "--rule", "score=ignore", "--json")
    assert (ignored.code, json.loads(ignored.out)["uncompared"]) == (0, 10)


def test_without_comparison_answers_are_only_counted(sluice: Command, gateway: Gateway) -> None:
    """Whatever they are."""
    fake, to = gateway
    fake.model = lambda _: [9.0]
    ran = sluice("replay", "fraud", "--version", "2", *to, "--json")
    assert (ran.code, json.loads(ran.out)["compared"], json.loads(ran.out)["answered"]) == (0, 0, 10)


def test_a_key_that_may_not_mark_sends_without_the_mark(sluice: Command, gateway: Gateway) -> None:
    """And says so."""
    fake, to = gateway
    fake.may_mark = False
    ran = sluice("replay", "fraud", "--version", "2", *to)
    assert ran.code == 0
    assert fake.marks == [True] + [False] * 10
    assert "not marked synthetic" in ran.out


def test_failures_are_counted_by_their_status(sluice: Command, gateway: Gateway) -> None:
    """The exit code is 1."""
    fake, to = gateway
    fake.status = 503
    ran = sluice("replay", "fraud", "--version", "2", *to, "--json")
    assert (ran.code, json.loads(ran.out)["failed"]) == (1, {"503": 10})


def test_what_the_gateway_refuses_altogether_is_asked_once(sluice: Command, gateway: Gateway) -> None:
    """A version that is not there: one request, and the gateway's own sentence."""
    fake, to = gateway
    fake.status = 404
    ran = sluice("replay", "fraud", "--version", "99", *to)
    assert (ran.code, len(fake.asked), "It is not well." in ran.err, "Traceback" in ran.err) == (1, 1, True, False)


def test_no_gateway_is_told_in_a_sentence(sluice: Command, log: Path) -> None:
    """With what to do."""
    ran = sluice("replay", "fraud", "--version", "2", "--gateway", "http://127.0.0.1:9")
    assert (ran.code, "No gateway answers" in ran.err, "Traceback" in ran.err) == (1, True, False)


def test_rows_can_be_chosen(sluice: Command, gateway: Gateway, tmp_path: Path) -> None:
    """By time, by why they are kept, by version, by number, by file and folder."""
    _, to = gateway
    log = tmp_path / ".sluice" / "payloads"
    first = next(one.path for one in finished_in(log, "fraud") if one.version == 1)

    def sent(*more: str) -> int:
        ran = sluice("replay", "fraud", "--version", "2", *to, *more, "--json")
        return int(json.loads(ran.out)["sent"]) if ran.out else 0

    assert sent("--kept", "disagreement") == 1
    assert sent("--limit", "4") == 4
    assert sent("--since", "1h") == 0
    assert sent("--of-version", "2") == 0
    assert sent("--from", str(first)) == sent("--from", str(first.parent)) == sent("--from", str(log)) == 10
    keep(log, 20, 21, at_s=time.time())
    assert sent("--since", "1h") == 2


def test_redacted_requests_are_not_sent(sluice: Command, gateway: Gateway, tmp_path: Path) -> None:
    """They are counted; where nothing is left, that is told."""
    fake, to = gateway
    keep(tmp_path / "hidden", 1, 2, redact=("amount",))
    ran = sluice("replay", "fraud", "--version", "2", *to, "--from", str(tmp_path / "hidden"))
    assert (ran.code, fake.asked) == (1, [])
    assert "2 cannot be sent: redacted" in ran.err


def test_redacted_outputs_are_not_compared(sluice: Command, gateway: Gateway, tmp_path: Path) -> None:
    """There is nothing to hold an answer against."""
    _, to = gateway
    keep(tmp_path / "hidden", 1, 2, redact=("score",))
    ran = sluice("replay", "fraud", "--version", "2", *to, "--compare", "--from", str(tmp_path / "hidden"), "--json")
    said = json.loads(ran.out)
    assert (ran.code, said["sent"], said["compared"], said["uncompared"]) == (0, 2, 0, 2)


@pytest.mark.parametrize(
    "options",
    [
        ["--rule", "score=exact"], ["--compare", "--rule", "score"], ["--compare", "--rule", "score=nearly"],
        ["--kept", "boredom"], ["--since", "1"], ["--rate", "-1"], ["--rate", "inf"], ["--rate", "nan"],
        ["--at-once", "0"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_told_before_anything_is_sent(options: list[str], sluice: Command, gateway: Gateway) -> None:
    """Exit code 2, a sentence, no traceback."""
    fake, to = gateway
    ran = sluice("replay", "fraud", "--version", "2", *to, *options)
    assert (ran.code, fake.asked, "Traceback" in ran.err) == (2, [], False)


_TENSORS = st.sampled_from([
    ("FP32", [1.5, -0.0]), ("FP64", [1e300]), ("INT64", [-(2**63), 2**63 - 1]), ("UINT8", [255]),
    ("BOOL", [True, False]), ("BYTES", ["é", ""]), ("INT32", []),
])  # fmt: skip


@settings(max_examples=examples(60))
@given(st.dictionaries(st.sampled_from(["a", "b.c", "é/d"]), _TENSORS, min_size=1))
def test_a_request_is_rebuilt_as_it_was(tensors: dict[str, tuple[str, list[object]]]) -> None:
    """Through rows, a file and binary: the same names, types, shapes and values."""
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        written = PayloadLog(rules(Path(folder)), NOW_S)
        written.add(rows_of(captured(1, request=body("inputs", **tensors)), Kept.SAMPLE), NOW_S)
        written.close(NOW_S)
        [row] = rows_in(one.path for one in finished_in(Path(folder)))
    assert why_not(row) == ""
    made = rebuilt(row)
    lines = "".join(f"{name}: {value}\r\n" for name, value in made.headers.items()).encode()
    found = request_in("http", lines, made.body).inputs
    assert plain(found) == plain(request_in("http", b"", body("inputs", **tensors)).inputs)


def plain(tensors: Tensors) -> dict[str, tuple[str, tuple[int, ...], list[object]]]:
    """Comparable."""
    return {name: (one.datatype, one.shape, one.values.tolist()) for name, one in tensors.items()}
