"""What the application's description says beyond what FastAPI finds out: how refusals look, and who may ask what."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

from serving.access.roles import Needs
from serving.control.api.gate import Table
from serving.control.api.problems import PROBLEM_TYPE

_SCHEME: Final = "bearer"


def describe(app: FastAPI, *, required: bool) -> None:
    """Completes the description, which is made when it is first asked for.

    Args:
        app: what is described; all of its paths are there.
        required: whether a key or a token is asked of everybody.
    """
    described = app.openapi
    table = Table()

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = described()
            document["components"]["securitySchemes"] = {_SCHEME: _BEARER}
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    _name_problem_type(operation["responses"])
                    _name_role(operation, table.needs(method.upper(), path), required=required)
        return described()

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


_BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key (`sluice keys create`), or a token of the issuer that the settings name.",
}


def _name_problem_type(responses: dict[str, Any]) -> None:
    """FastAPI writes every model down as application/json."""
    for status_code in ("4XX", "5XX"):
        content = responses.get(status_code, {}).get("content", {})
        if "application/json" in content:
            content[PROBLEM_TYPE] = content.pop("application/json")


def _name_role(operation: dict[str, Any], needs: Needs | None, *, required: bool) -> None:
    if not needs:
        operation["security"] = []
        return
    role = needs.name.lower()
    operation["security"] = [{_SCHEME: []}] if required else [{_SCHEME: []}, {}]
    operation["x-sluice-role"] = role
    words = operation.get("description", "")
    operation["description"] = f"{words}\n\nNeeds the role `{role}`.".strip()
