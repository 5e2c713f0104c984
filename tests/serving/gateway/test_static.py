"""`python -m serving.gateway --static` is a gateway in one process: it refuses in a sentence, splits, and drains."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from router.choose import Facts, choose
from router.policy import Arm, Policy
from serving.access.principal import Limits
from serving.control.valkey import EmbeddedValkey
from serving.gateway.__main__ import main
from serving.sockets import open_listener
from serving.store_keys import Keys
from serving.totals import message_from
from tests.serving.gateway.callers import caller
from tests.serving.gateway.rig import Client, eventually
from tests.serving.gateway.upstream import ScriptedUpstream, answers
from tests.serving.gateway.wire import ok, post

REPOSITORY = Path(__file__).parents[3]
GATEWAY = [sys.executable, "-m", "serving.gateway"]


@asynccontextmanager
async def gateway(*arguments: str) -> AsyncIterator[tuple[Process, int]]:
    """The process and its port, once it listens; killed if it is still there at the end."""
    process = await asyncio.create_subprocess_exec(
        *GATEWAY, "--port", "0", *arguments, cwd=REPOSITORY, stdout=PIPE, stderr=PIPE
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        yield process, int(line.rpartition(b":")[2])
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--static"),
        (["--static", "m"], "MODEL/VERSION=HOST:PORT"),
        (["--static", "m/x=h:1"], "MODEL/VERSION=HOST:PORT"),
        (["--static", "m/0=h:1"], "version"),
        (["--static", "m/1=h:99999"], "http_port"),
        (["--static", "m/1=h"], "MODEL/VERSION=HOST:PORT"),
        (["--static", "m/1=h:1", "--traffic", "n:2=10%"], "--traffic"),
        (["--static", "m/1=h:1", "--traffic", "m:9=10%"], "--traffic"),
        (["--static", "m/1=h:1", "--static", "m/2=h:2", "--traffic", "m:2=ten"], "ten"),
        (["--static", "m/1=h:1", "--static", "m/2=h:2", "--traffic", "m:2=110%"], "110%"),
        (["--static", "m/1=h:1", "--keys", "x", "--token-rules", "/nowhere/rules.json"], "--token-rules"),
        (["--static", "m/1=h:1", "--keys", "x", "--token-rules", "pyproject.toml"], "--token-rules"),
        (["--static", "m/1=h:1", "--token-rules", "rules.json"], "--keys"),
        (["--static", "m/1=h:1", "--totals", "/nowhere/url"], "--totals /nowhere/url"),
        (["--static", "m/1=h:1", "--totals", "pyproject.toml"], "--totals pyproject.toml"),
        (["--static", "m/1=h:1", "--host", "0.0.0.0"], "--keys"),  # noqa: S104 (what it is about)
        (["--static", "m/1=h:1", "--host", "::"], "--keys"),
        (["--static", "m/1=h:1", "--host", "h.example.com"], "--keys"),
        (["--port", "many"], "--port"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_arguments(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant is refused with exit code 2 and one sentence that names it."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("python -m serving.gateway: error: ")
    assert word in last


def test_a_refusal_is_no_traceback() -> None:
    """Nor does the process say anything else after it."""
    done = subprocess.run([*GATEWAY, "--nonsense"], cwd=REPOSITORY, capture_output=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith(b"python -m serving.gateway: error: ")
    assert b"Traceback" not in done.stderr


async def test_keys(tmp_path: Path) -> None:
    """With a file of keys everybody is asked for one of them, limits included, and refusals are written down."""
    who, file, log = caller(limits=Limits(0.1, 2)), tmp_path / "keys.json", tmp_path / "security.log"
    file.write_text(json.dumps({"revision": 1, "keys": [who.record.encode()], "jwks": None}))
    async with ScriptedUpstream() as upstream:
        place = f"m/1=127.0.0.1:{upstream.port}"
        async with gateway("--static", place, "--keys", str(file), "--security-log", str(log)) as (_, port):
            codes = []
            for headers in ([who.header], [who.header], [who.header], []):
                client = await Client.connect(port)
                await client.send(post(headers=headers))
                codes.append((await client.answer()).code)
                client.close()
            assert codes == [200, 200, 429, 401]
    [line] = log.read_text().splitlines()
    assert (json.loads(line)["kind"], json.loads(line)["door"]) == ("missing", "prediction")


def test_no_keys(tmp_path: Path) -> None:
    """A gateway that is to ask for keys and finds none does not start, and says so in a sentence."""
    done = subprocess.run(
        [*GATEWAY, "--port", "0", "--static", "m/1=127.0.0.1:9", "--keys", str(tmp_path / "none")],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("There are no keys in ")


async def test_off_this_machine_in_the_clear(tmp_path: Path) -> None:
    """With keys other machines may reach it; that keys then travel in the clear is said."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"revision": 1, "keys": [caller().record.encode()], "jwks": None}))
    process = await asyncio.create_subprocess_exec(
        *GATEWAY, "--port", "0", "--host", "0.0.0.0", "--static", "m/1=127.0.0.1:9", "--keys", str(file),  # noqa: S104 (what it is about)
        cwd=REPOSITORY, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert (await asyncio.wait_for(process.stdout.readline(), 20)).startswith(b"listening on ")
    process.terminate()
    _, said = await process.communicate()
    assert b"in the clear" in said


def test_a_taken_port() -> None:
    """A port that somebody has is one sentence that says what to do."""
    with open_listener("127.0.0.1", 0, "The test", "port") as listener:
        port = listener.getsockname()[1]
        done = subprocess.run(
            [*GATEWAY, "--port", str(port), "--static", "m/1=127.0.0.1:9"],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert f":{port}" in line
    assert "--port" in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains(number: signal.Signals) -> None:
    """Told to end, it answers what is under way, says that the connection ends, and exits with 0."""
    gate = asyncio.Event()
    async with ScriptedUpstream() as upstream:
        upstream.script.append(answers(ok(b"late"), gate=gate))
        async with gateway("--static", f"m/1=127.0.0.1:{upstream.port}") as (process, port):
            client = await Client.connect(port)
            await client.send(post())
            await eventually(lambda: upstream.requests)
            process.send_signal(number)
            await eventually(lambda: refuses(port))
            gate.set()
            answer = await client.answer()
            assert (answer.code, answer.body, answer.one("connection")) == (200, b"late", b"close")
            assert await client.rest() == b""
            client.close()
            assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_totals(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    """A gateway that stands alone tells a store what it counts, where it is given one: when it ends, all of it."""
    file = tmp_path / "url"
    file.write_text(f"{valkey.url}\n")
    async with ScriptedUpstream() as model:
        options = (f"--static=m/1=127.0.0.1:{model.port}", f"--static=m/2=127.0.0.1:{model.port}", "--traffic=m:2=50%")
        async with gateway(*options, "--totals", str(file)) as (process, port):
            client = await Client.connect(port)
            for number in range(20):
                await client.send(post(headers=[f"sluice-unit: u{number}"]))
                assert (await client.answer()).code == 200
            client.close()
            process.terminate()
            await asyncio.wait_for(process.wait(), 20)
    with redis.Redis.from_url(valkey.url) as raw:
        entries: Any = raw.xrange(Keys("sluice").totals)
        raw.delete(Keys("sluice").totals)
    told = [message_from(fields[b"m"]) for _, fields in entries]
    assert sum(one.outcomes["ok"] for one in told[-1].series) == 20
    assert len({seen.hashed for said in told for of in said.units.values() for seen in of.seen}) == 20
    assert told[-1].gateway.startswith("static ")


def refuses(port: int) -> bool:
    """Whether nobody listens there any more."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def test_the_split_is_the_routers() -> None:
    """The lowest version is stable, the others have the shares that were given, and each unit goes where it should."""
    policy = Policy(1, (Arm(2, 300_000),), salt="static")
    async with ScriptedUpstream() as one, ScriptedUpstream() as two:
        places = [f"m/1=127.0.0.1:{one.port}", f"m/2=127.0.0.1:{two.port}"]
        async with gateway("--static", places[1], "--static", places[0], "--traffic", "m:2=30%") as (_, port):
            client = await Client.connect(port)
            for number in range(100):
                unit = f"unit-{number}"
                await client.send(post(headers=[f"sluice-unit: {unit}"]))
                answer = await client.answer()
                expected = choose(policy, Facts(unit.encode()))
                assert answer.one("sluice-version") == b"%d" % expected.version
            client.close()
        assert len(one.requests) + len(two.requests) == 100
        assert two.requests
