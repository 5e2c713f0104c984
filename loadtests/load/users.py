"""Who asks: Locust's users.

Those who want predictions, one class for each kind; those who say what came of them; and operators, who change a
rollout's shares.

In the open loop a user takes the next request of the timetable, waits until it is due and sends it; where all users
are busy then, it is sent when one is not, and its latency counts from when it was due all the same.

Importing this patches the process (Locust does), so it is done in the generator's processes alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import urlsplit

import gevent
from geventhttpclient.response import HTTPParseError
from locust import User, constant, task
from locust.dispatch import UsersDispatcher
from locust.env import Environment
from locust.exception import StopUser

from loadtests.load.asking import Heard, asker, http_client
from loadtests.load.records import Error, Kind, Row, legible
from loadtests.load.room import Room
from loadtests.load.spec import Spec
from router.policy import WHOLE, format_share

_FEED_EVERY_S = 0.5
_MOST_FED = 500
_MS = 1_000.0
_MOVED_WITHIN_S = 5
_CONTROL_S = 30.0
"""How long the control API may take, whatever is asked of predictions: a change of shares waits for the gateways."""


class Peopled(Environment):
    """Locust's environment, with the room that its users share."""

    room: Room


class Predicting(User):
    """Somebody who wants predictions."""

    abstract = True
    wait_time = constant(0)
    kind: ClassVar[Kind]
    environment: Peopled

    def on_start(self) -> None:
        """Waits for the begin."""
        self._room = self.environment.room
        self._asker = asker(self._room.spec, self.kind)
        self._room.wait_for_begin()

    def on_stop(self) -> None:
        """Hangs up."""
        self._asker.close()

    @task
    def predict(self) -> None:
        """One request, at its time."""
        room = self._room
        following = room.next(self.kind)
        if following is None or room.late:
            raise StopUser
        number, due_s = following
        ready = due_s is None or due_s > room.now_s()
        if due_s is not None and ready:
            gevent.sleep(max(0.0, due_s - room.now_s()))
        sent_s = room.now_s()
        heard = self._asker.ask(room.spec.unit(number), room.payload(self.kind, number))
        due_s = sent_s if due_s is None else due_s
        row = Row(number, due_s, sent_s, room.now_s() - due_s, heard.status, heard.error, ready=ready, said=heard.said)
        room.note(row, heard)
        self._tell(row, heard)

    def _tell(self, row: Row, heard: Heard) -> None:
        """Locust's own statistics."""
        self.environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type=self.kind.name, name="infer", response_time=row.took_s * _MS, response_length=0,
            exception=None if heard.error is Error.NONE else RuntimeError(heard.error.words),
        )  # fmt: skip


class JsonUser(Predicting):
    """Asks in JSON."""

    kind = Kind.JSON


class BinaryUser(Predicting):
    """Asks with the binary tensor extension."""

    kind = Kind.BINARY


class GrpcUser(Predicting):
    """Asks over gRPC."""

    kind = Kind.GRPC


class _Controlling(User):
    """Somebody who speaks to the control API."""

    abstract = True
    environment: Peopled

    def on_start(self) -> None:
        """Waits for the begin."""
        self._room = self.environment.room
        self._room.wait_for_begin()
        parts = urlsplit(self._room.spec.place.control_url)
        secure = parts.scheme == "https"
        self._client = http_client(
            self._room.spec,
            parts.hostname or "",
            parts.port or (443 if secure else 80),
            tls=secure,
            timeout_s=_CONTROL_S,
        )

    def _asked(self, method: str, path: str, said: object) -> tuple[int, bytes]:
        """Status and body of the answer; 0 and the words where there is none."""
        headers = {**self._room.spec.place.headers, "content-type": "application/json", "if-match": "*"}
        try:
            answer = self._client.request(method, f"/api/v1{path}", json.dumps(said).encode(), headers)
            return answer.status_code, bytes(answer.read())
        except (OSError, HTTPParseError) as error:
            return 0, str(error).encode()


class FeedbackUser(_Controlling):
    """Says of answers that they were worth 1."""

    wait_time = constant(_FEED_EVERY_S)

    @task
    def feed(self) -> None:
        """What has come together since."""
        room = self._room
        count = min(_MOST_FED, len(room.unfed))
        items = [{"request_id": room.unfed.popleft(), "metrics": {"reward": 1}} for _ in range(count)]
        if items:
            status, body = self._asked("POST", "/feedback", {"items": items})
            if status == 200:  # noqa: PLR2004 - OK
                room.fed.update(json.loads(body)["counts"])
            else:
                room.fed[f"not taken ({status or 'no answer'})"] += len(items)


class OperatorUser(_Controlling):
    """Changes the share of a rollout's candidate."""

    fixed_count = 1

    def wait_time(self) -> float:
        """Until the next change, seconds."""
        moving = self.environment.room.spec.moving
        return moving.every_s if moving else 1.0

    @task
    def move(self) -> None:
        """Another share, drawn anew."""
        room, moving = self._room, self._room.spec.moving
        if moving is None or room.now_s() > room.spec.shape.seconds:
            raise StopUser
        share = random.randrange(1, WHOLE)  # noqa: S311 - a share, no secret
        at_s = room.now_s()
        shares = {"shares": {str(moving.version): f"{share}ppm"}}
        status, body = self._asked("PATCH", f"/rollouts/{moving.rollout}?wait_s={_MOVED_WITHIN_S}", shares)
        words = f"version {moving.version} is set to {format_share(share)}"
        if status != 200:  # noqa: PLR2004 - OK
            words += f", which is refused ({status}): {legible(body.decode('utf-8', 'replace'))}"
        room.moves.append((at_s, words))


class Evenly(UsersDispatcher):  # type: ignore[misc,unused-ignore]
    """Gives every worker as many users of each kind: each has requests of each kind that nobody else sends."""

    def _user_gen(self) -> Iterator[str | None]:
        for users in self._user_classes:  # a multiple of the workers of each, and operators after all the others
            yield from [users.__name__] * users.fixed_count
        while True:
            yield None


_PREDICTING: dict[Kind, type[Predicting]] = {Kind.JSON: JsonUser, Kind.BINARY: BinaryUser, Kind.GRPC: GrpcUser}


def classes(spec: Spec) -> list[type[User]]:
    """The users of a run, as many as it wants of each."""
    found: list[type[User]] = []
    for kind, count in spec.users.items():
        users = _PREDICTING[kind]
        users.fixed_count = 0 if spec.closed else count
        users.weight = spec.mix[kind]
        found.append(users)
    if spec.feedback:
        FeedbackUser.fixed_count = spec.workers
        found.append(FeedbackUser)
    if spec.moving:
        found.append(OperatorUser)
    return found


def besides(spec: Spec) -> int:
    """How many users there are who want no predictions."""
    return (spec.workers if spec.feedback else 0) + (1 if spec.moving else 0)
