"""What the gateway answers by itself over gRPC: the same as over HTTP, as messages.

`dispatch` knows the answers; here they are written as Triton's messages. Not ready is a `false` here where HTTP has a
status, and so is a model or version that there is none of, for that is how Triton says it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from serving.errors import Refusal
from serving.gateway.dispatch import EXTENSIONS, NAME, Standing, index_rows
from serving.gateway.dispatch import own_answer as own_over_http
from serving.gateway.grpc.fetch import ask
from serving.gateway.grpc.messages import Malformed, fields_of, text, whole
from serving.gateway.grpc.methods import INFERENCE
from serving.gateway.paths import Operation
from serving.gateway.request import Bad
from serving.gateway.wording import UNREADABLE

if TYPE_CHECKING:
    from serving.access.principal import Principal
    from serving.gateway.grpc.heads import CallHead
    from serving.gateway.routing import VersionRoute
    from serving.gateway.worker import Worker

YES = whole(1, 1)
NO = b""
_READY_ONLY = 2  # RepositoryIndexRequest.ready
_LONGEST_PATH = 128


def refused(standing: Standing, head: CallHead, who: Principal) -> Bad:
    """Why a method is not offered that is answered without a look at its message."""
    if head.target.operation is Operation.UNKNOWN:
        path = head.fields.get(b":path", b"")[:_LONGEST_PATH].decode("utf-8", "replace")
        return Bad(Refusal.UNKNOWN_PATH, f"There is no method '{path}' here: inference is /{INFERENCE}/ModelInfer.")
    found = own_over_http(standing, head.target, who)
    return found if isinstance(found, Bad) else Bad(Refusal.NOT_OFFERED, "This method is not offered here.")


def own_answer(standing: Standing, head: CallHead, message: bytes, who: Principal) -> bytes | Bad | None:
    """The gateway's own answer; None where a model's version is to answer.

    Args:
        standing: of the gateway.
        head: of the call, with what its message names.
        message: the request.
        who: asks.
    """
    own = _OWN.get(head.target.operation)
    return None if own is None else own(standing, head, message, who)


async def statistics(worker: Worker, who: Principal) -> bytes:
    """What one replica of each version has counted: their answers to ModelStatistics, one after the other.

    A message's repeated fields add up where messages are joined, so nothing of them is read.
    """
    models = [model for name, model in sorted(worker.routing.models.items()) if who.sees(name)]
    routes = [model.versions[version] for model in models for version in sorted(model.versions)]
    return b"".join(await asyncio.gather(*(_counted(worker, route) for route in routes)))


async def _counted(worker: Worker, route: VersionRoute) -> bytes:
    upstream = route.pick_any()
    if upstream is None or upstream.lines is None:
        return b""
    question = text(1, route.model.encode()) + text(2, b"%d" % route.version)
    async with worker.questions:
        answer = await ask(upstream, f"/{INFERENCE}/ModelStatistics", question, worker.config.connect_timeout_s)
    return answer or b""


def _live(_standing: Standing, _head: CallHead, _message: bytes, _who: Principal) -> bytes:
    return YES


def _ready(standing: Standing, _head: CallHead, _message: bytes, _who: Principal) -> bytes:
    return YES if standing.ready else NO


def _server(standing: Standing, _head: CallHead, _message: bytes, _who: Principal) -> bytes:
    extensions = b"".join(text(3, extension.encode()) for extension in EXTENSIONS)
    return text(1, NAME.encode()) + text(2, standing.version.encode()) + extensions


def _index(standing: Standing, _head: CallHead, message: bytes, who: Principal) -> bytes | Bad:
    try:
        only_ready = bool(dict(fields_of(message)).get(_READY_ONLY))
    except Malformed:
        return UNREADABLE
    return b"".join(
        text(1, _index_row(row))
        for row in index_rows(standing, who)
        if row["state"] == "READY" or not only_ready
    )  # fmt: skip


def _index_row(row: Mapping[str, str]) -> bytes:
    said = (row["name"], row["version"], row["state"], row.get("reason", ""))
    return b"".join(text(number, value.encode()) for number, value in enumerate(said, 1) if value)


def _model_ready(standing: Standing, head: CallHead, _message: bytes, who: Principal) -> bytes | Bad | None:
    target = head.target
    if target.version is None:
        return NO if isinstance(own_over_http(standing, target, who), Bad) else YES
    model = standing.routing.models.get(target.model)
    known = model is not None and target.number in model.versions
    return NO if target.number and not known else None  # what is no number is refused, here as by Triton


_OWN: Mapping[Operation, Callable[[Standing, CallHead, bytes, Principal], bytes | Bad | None]] = MappingProxyType(
    {
        Operation.LIVE: _live,
        Operation.READY: _ready,
        Operation.SERVER: _server,
        Operation.INDEX: _index,
        Operation.MODEL_READY: _model_ready,
    }
)
