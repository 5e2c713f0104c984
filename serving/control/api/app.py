"""The application: all paths, what wraps them, and its description of itself at `/docs`."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import Any

from fastapi import APIRouter, FastAPI

from serving.control.api import aliases, deployments, operations, policies, records, registry, status, versions
from serving.control.api.limits import BodyLimit
from serving.control.api.problems import PROBLEM_TYPE, PROBLEMS, handle_errors
from serving.control.api.workshop import Workshop
from serving.control.service import ControlService

_DESCRIPTION = """\
Which version answers which request, and which versions there are: read it, change it, ask why.

Whatever takes longer than an answer should is an *operation*: the answer is 202 with where to look (`Location`), or,
with `?wait_s=`, what came of it.

Registering a model of the kinds `torchscript` and `triton` **runs its author's code** on the machines of this
installation, already in the trial; so does a pickle, which is refused unless the settings allow it. Whoever may
register may therefore run code here: let only those reach this API whom you would give a shell.
"""


def create_app(service: ControlService, workshop: Workshop | None = None) -> FastAPI:
    """The application, with its documentation at `/docs`.

    Args:
        service: policies, and what is known of who serves.
        workshop: models and versions, and what is done with them; without it none of those paths is there.
    """
    app = FastAPI(title="Sluice control API", version=installed_version("sluice-gateway"), description=_DESCRIPTION)
    app.state.service = service
    app.state.workshop = workshop
    always = (status.routes, policies.routes, records.routes)
    with_models = (registry.routes, versions.routes, aliases.routes, deployments.routes, operations.routes)
    paths = APIRouter(prefix="/api/v1", responses=PROBLEMS)
    for routes in always if workshop is None else (*always, *with_models):
        paths.include_router(routes)
    app.include_router(paths)
    app.add_api_route("/healthz", _live, methods=["GET"], summary="Whether this process answers", tags=["health"])
    app.add_middleware(BodyLimit)
    handle_errors(app)
    _describe_problems(app)
    return app


async def _live() -> dict[str, str]:
    return {"status": "live"}


def _describe_problems(app: FastAPI) -> None:
    """Has the description say of refusals what is true: FastAPI writes every model down as application/json."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            for path in described()["paths"].values():
                for operation in path.values():
                    _name_problem_type(operation["responses"])
        return described()

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


def _name_problem_type(responses: dict[str, Any]) -> None:
    for status_code in ("4XX", "5XX"):
        content = responses.get(status_code, {}).get("content", {})
        if "application/json" in content:
            content[PROBLEM_TYPE] = content.pop("application/json")
