"""The command: exit codes, what it prints, and what it asks of the control API, over a real socket."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from serving import cli
from serving.errors import AlreadyRunning
from serving.settings import Settings

READ: dict[str, Any] = {
    "model": "digits",
    "revision": 7,
    "epoch": 9,
    "policy": {"stable": 1, "arms": [{"version": 2, "share_ppm": 125_000}], "unit_header": "sluice-unit"},
}
STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "epoch": 9,
    "digest": "d",
    "gateways": [
        {
            "id": "g-1",
            "host": "127.0.0.1",
            "http_port": 8000,
            "epoch": 8,
            "digest": "c",
            "current": False,
            "workers": 2,
            "connections": 3,
            "in_flight": 1,
            "requests": {"digits/1": 1234},
            "held": "no [contact]",
        }
    ],
    "endpoints": [],
    "models": [
        {
            "name": "digits",
            "revision": 7,
            "stable": 1,
            "shares": {"1": 999_900, "2": 100},
            "versions": [
                {"version": 1, "ready": 1, "source": "pool", "asleep": False},
                {"version": 2, "ready": 0, "source": "static", "asleep": True},
            ],
        }
    ],
    "pools": [
        {
            "model": "digits",
            "version": 2,
            "state": "DEPLOYING",
            "message": "loading",
            "ready": 0,
            "wanted": 2,
            "crashes": 3,
            "last_words": "no memory",
        }
    ],
    "store": {"reachable": True, "warnings": ["appendfsync is everysec"]},
}
EXPLAIN = {"version": 2, "reason": "arm", "bucket": 123456, "words": "its bucket is the arm's"}
PROBLEM = {"type": "about:blank", "title": "Changed", "status": 409, "detail": "changed", "hint": ""}


class Control:
    """A control API that answers from a table and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {
            "GET /api/v1/status": (200, STATUS),
            "GET /api/v1/models/digits/policy": (200, READ),
            "GET /api/v1/models/digits/explain": (200, EXPLAIN),
            "POST /api/v1/models/digits/explain": (200, EXPLAIN),
        }
        self.asked: list[str] = []
        self.written: list[tuple[str | None, dict[str, Any]]] = []
        control = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                control.asked.append(f"GET {self.path}")
                self._answer(*control.answers.get(f"GET {self.path.partition('?')[0]}", (404, {})))

            def do_PUT(self) -> None:
                control.asked.append(f"PUT {self.path}")
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                control.written.append((self.headers["if-match"], body))
                done = {"of": 3, "by": 3, "expired": [], "waiting": []}
                changed = {
                    **READ,
                    "revision": 8,
                    "epoch": 10,
                    "acknowledged": done,
                    "durable": True,
                    "took_ms": 23.4,
                    **body,
                }
                self._answer(*control.answers.get("PUT", (200, changed)))

            def do_POST(self) -> None:
                control.asked.append(f"POST {self.path}")
                control.written.append((None, json.loads(self.rfile.read(int(self.headers["content-length"])))))
                self._answer(*control.answers.get(f"POST {self.path}", (404, {})))

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture(autouse=True)
def _an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SLUICE_CONFIG", "SLUICE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    """A control API on a port of its own, which SLUICE_URL names."""
    control = Control()
    thread = threading.Thread(target=control.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("SLUICE_URL", control.url)
    yield control
    control.server.shutdown()
    control.server.server_close()
    thread.join()


@dataclass(frozen=True)
class Ran:
    """What a command printed, and its exit code."""

    code: object
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture
def sluice(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command with these words, in this process."""

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["sluice", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ran(ended.value.code or 0, *capsys.readouterr())

    return run


def test_help_brings_nothing_slow() -> None:
    """Importing the command imports no Ray, no torch, no HTTP client and no pydantic: its help is there at once."""
    slow = "{'ray', 'torch', 'httpx', 'pydantic', 'numpy', 'fastapi', 'rich.table'}"
    code = f"import sys, serving.cli; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_status_shows_everything_at_a_glance(sluice: Command, control: Control) -> None:
    """Shares to the last part per million, who is behind and why, and pools that are not there yet."""
    ran = sluice("status")
    assert ran.code == 0
    for words in (
        "epoch 9",
        "99.99 %",
        "0.01 %",
        "g-1",
        "8 (behind: no [contact])",
        "digits/1: 1,234",
        "asleep",
        "0 of 2",
        "loading no memory",
        "warning: appendfsync",
    ):
        assert words in ran.out


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["status"], STATUS),
        (["traffic", "show", "digits"], READ),
        (["explain", "digits", "--unit", "u"], EXPLAIN),
    ],
)
def test_json_is_printed_alone(sluice: Command, control: Control, words: list[str], answer: dict[str, Any]) -> None:
    """Every reading command prints the API's own answer with --json, and nothing else."""
    ran = sluice(*words, "--json")
    assert (ran.code, json.loads(ran.out), ran.err) == (0, answer, "")


def test_traffic_show_is_exact(sluice: Command, control: Control) -> None:
    """12.5 % is not rounded."""
    ran = sluice("traffic", "show", "digits")
    assert "12.5 %" in ran.out
    assert "87.5 %" in ran.out
    assert "revision 7, epoch 9" in ran.out


def test_traffic_set_writes_over_what_it_read(sluice: Command, control: Control) -> None:
    """The revision that was read goes along, and the answer says who runs it by now."""
    ran = sluice("traffic", "set", "digits", "2=50%")
    assert ran.code == 0
    arms = [{"version": 2, "share_ppm": 500_000}]
    assert control.written == [('"7"', {"policy": {"stable": 1, "arms": arms, "unit_header": "sluice-unit"}})]
    assert control.asked[-1] == "PUT /api/v1/models/digits/policy?wait_s=2"
    assert "3 of 3 gateway workers run epoch 10 (23 ms)" in ran.out


def test_traffic_set_says_who_does_not_run_it_yet(sluice: Command, control: Control) -> None:
    """By name, and whether their lease ran out or they are still awaited."""
    done = {"of": 3, "by": 1, "expired": ["g-2"], "waiting": ["g-3"]}
    control.answers["PUT"] = (200, {**READ, "acknowledged": done, "durable": False, "took_ms": 2000.0})
    ran = sluice("traffic", "set", "digits", "2=0")
    assert "1 of 3 gateway workers run epoch 9 (2000 ms), lease expired: g-2, still waiting for: g-3" in ran.out
    assert "did not confirm that the change is on disk" in ran.out


def test_traffic_set_never_writes_over_somebody_else(sluice: Command, control: Control) -> None:
    """Who came second is told what is there now, with exit code 1, and there is no second attempt."""
    control.answers["PUT"] = (409, {**PROBLEM, "current": {"revision": 8, "policy": READ["policy"]}})
    ran = sluice("traffic", "set", "digits", "2=50%")
    assert ran.code == 1
    assert "somebody else was faster" in ran.err
    assert "revision 8 is 1: 87.5 %, 2: 12.5 %" in ran.err
    assert len(control.written) == 1


@pytest.mark.parametrize(
    ("shares", "code", "words"),
    [
        (["2=60%", "3=50%"], 1, "sum to 110 %"),
        (["2=10%", "2=20%"], 1, "version 2 is named twice"),
        (["2"], 2, "VERSION=SHARE"),
        (["2=0.5"], 2, "no share"),
        ([], 2, "Missing argument"),
    ],
)
def test_shares_that_cannot_be_are_refused_before_any_call(
    sluice: Command,
    control: Control,
    shares: list[str],
    code: int,
    words: str,
) -> None:
    """Impossible shares are refused (1), and what is no share at all is wrong usage (2); nobody is asked."""
    ran = sluice("traffic", "set", "digits", *shares)
    assert ran.code == code
    assert words in ran.err
    assert control.asked == []


def test_an_unknown_version_is_refused_before_anything_is_written(sluice: Command, control: Control) -> None:
    """With the versions that there are."""
    ran = sluice("traffic", "set", "digits", "5=1%")
    assert (ran.code, ran.err) == (1, "error: digits has no version 5\nhint: its versions are 1, 2\n")
    assert control.written == []


def test_explain_passes_unit_and_headers_on(sluice: Command, control: Control) -> None:
    """And says the version, the reason and the bucket."""
    ran = sluice("explain", "digits", "--unit", "customer-7", "-H", "country: de", "-H", "x:y")
    assert ran.code == 0
    assert "digits: version 2 (arm, bucket 123,456 of 1,000,000). its bucket is the arm's" in ran.out
    assert control.asked == ["GET /api/v1/models/digits/explain?unit=customer-7&header=country%3Ade&header=x%3Ay"]


def test_explain_takes_the_body_that_names_the_unit(sluice: Command, control: Control, tmp_path: Path) -> None:
    """From a file; headers go along, and whether they are metadata."""
    file = tmp_path / "body.json"
    file.write_text('{"user": {"id": "ö"}}')
    ran = sluice("explain", "digits", "--body", str(file), "-H", "x:y", "--grpc")
    assert (ran.code, "digits: version 2" in ran.out) == (0, True), ran.err
    assert control.asked == ["POST /api/v1/models/digits/explain"]
    [(_, asked)] = control.written
    assert asked == {"unit": None, "headers": {"x": "y"}, "grpc": True, "body": {"user": {"id": "ö"}}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "no JSON"),
        ("NaN", "NaN is no JSON"),
        ("\xff", "no JSON"),
        ("[" * 50_000, "no JSON"),
        (f'"{"x" * 61_440}"', "more than 61,440 bytes"),
        (None, "cannot be read"),
    ],
    ids=["half", "nan", "bytes", "deep", "large", "none"],
)
def test_a_body_that_is_none_is_wrong_usage(
    sluice: Command, control: Control, tmp_path: Path, content: str | None, says: str
) -> None:
    """Exit code 2 with what is wrong, and nobody is asked."""
    file = tmp_path / "b"
    if content is not None:
        file.write_text(content, encoding="latin-1")
    ran = sluice("explain", "digits", "--body", str(file))
    assert (ran.code, says in " ".join(ran.err.replace("│", " ").split())) == (2, True), ran.err
    assert control.asked == []


def test_a_header_that_is_none_is_wrong_usage(sluice: Command, control: Control) -> None:
    """Exit code 2, and nobody is asked."""
    assert sluice("explain", "digits", "-H", "nonsense").code == 2
    assert control.asked == []


def test_wrong_usage_is_exit_code_2(sluice: Command) -> None:
    """Unknown commands, options and types."""
    assert [sluice(*words).code for words in (["nonsense"], ["status", "--nonsense"], ["up", "--port", "x"])] == [2] * 3


def test_version_is_that_of_the_distribution(sluice: Command) -> None:
    """One line, the installed version."""
    assert sluice("version").out.strip().count(".") == 2


def test_the_address_is_found_where_it_runs(sluice: Command, control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """In run.json of the state folder, here or where the settings file puts it; --url wins over both."""
    monkeypatch.delenv("SLUICE_URL")
    Path("state").mkdir()
    Path("state/run.json").write_text(json.dumps({"control_url": control.url}))
    Path("sluice.yaml").write_text("state_dir: state")
    assert sluice("status").code == 0
    Path("other.yaml").write_text("control: {port: 1}")
    assert "http://127.0.0.1:1" in sluice("status", "--config", "other.yaml").err
    assert sluice("status", "--config", "other.yaml", "--url", control.url).code == 0


def test_a_broken_note_is_a_sentence(sluice: Command) -> None:
    """A run.json that is no JSON names the way around it."""
    Path(".sluice").mkdir()
    Path(".sluice/run.json").write_text("{")
    ran = sluice("status")
    assert ran.code == 1
    assert "run.json cannot be read" in ran.err
    assert "--url" in ran.err


def test_mistakes_in_the_settings_are_told_without_a_traceback(sluice: Command) -> None:
    """All of them, with exit code 1."""
    Path("sluice.yaml").write_text("gateway: {workers: 0}\nlisten: {http_port: 99999}")
    ran = sluice("up")
    assert ran.code == 1
    assert "2 mistakes" in ran.err
    assert "gateway.workers: 0 is given" in ran.err
    assert "listen.http_port: 99999 is given" in ran.err
    assert "Traceback" not in ran.err


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Stands in for what starts and stops the real thing, and remembers what it was told."""
    calls: list[tuple[str, Any]] = []
    module = ModuleType("serving.local")
    module.up = lambda settings, *, detach: calls.append(("up", (settings, detach)))  # type: ignore[attr-defined]
    module.down = lambda settings: calls.append(("down", settings))  # type: ignore[attr-defined]
    show = ModuleType("serving.demo.show")
    show.run = lambda *, once: calls.append(("demo", once))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "serving.local", module)
    monkeypatch.setitem(sys.modules, "serving.demo.show", show)
    monkeypatch.setattr("serving.local", module, raising=False)
    monkeypatch.setattr("serving.demo.show", show, raising=False)
    return calls


def test_up_down_and_demo_pass_on_what_they_were_told(
    sluice: Command, local: list[tuple[str, Any]], tmp_path: Path
) -> None:
    """Options win over the file; a state folder on the command line begins where it was typed."""
    Path("conf").mkdir()
    Path("conf/sluice.yaml").write_text("gateway: {workers: 2}\nlisten: {http_port: 1}")
    options = ["--config", "conf/sluice.yaml", "--state-dir", "here"]
    assert sluice("up", *options, "--detach", "--http-port", "0", "--port", "0").code == 0
    assert sluice("down", *options).code == 0
    assert sluice("demo", "--once").code == 0
    (_, (settings, detach)), (_, same), (_, once) = local
    assert isinstance(settings, Settings)
    assert (settings.listen.http_port, settings.control.port, settings.gateway.workers) == (0, 0, 2)
    assert (settings.state_dir, same.state_dir, detach, once) == (tmp_path / "here", tmp_path / "here", True, True)


@pytest.mark.parametrize(("option", "key"), [("--host", "listen.host"), ("--control-host", "control.host")])
def test_up_for_other_machines_asks_for_access(
    sluice: Command, local: list[tuple[str, Any]], option: str, key: str
) -> None:
    """It does not start otherwise, and says which settings would do; with them it does."""
    ran = sluice("up", option, "0.0.0.0")  # noqa: S104
    assert (ran.code, ran.out, local) == (1, "", [])
    assert f"{key}: '0.0.0.0' is given, but other machines reach it, and nobody is asked for a key" in ran.err
    for name in ("access.required", "access.admin_key_file", "access.tokens"):
        assert name in ran.err
    Path("sluice.yaml").write_text("access: {required: true}")
    assert sluice("up", option, "0.0.0.0").code == 0  # noqa: S104
    [(_, (settings, _))] = local
    assert settings.hosts[key] == "0.0.0.0"  # noqa: S104


def test_our_own_errors_are_a_sentence_and_a_hint(
    sluice: Command,
    local: list[tuple[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On stderr, with exit code 1, and nothing on stdout."""

    def refuse(settings: Settings, *, detach: bool) -> None:
        raise AlreadyRunning("a gateway runs here already", "stop it with `sluice down`")

    monkeypatch.setattr("serving.local.up", refuse)
    ran = sluice("up")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "error: a gateway runs here already\nhint: stop it with `sluice down`\n"
