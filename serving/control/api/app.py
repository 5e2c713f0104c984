"""The application: all paths, what wraps them, and its description of itself at `/docs`."""

from __future__ import annotations

from importlib.metadata import version as installed_version

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse
from starlette.types import ASGIApp

from serving.control.api import (
    aliases,
    deployments,
    differences,
    drift,
    drift_episodes,
    drift_target,
    drift_webhooks,
    drift_windows,
    epochs,
    events,
    feedback,
    keys,
    ledger,
    operations,
    policies,
    rates,
    records,
    registry,
    results,
    rollouts,
    status,
    stops,
    versions,
)
from serving.control.api.describing import describe
from serving.control.api.desk import Desk
from serving.control.api.gate import Door, Gate
from serving.control.api.headers import Framing, Hosts, OnlyHttp, SameOrigin, SecurityHeaders
from serving.control.api.limits import BodyLimit
from serving.control.api.manual import POLICY, page
from serving.control.api.problems import PROBLEMS, handle_errors
from serving.control.api.workshop import Workshop
from serving.control.keys import KeyService
from serving.control.service import ControlService

_DESCRIPTION = """\
Which version answers which request, and which versions there are: read it, change it, ask why.

Whatever takes longer than an answer should is an *operation*: the answer is 202 with where to look (`Location`), or,
with `?wait_s=`, what came of it.

Registering a model of the kinds `torchscript` and `triton` **runs its author's code** on the machines of this
installation, already in the trial; so does a pickle, which is refused unless the settings allow it. Whoever may
register may therefore run code here: give the role administer only to those whom you would give a shell.
"""


class ControlApi(FastAPI):
    """The application with its door: nothing in it is reached but through what stands in `build_middleware_stack`.

    Args:
        door: who may come in.
    """

    def __init__(self, door: Door) -> None:
        super().__init__(
            title="Sluice control API",
            version=installed_version("sluice-gateway"),
            description=_DESCRIPTION,
            redirect_slashes=False,
            docs_url=None,
            redoc_url=None,
        )
        self.door = door

    def build_middleware_stack(self) -> ASGIApp:
        """What a request goes through, the last of these first; it also wraps what FastAPI says of its own failures."""
        inner: ASGIApp = super().build_middleware_stack()
        stack: ASGIApp = SameOrigin(inner, self.door.log)
        stack = Gate(stack, self.door, self.router.routes)
        stack = Hosts(stack, self.door.hosts, self.door.log)
        stack = Framing(stack, self.door.log)
        stack = BodyLimit(stack)
        stack = SecurityHeaders(stack)
        return OnlyHttp(stack, inner)


def create_app(
    service: ControlService,
    workshop: Workshop | None = None,
    door: Door | None = None,
    *,
    key_service: KeyService | None = None,
    desk: Desk | None = None,
) -> ControlApi:
    """The application, with its documentation at `/docs`.

    Args:
        service: policies, and what is known of who serves.
        workshop: models and versions, and what is done with them; without it none of those paths is there.
        door: who may come in; by default everybody who reaches it, as on loopback.
        key_service: API keys; without it none of their paths is there.
        desk: rollouts, and what is told of them; without it none of their paths is there.
    """
    app = ControlApi(door or Door())
    app.state.service = service
    app.state.workshop = workshop
    app.state.doorman = app.door.doorman
    app.state.keys = key_service
    app.state.desk = desk
    always = (status.routes, policies.routes, rates.routes, records.routes, ledger.routes, keys.whoami)
    of_rollouts = (rollouts.routes, ledger.of_rollouts, stops.routes, epochs.routes, events.routes)
    of_drift = (drift.routes, drift_episodes.routes)
    with_desk = () if desk is None else (*of_rollouts, feedback.routes, results.routes, differences.routes, *of_drift)
    with_models = (registry.routes, versions.routes, aliases.routes, deployments.routes, operations.routes)
    paths = APIRouter(prefix="/api/v1", responses=PROBLEMS)
    with_keys = () if key_service is None else (keys.routes,)
    with_hooks = () if desk is None else (drift_webhooks.routes, drift_windows.routes, drift_target.routes)
    for routes in (*always, *with_desk, *with_hooks, *with_keys, *(() if workshop is None else with_models)):
        paths.include_router(routes)
    app.include_router(paths)
    app.add_api_route("/healthz", _live, methods=["GET"], summary="Whether this process answers", tags=["health"])
    app.add_api_route("/docs", _manual, methods=["GET"], include_in_schema=False)
    handle_errors(app)
    describe(app, required=app.door.doorman.required)
    return app


async def _live() -> dict[str, str]:
    return {"status": "live"}


async def _manual(request: Request) -> HTMLResponse:
    return HTMLResponse(page(request.app.openapi()), headers={"Content-Security-Policy": POLICY})
