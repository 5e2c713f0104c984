"""What the API says of itself: who may ask what, and a page that runs nobody's script."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from serving.access.roles import Needs
from serving.access.table import CONTROL
from serving.control.api import create_app
from serving.control.api.gate import Door
from serving.control.api.manual import page
from serving.control.doorman import Doorman
from serving.control.fake_store import FakeStore
from serving.control.service import ControlService
from tests.serving.control.operations import whole_app


@pytest.fixture
def app() -> FastAPI:
    """All of it."""
    return whole_app()


def test_every_operation_says_which_role_it_needs(app: FastAPI) -> None:
    """As the table has it: in a member of its own, in words, and as a scheme that tools understand."""
    document = app.openapi()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needs = CONTROL[f"{method.upper()} {path}"]
            if needs is Needs.NOTHING:
                assert operation["security"] == []
                assert "x-sluice-role" not in operation
            else:
                assert operation["security"][0] == {"bearer": []}
                assert operation["x-sluice-role"] == needs.name.lower()
                assert f"`{needs.name.lower()}`" in operation["description"]


@pytest.mark.parametrize("required", [True, False])
def test_it_says_whether_a_key_is_asked_for(*, required: bool) -> None:
    """Without `access.required` none need be shown."""
    app = create_app(ControlService(FakeStore(), {}), door=Door(Doorman(required=required)))
    assert ({} in app.openapi()["paths"]["/api/v1/status"]["get"]["security"]) is not required


def test_the_description_is_the_same_the_second_time(app: FastAPI) -> None:
    """What is added is added once."""
    assert app.openapi() is app.openapi()
    assert str(app.openapi()).count("Needs the role `operate`") == str(app.openapi()).count(
        "'x-sluice-role': 'operate'"
    )


class _Reader(HTMLParser):
    """What is in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_the_page_loads_and_runs_nothing(app: FastAPI) -> None:
    """No script, no handler, no other host; only its own style sheet, which the policy allows by its hash."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        answer = await http.get("/docs")
    reader = _Reader()
    reader.feed(answer.text)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name.startswith("on") or name in {"src", "style"}]
    assert {value for name, value in reader.attributes if name == "href" and not str(value).startswith("#")} == {
        "openapi.json"
    }
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert answer.headers["content-type"].startswith("text/html")


def test_the_page_names_every_operation_and_every_shape(app: FastAPI) -> None:
    """With its role; every link leads to something on the page."""
    document = app.openapi()
    html = page(document)
    reader = _Reader()
    reader.feed(html)
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}" in reader.text
    anchors = set(re.findall(r'id="([^"]+)"', html))
    assert anchors == set(document["components"]["schemas"])
    assert set(re.findall(r'href="#([^"]+)"', html)) <= anchors


def test_what_is_described_cannot_break_out_of_the_page() -> None:
    """Every text of the document is escaped, wherever it stands."""
    evil = "<script>alert(1)</script>\"'"
    content = {evil: {"schema": {"$ref": f"#/components/schemas/{evil}"}}}
    operation: dict[str, Any] = {
        "summary": evil,
        "description": evil,
        "parameters": [{"name": evil, "in": evil, "description": evil, "schema": {"pattern": evil}, "required": True}],
        "requestBody": {"content": content},
        "responses": {evil: {"description": evil, "content": {evil: {"schema": {"title": evil}}}}},
    }
    document = {
        "info": {"title": evil, "version": evil, "description": evil},
        "paths": {f"/{evil}": {evil: operation}},
        "components": {"schemas": {evil: {"description": evil}}},
    }
    html = page(document)
    assert "<script" not in html.lower()
    reader = _Reader()
    reader.feed(html)
    assert "alert" not in "".join(name for name, _ in reader.attributes)
