"""`python -m loadtests.load.generator master|worker …`: one process of Locust's, told what to do over standard input.

Locust replaces the sockets, locks and clocks of a process by gevent's, so it lives in processes of its own: importing
this module changes nothing, `main` does. The master deals out users, says when it begins and how it goes (lines of
JSON on standard output), and ends all when the workers are done; workers send.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locust.runners import MasterRunner, WorkerRunner

    from loadtests.load.room import Room
    from loadtests.load.spec import Spec

HOST = "127.0.0.1"
GATHERED_WITHIN_S = 120.0
_LOOK_S = 0.2
_TELL_S = 1.0
_LEAD_S = 1.0
"""From when the begin is told to when it is, so that every worker has heard of it."""
_FLUSH_S = 0.5
_REPORT_S = 1.0


def main(argv: Sequence[str]) -> int:
    """Plays the part; 0 when the run is over."""
    from gevent import monkey  # noqa: PLC0415 - before whatever opens a socket

    monkey.patch_all()
    from grpc.experimental.gevent import init_gevent  # noqa: PLC0415 - after the patches, as all below

    init_gevent()
    from locust import runners  # noqa: PLC0415

    from loadtests.load.spec import Spec  # noqa: PLC0415

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    runners.WORKER_REPORT_INTERVAL = _REPORT_S
    spec = Spec.decode(sys.stdin.buffer.read())
    if argv[0] == "master":
        _lead(spec)
    else:
        _follow(spec, port=int(argv[1]), worker=int(argv[2]))
    return 0


def _lead(spec: Spec) -> None:
    """The master's part."""
    from locust.dispatch import UsersDispatcher  # noqa: PLC0415

    from loadtests.load.users import Evenly, Peopled, besides, classes  # noqa: PLC0415

    dealing = UsersDispatcher if spec.closed else Evenly
    environment = Peopled(user_classes=classes(spec), stop_timeout=spec.timeout_s, dispatcher_class=dealing)
    master = environment.create_master_runner(HOST, 0)
    done: set[str] = set()
    master.register_message("done", lambda environment, msg: done.add(msg.node_id))  # noqa: ARG005 - Locust's names
    _say(port=master.server.port)
    _gather(master, spec.workers)
    more = besides(spec)
    first = _users(spec, 0.0) + more
    master.start(first, spawn_rate=max(1, first))
    began_s = time.monotonic() + _LEAD_S
    master.send_message("begin", {"at": began_s})
    _say(began=time.time() + _LEAD_S)
    _conduct(master, spec, began_s, done, more)
    _say(over=True, mistakes=[one["msg"] for one in master.exceptions.values()][:5])
    master.quit()


def _gather(master: MasterRunner, workers: int) -> None:
    deadline = time.monotonic() + GATHERED_WITHIN_S
    while len(master.clients.ready) < workers:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(master.clients.ready)} of {workers} workers came within {GATHERED_WITHIN_S:g} s")
        time.sleep(_LOOK_S / 4)


def _conduct(master: MasterRunner, spec: Spec, began_s: float, done: set[str], more: int) -> None:
    """Until every worker that is still there is done, or long overdue."""
    last_s, users, told_s = spec.shape.seconds + 2 * spec.timeout_s, _users(spec, 0.0), 0.0
    while (at_s := time.monotonic() - began_s) < last_s:
        there = {client.id for client in master.clients.all if client.state != "missing"}
        if there <= done and (at_s > 0 or not there):
            return
        if spec.closed and 0 < at_s < spec.shape.seconds and (wanted := _users(spec, at_s)) != users:
            users = wanted
            master.start(users + more, spawn_rate=max(1, users + more))
        if at_s - told_s >= _TELL_S:
            told_s = at_s
            _tell(master, at_s)
        time.sleep(_LOOK_S)


def _users(spec: Spec, at_s: float) -> int:
    """How many want predictions at that moment."""
    if not spec.closed:
        return sum(spec.users.values())
    return max(spec.workers * len(spec.users), round(spec.shape.rate(at_s)))


def _tell(master: MasterRunner, at_s: float) -> None:
    total = master.stats.total
    _say(
        at=round(at_s, 1), answered=total.num_requests, failed=total.num_failures, rps=round(total.current_rps, 1),
        p99_ms=total.get_current_response_time_percentile(0.99), workers=master.worker_count,
    )  # fmt: skip


def _follow(spec: Spec, *, port: int, worker: int) -> None:
    """A worker's part."""
    import gevent  # noqa: PLC0415

    from loadtests.load.room import Room  # noqa: PLC0415
    from loadtests.load.users import Peopled, classes  # noqa: PLC0415

    environment = Peopled(user_classes=classes(spec), stop_timeout=spec.timeout_s)
    environment.room = room = Room(spec, worker)
    runner = environment.create_worker_runner(HOST, port)
    runner.register_message("begin", lambda environment, msg: room.begun.set(msg.data["at"]))  # noqa: ARG005 - as above
    watching = gevent.spawn(_watch, runner, room)
    runner.greenlet.join()
    watching.kill()
    room.close()


def _watch(runner: WorkerRunner, room: Room) -> None:
    """Writes what was noted, and says when nothing more will come."""
    from loadtests.load.busy import Moment  # noqa: PLC0415
    from loadtests.load.users import Predicting  # noqa: PLC0415

    room.begun.get()
    told, before = False, Moment.now()
    while True:
        time.sleep(_FLUSH_S)
        before, last = Moment.now(), before
        if _FLUSH_S < room.now_s() < room.spec.shape.seconds + _FLUSH_S:  # else it was not sending all the time
            room.busy_s += last.busy_until(before)
        room.flush()
        asking = any(isinstance(one.args[0], Predicting) for one in runner.user_greenlets if one.args)
        if not told and not asking and room.now_s() > 0:
            told = True
            runner.send_message("done")


def _say(**said: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    print(json.dumps(said), flush=True)  # noqa: T201 - to whoever started this


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
