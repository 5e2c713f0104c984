"""What these tests share: one tracking server with models on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.control.importing.tracking_server import log_models, tracking_server


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real MLflow server with the models of `logged.py`, gone with the session."""
    with tracking_server(tmp_path_factory.mktemp("mlflow")) as uri:
        log_models(uri)
        yield uri
