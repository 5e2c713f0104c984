"""What may be imported, and from where a tracking server may say that the files come."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.errors import Unacceptable
from registry.roots import Roots
from serving.control.importing.source import Source, admit, shown

URI = "http://ada:secret@mlflow.example:5000"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("mlflow:/iris/3", Source("iris", 3)),
        ("mlflow:/my model v2/3", Source("my model v2", 3)),
        ("mlflow:/iris@champion", Source("iris", None, "champion")),
    ],
)
def test_a_source_is_read_and_written_back(text: str, source: Source) -> None:
    """By number or by alias, in the server's own names."""
    assert Source.of(text) == source
    assert str(source) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "iris/3", "mlflow:/iris", "mlflow:/iris/", "mlflow:/iris/0", "mlflow:/iris/latest", "mlflow:/iris/3/x"),
        *("mlflow://host/iris/3", "models:/iris/3", "mlflow:/iris@", "mlflow:/iris/99999999999", "mlflow:/a:b/1"),
        *("mlflow:/iris/3\n", None, 3, ["mlflow:/iris/3"]),
    ],
)
def test_anything_else_is_refused_with_the_two_forms(text: object) -> None:
    """Whatever JSON can hold."""
    with pytest.raises(Unacceptable, match="nothing that can be imported") as caught:
        Source.of(text)
    assert "mlflow:/NAME/VERSION" in caught.value.hint


def test_an_address_is_shown_without_its_password() -> None:
    """It ends up in logs and answers."""
    assert shown(URI + "/base/?token=x") == "http://mlflow.example:5000/base"


@pytest.mark.parametrize(
    "address", ["mlflow-artifacts:/0/models/m-1/artifacts", "mlflow-artifacts://mlflow.example:5000/0/models"]
)
def test_the_servers_own_store_is_admitted(address: str) -> None:
    """It is what the settings name."""
    admit(address, URI, Roots(()))


@pytest.mark.parametrize("address", ["s3://bucket/models/1", "file:///etc", "/etc", "https://elsewhere.example/files"])
def test_other_places_are_not(address: str) -> None:
    """They would be read with our rights; the hint says how they can be."""
    with pytest.raises(Unacceptable, match="outside of its own store") as caught:
        admit(address, URI, Roots.of(["s3://bucket/others"]))
    assert "registry.sources" in caught.value.hint


def test_another_server_is_not_sent_our_credentials() -> None:
    """The scheme alone does not make it the tracking server."""
    with pytest.raises(Unacceptable, match=r"on another server, evil\.example"):
        admit("mlflow-artifacts://evil.example/0/models", URI, Roots(()))


def test_places_that_the_settings_list_are_admitted(tmp_path: Path) -> None:
    """A bucket, or a folder that both machines see."""
    admit("s3://bucket/models/1", URI, Roots.of(["s3://bucket/models"]))
    admit(f"file://{tmp_path}/1", URI, Roots.of([str(tmp_path)]))
