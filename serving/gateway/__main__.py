r"""A gateway worker as a process: `python -m serving.gateway`.

Supervised, it inherits listening sockets and a channel: the first line on the channel is its configuration, every
later one a command that it answers; when the channel ends, so does the worker. With `--static` it runs alone, without
Ray and without Redis, in front of Triton servers that somebody else started:

    python -m serving.gateway --port 8000 --static digits/1=127.0.0.1:9000 --static digits/2=127.0.0.1:9010 \
        --traffic digits:2=10%

A Triton's gRPC port comes after its HTTP port (`--static digits/1=127.0.0.1:9000:9001`), and `--grpc-port` says where
clients find it. With `--totals FILE` it tells what it counts to the store whose address is in that file.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import math
import os
import re
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import uvloop

from drift.sampling import SampleRules
from router.epoch import Head
from router.errors import RouterError
from router.policy import Policy, Shadow, parse_share
from serving import logs
from serving.access.config import TokenRules
from serving.addresses import is_loopback
from serving.endpoint import Endpoint
from serving.gateway import heap
from serving.gateway.config import INHERITED, INHERITED_FOR_GRPC, WorkerConfig
from serving.gateway.credentials import Credentials
from serving.gateway.door import Shares
from serving.gateway.limits import Ask, Told
from serving.gateway.policies import Follower
from serving.gateway.store import Store
from serving.gateway.telling import Telling
from serving.gateway.worker import Worker

_log = logging.getLogger(__name__)
_STATIC_HEAD = Head(1, "static", "")
_STATIC_FORM = "MODEL/VERSION=HOST:PORT[:GRPC-PORT]"
_PLACE = re.compile(r"(\[[^\]]+\]|[^:]*):([0-9]{1,5})(?::([0-9]{1,5}))?")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs until drained."""
    logs.set_up("console")
    parser = _parser()
    arguments = parser.parse_args(argv)
    heap.keep()
    if arguments.channel_fd is not None:
        uvloop.run(_supervised(arguments))
        return
    if arguments.token_rules and not arguments.keys:
        parser.error("--token-rules goes with --keys, whose file holds the keys that tokens are signed with as well")
    try:
        endpoints = [_endpoint(text) for text in arguments.static]
        policies = _policies(endpoints, arguments.traffic, arguments.shadow)
        config = WorkerConfig(
            worker="static", access_required=bool(arguments.keys), keys_file=arguments.keys,
            token_rules=_rules_in(arguments.token_rules), security_log=arguments.security_log,
            deals=bool(arguments.totals), keeper_socket=arguments.keeper, samples=_samples_in(arguments.samples),
            **_limits(arguments.limit),
        )  # fmt: skip
        store = _store_in(arguments.totals, config)
    except (ValueError, RouterError) as error:
        parser.error(str(error))
    if not endpoints:
        parser.error("name at least one Triton with --static MODEL/VERSION=HOST:PORT")
    if not (is_loopback(arguments.host) or arguments.keys):
        parser.error(f"other machines reach {arguments.host}, and nobody is asked for a key: give --keys FILE as well")
    place = (arguments.host, arguments.port, arguments.grpc_port)
    uvloop.run(_static(place, endpoints, policies, config, store))


async def _supervised(inherited: argparse.Namespace) -> None:
    channel = socket.socket(fileno=inherited.channel_fd)
    channel.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=channel)
    config = WorkerConfig.from_json(await reader.readline())
    logs.set_up(config.log_format)
    listener = socket.socket(fileno=inherited.listener_fd)
    worker = Worker(config, asyncio.get_running_loop())
    grpc_fd = inherited.grpc_listener_fd
    grpc = None if grpc_fd is None else socket.socket(fileno=grpc_fd)
    host, port = listener.getsockname()[:2]
    follower = Follower(worker, config.reached_at or host, port, 0 if grpc is None else grpc.getsockname()[1])
    await follower.start()
    shares = Shares(inherited.shares_fd, inherited.slots), inherited.slot
    grpc_shares = None if grpc is None else (Shares(inherited.grpc_shares_fd, inherited.slots), inherited.slot)
    worker.listen(listener, shares, grpc=grpc, grpc_shares=grpc_shares)
    ended = asyncio.create_task(_obey(worker, reader, writer))
    _until_signalled(ended)
    with contextlib.suppress(asyncio.CancelledError):
        await ended
    await worker.drain()
    await follower.stop()


async def _obey(worker: Worker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers pings until told to drain, or until there is nobody to answer to."""
    _say(writer, worker.status())
    while line := await reader.readline():
        question = json.loads(line)
        if question["say"] == "drain":
            return
        said = worker.report() if question["say"] == "report" else worker.status()
        _say(writer, {**said, "number": question["number"]})


def _say(writer: asyncio.StreamWriter, what: Mapping[str, object]) -> None:
    writer.write(json.dumps(what).encode() + b"\n")


async def _static(
    place: tuple[str, int, int | None],
    endpoints: Sequence[Endpoint],
    policies: dict[str, Policy],
    config: WorkerConfig,
    store: Store | None,
) -> None:
    host, port, grpc_port = place
    listener = _listener(host, port, "--port")
    grpc = None if grpc_port is None else _listener(host, grpc_port, "--grpc-port")
    worker = Worker(config, asyncio.get_running_loop())
    if config.keys_file:
        _let_in(worker, config)
    worker.swap(worker.table.build(_STATIC_HEAD, policies, endpoints))
    telling = None if store is None else Telling(worker, f"{config.worker} {os.urandom(8).hex()}", store.tell)
    if telling is not None:
        worker.run(telling.run())
    worker.listen(listener, grpc=grpc)
    if not is_loopback(host):
        _log.warning("keys and requests travel in the clear here: have a proxy before it that speaks TLS")
    also = "" if grpc is None else f", gRPC on {host}:{grpc.getsockname()[1]}"
    print(f"listening on http://{host}:{listener.getsockname()[1]}{also}", flush=True)  # noqa: T201 (told to who started it)
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    _until_signalled(ended)
    with contextlib.suppress(asyncio.CancelledError):
        await ended
    await worker.drain()
    if telling is not None and store is not None:
        await telling.stop()
        await store.close()


def _listener(host: str, port: int, option: str) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        sys.exit(f"Nothing can listen on {host}:{port} ({error.strerror}): choose another with {option}.")


def _let_in(worker: Worker, config: WorkerConfig) -> None:
    """Everybody is asked for one of the keys in a file, and what keys use up is this worker's business alone."""
    credentials = Credentials(config.token_rules, config.keys_file, worker.let_in)
    credentials.recall()
    if not credentials.known:
        sys.exit(f"There are no keys in {config.keys_file}: it is JSON with the members revision, keys and jwks.")
    worker.run(worker.meters.run(_no_store))


async def _no_store(_asks: Sequence[Ask]) -> Sequence[Told]:
    raise OSError("there is no store")


def _rules_in(file: str | None) -> str:
    """The rules for tokens in a file that is named on the command line; empty where none is."""
    if not file:
        return ""
    try:
        return json.dumps(TokenRules.from_dict(json.loads(Path(file).read_text())).as_dict())
    except (OSError, ValueError) as error:
        raise ValueError(f"--token-rules {file}: {error}") from error


def _samples_in(file: str) -> str:
    """The rules of samples in a file that is named on the command line; empty where none is."""
    if not file:
        return ""
    try:
        return SampleRules.from_json(Path(file).read_text()).to_json()
    except (OSError, ValueError) as error:
        raise ValueError(f"--samples {file}: {error}") from error


def _store_in(file: str, config: WorkerConfig) -> Store | None:
    """The store whose address is in a file that is named on the command line: a password has no place there itself."""
    if not file:
        return None
    try:
        return Store(replace(config, redis_url=Path(file).read_text().strip()))
    except (OSError, ValueError) as error:
        raise ValueError(f"--totals {file}: {error}") from error


def _until_signalled(ended: asyncio.Future[None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.cancel)


def _endpoint(text: str) -> Endpoint:
    try:
        name, place = text.split("=", 1)
        model, version = name.rsplit("/", 1)
        host, port, grpc_port = _place(place)
        return Endpoint(host, port, grpc_port, model, int(version))
    except ValueError as error:
        raise ValueError(f"--static {text!r} is not {_STATIC_FORM} ({error})") from error


def _place(text: str) -> tuple[str, int, int]:
    """Host, HTTP port and gRPC port; 0 where there is none."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ValueError("an address of IPv6 stands in brackets, and a port is a number")
    return found[1].strip("[]"), int(found[2]), int(found[3] or 0)


def _limits(given: Sequence[str]) -> dict[str, Any]:
    """Numbers of the configuration by name."""
    kinds = {field.name: field.type for field in fields(WorkerConfig) if field.type in {"int", "float"}}
    limits: dict[str, Any] = {}
    for text in given:
        name, mark, value = text.partition("=")
        if not mark or name not in kinds:
            raise ValueError(f"--limit {text!r} is not NAME=NUMBER of one of these: {', '.join(sorted(kinds))}")
        limits[name] = int(value) if kinds[name] == "int" else float(value)
        if not (0 <= limits[name] < math.inf):
            raise ValueError(f"--limit {text!r}: it takes a number from 0 up")
    return limits


def _policies(endpoints: Sequence[Endpoint], traffic: Sequence[str], shadows: Sequence[str]) -> dict[str, Policy]:
    """The lowest version of each model that is no shadow is stable; `--traffic` gives the others their shares."""
    named = {(endpoint.model, endpoint.version) for endpoint in endpoints}
    shares = _shares("--traffic", traffic, named, "0")
    samples = _shares("--shadow", shadows, named, "100%")
    policies: dict[str, Policy] = {}
    for model in {model for model, _ in named}:
        copied = samples.get(model, {})
        answering = [version for name, version in named if name == model and version not in copied]
        if not answering:
            raise ValueError(f"every version of '{model}' is a shadow: leave one to answer")
        policy = Policy(min(answering), salt="static").with_shares(shares.get(model, {}))
        policies[model] = replace(policy, shadows=tuple(Shadow(version, ppm) for version, ppm in copied.items()))
    return policies


def _shares(
    option: str, given: Sequence[str], named: AbstractSet[tuple[str, int]], otherwise: str
) -> dict[str, dict[int, int]]:
    """Parts per million by model and version."""
    shares: dict[str, dict[int, int]] = {}
    for text in given:
        model, _, rest = text.partition(":")
        version, _, share = rest.partition("=")
        if not version.isdecimal() or (model, int(version)) not in named:
            raise ValueError(f"{option} {text!r} is not MODEL:VERSION=SHARE of a version named with --static")
        shares.setdefault(model, {})[int(version)] = parse_share(share or otherwise)
    return shares


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.gateway", description="One gateway worker.")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 for any free one (%(default)s)")
    parser.add_argument("--grpc-port", type=int, metavar="PORT", help="the same for gRPC; without it, there is none")
    parser.add_argument("--static", action="append", default=[], metavar=_STATIC_FORM, help="a Triton")
    parser.add_argument(
        "--traffic", action="append", default=[], metavar="MODEL:VERSION=SHARE", help="such as m:2=10%%"
    )
    parser.add_argument(
        "--shadow", action="append", default=[], metavar="MODEL:VERSION[=SHARE]", help="gets copies, such as m:3=5%%"
    )
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="other than by default, such as ejection_s=5",
    )
    parser.add_argument("--keys", metavar="FILE", default="", help="ask everybody for one of these (JSON)")
    parser.add_argument("--token-rules", metavar="FILE", help="with --keys: take tokens by these rules as well (JSON)")
    parser.add_argument("--totals", metavar="FILE", default="", help="tell what is counted to the Redis of this URL")
    parser.add_argument("--keeper", metavar="SOCKET", default="", help="hand pairs of answers to who listens there")
    parser.add_argument(
        "--samples", metavar="FILE", default="", help="with --keeper: hand over what these rules sample (JSON)"
    )
    parser.add_argument("--security-log", metavar="FILE", default="", help="where refused attempts are written")
    for ours in (*INHERITED, *INHERITED_FOR_GRPC):  # the supervisor's
        parser.add_argument(ours, type=int, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
