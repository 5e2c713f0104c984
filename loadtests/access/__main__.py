"""`python -m loadtests.access`, which is `make proof-access`: who is let in changes under load, on three gateways.

One installation that asks everybody for a key or a token. While requests come at a constant rate, half with a key and
half with a token: keys are taken back, and each gateway is asked until it refuses; the tokens' issuer goes away, and
comes back with a new key; then it withdraws the old one. Exit codes: 0 every figure is good, 1 one falls short, 2 the
run could not be made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvloop

from loadtests.access.found import Asked, Ending, Found, judge
from loadtests.access.issuer import ALGORITHM, AUDIENCE, NAME, Issuer, SigningKey, issuer
from loadtests.access.workers import LET_IN, REFUSED, Workers
from loadtests.installation import Failed, Installation, installation
from loadtests.rollouts.operator import MODEL, Operator
from loadtests.steady import Steady
from serving.access.keys import create

GATEWAYS = 3
REFRESH_S = 5.0
"""How often the issuer's keys are fetched, by the settings of this installation."""
_AWAY_S = 2 * REFRESH_S
_POLL_S = 0.01
_GIVES_UP_S = 20.0
_UNITS = 5_000
_FALLS_SHORT, _NOT_RUN = 1, 2


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done."""

    keys: int
    rate: float


@dataclass(slots=True)
class Showing:
    """What the load shows: each is a whole `Authorization`, a key with every other request and a token in between."""

    key: str
    token: str

    def request(self, number: int) -> bytes:
        """The bytes of this request; each is for another unit than the one before."""
        return _request(self.token if number % 2 else self.key, f"customer-{number % _UNITS}")


def main(argv: Sequence[str] | None = None) -> int:
    """One run; what to exit with."""
    sizes = _sizes(argv)
    old, new = SigningKey("first"), SigningKey("second")
    admin = create().text
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-access-") as place, issuer([old]) as tokens:
            folder = Path(place)
            (folder / "admin").touch(mode=0o600)
            (folder / "admin").write_text(f"{admin}\n")
            with installation(folder, _settings(tokens.url)) as running:
                found = uvloop.run(_prove(running, admin, tokens, (old, new), sizes))
    except (Failed, httpx.HTTPError) as error:
        _say(f"error: {error or repr(error)}")
        return _NOT_RUN
    return _tell(found)


async def _prove(
    running: Installation, admin: str, tokens: Issuer, signing: tuple[SigningKey, SigningKey], sizes: Sizes
) -> Found:
    place = urlsplit(running.http_url)
    host, port = str(place.hostname), place.port or 80
    found = Found(GATEWAYS)
    async with running.client(admin) as control:
        operator = Operator(control, running.folder)
        await operator.bring(1)
        await operator.all_to(1)
        _, key = await _made(control, "the load")
        workers = Workers(host, port, _request, key, GATEWAYS)
        showing = Showing(key, signing[0].token("the load"))
        await _all_let_in(workers, showing.token)
        async with Steady(host, port, sizes.rate, showing.request, found.heard.hear):
            for number in range(sizes.keys):
                found.revoked.append(await _take_back(control, workers, number))
            _say(f"{sizes.keys} keys taken back: {found.heard.failed} failed of {found.heard.count:,} requests")
            await _go_away(tokens, workers, signing, found)
            await _renew(tokens, workers, signing, found, showing)
        await workers.close()
    return found


async def _take_back(control: httpx.AsyncClient, workers: Workers, number: int) -> Ending:
    """One key made, shown to every worker, and taken back; each is asked until it refuses."""
    key_id, key = await _made(control, f"customer {number}")
    if set((await workers.ask_each(key)).values()) != {LET_IN}:
        raise Failed("A key that was made, and that all gateways acknowledged, is refused by one.")
    began_s = time.monotonic()
    asking = asyncio.create_task(_until_refused(workers, key))
    answer = await control.request("DELETE", f"/keys/{key_id}", json={"why": "the proof"}, params={"wait_s": 10})
    told_s = time.monotonic()
    _acknowledged(answer, httpx.codes.OK)
    return Ending(began_s, await asking, told_s)


async def _go_away(tokens: Issuer, workers: Workers, signing: tuple[SigningKey, SigningKey], found: Found) -> None:
    """The issuer is not there for a while; the new key, which nobody knows, makes the gateways wish for it."""
    old, new = signing
    tokens.away = True
    began_s = time.monotonic()
    while time.monotonic() - began_s < _AWAY_S:
        refused = await workers.ask_each(new.token("too early"))
        await asyncio.sleep(1.0)
    known = await workers.ask_each(old.token("fresh"))
    found.in_vain = tokens.in_vain
    found.unknown_while_away = sum(status == REFUSED for status in refused.values())
    found.known_while_away = sum(status == LET_IN for status in known.values())
    _say(f"the issuer was away for {_AWAY_S:g} s: {found.heard.failed} failed of {found.heard.count:,} requests")


async def _renew(
    tokens: Issuer, workers: Workers, signing: tuple[SigningKey, SigningKey], found: Found, showing: Showing
) -> None:
    """The issuer is back with a new key beside the old one, and withdraws that as soon as the new one works."""
    old, new = signing
    old_token, new_token = old.token("until it is over"), new.token("the load")
    began_s = time.monotonic()
    tokens.publish(old, new)
    tokens.away = False
    await _all_let_in(workers, new_token)
    found.new_s = time.monotonic() - began_s
    showing.token = new_token
    await workers.ready()
    withdrawn_s = time.monotonic()
    tokens.publish(new)
    asked = await _until_refused(workers, old_token)
    fetched_s = tokens.fetched_without(old.kid, withdrawn_s)
    if fetched_s is None:
        raise Failed("The old key's tokens were refused before anybody had fetched the set without it.")
    found.old = Ending(fetched_s, asked)


async def _all_let_in(workers: Workers, shown: str) -> None:
    """Returns once every worker has let this in."""
    deadline = time.monotonic() + _GIVES_UP_S
    waiting = set(await workers.ready())
    while waiting:
        statuses = await workers.ask_each(shown)
        waiting -= {worker for worker, status in statuses.items() if status == LET_IN}
        if time.monotonic() > deadline:
            raise Failed(f"{len(waiting)} gateways go on refusing a token that is good.")
        await asyncio.sleep(_POLL_S)


async def _until_refused(workers: Workers, shown: str) -> dict[int, list[Asked]]:
    """What each worker said to this, until it refused."""
    pids = tuple(await workers.ready())
    said = await asyncio.gather(*(_until_one_refuses(workers, worker, shown) for worker in pids))
    return dict(zip(pids, said, strict=True))


async def _until_one_refuses(workers: Workers, worker: int, shown: str) -> list[Asked]:
    said: list[Asked] = []
    deadline = time.monotonic() + _GIVES_UP_S
    while not said or said[-1].let_in:
        sent_s = time.monotonic()
        status = await workers.ask(worker, shown)
        if status not in {LET_IN, REFUSED}:
            raise Failed(f"A gateway answered {status}.")
        said.append(Asked(sent_s, time.monotonic(), status == LET_IN))
        if sent_s > deadline:
            break  # which is judged: it never refused
        await asyncio.sleep(_POLL_S)
    return said


async def _made(control: httpx.AsyncClient, name: str) -> tuple[str, str]:
    """A new key's id, and the key."""
    wanted = {"name": name, "role": "predict", "models": [MODEL]}
    said = _acknowledged(await control.post("/keys", json=wanted, params={"wait_s": 10}), httpx.codes.CREATED)
    return said["id"], said["key"]


def _acknowledged(answer: httpx.Response, status: int) -> dict[str, Any]:
    """What was answered, once every gateway goes by it."""
    if answer.status_code != status:
        raise Failed(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:500]}")
    said: dict[str, Any] = answer.json()
    seen = said["acknowledged"]
    if seen["by"] < seen["of"] or seen["of"] != GATEWAYS:
        raise Failed(f"{answer.request.method} {answer.request.url.path}: not every gateway has acknowledged: {seen}")
    return said


def _tell(found: Found) -> int:
    figures = judge(found)
    for figure in figures:
        _say(figure.line)
    for words in found.heard.told:
        _say(f"     {words}")
    return 0 if all(figure.good for figure in figures) else _FALLS_SHORT


def _settings(jwks_url: str) -> dict[str, Any]:
    rules = {
        "issuer": NAME, "audience": AUDIENCE, "jwks_url": jwks_url, "algorithms": [ALGORITHM], "refresh_s": REFRESH_S,
    }  # fmt: skip
    return {
        "triton": {"port_range": 0},
        "gateway": {"workers": GATEWAYS},
        "access": {"required": True, "admin_key_file": "admin", "tokens": rules},
    }


def _sizes(argv: Sequence[str] | None) -> Sizes:
    parser = argparse.ArgumentParser(prog="python -m loadtests.access", description="Who is let in changes under load.")
    parser.add_argument("--keys", type=int, default=50, help="keys taken back [default: 50]")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second [default: 300]")
    given = parser.parse_args(argv)
    if given.keys < 1 or given.rate <= 0:
        parser.error("there is nothing to see without keys and requests")
    return Sizes(given.keys, given.rate)


def _request(shown: str, unit: str = "somebody") -> bytes:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]})
    head = (
        f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nhost: sluice\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {shown}\r\nsluice-unit: {unit}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return f"{head}{body}".encode()


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - to the person who typed it


if __name__ == "__main__":
    sys.exit(main())
