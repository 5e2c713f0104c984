"""What the end-to-end tests share: one demo and one cluster of somebody else's, gone with the last of these tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.demo.train import DemoModels
from tests.e2e import cluster
from tests.e2e.system import Installation, end, refuses
from tests.serving.collector import Collector, collecting


@dataclass(frozen=True)
class Models:
    """The demo's trained models: a folder with `digits/1` and `digits/2`."""

    folder: Path


@pytest.fixture(scope="session")
def models(digits: DemoModels) -> Models:
    """Trained once, by the demo's own command."""
    return Models(digits.rows.parents[1])


@pytest.fixture(scope="package")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """A cluster that somebody else has started, with a token; the environment to reach it with."""
    with cluster.ray_cluster(tmp_path_factory.mktemp("ray")) as environment:
        yield environment


@dataclass(frozen=True)
class Demo:
    """A demo that is up: its folder, its addresses, and the rows that it has sent."""

    installation: Installation
    folder: Path
    http_url: str
    control_url: str
    rows: NDArray[np.float32]
    labels: NDArray[np.int64]
    collector: Collector

    @property
    def http_place(self) -> str:
        """host:port, as tritonclient wants it."""
        return self.http_url.removeprefix("http://")


@pytest.fixture(scope="package")
def collector() -> Iterator[Collector]:
    """Where the demo's spans go."""
    with collecting() as one:
        yield one


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Demo]:
    """`sluice demo`, up until the last of these tests: by Ctrl-C, with 0, and nothing of it may be left over then."""
    settings = {"GATEWAY__WORKERS": "2", "TRACING__ENDPOINT": collector.url, "LOGS__ACCESS": "100%"}
    variables = {f"SLUICE_{name}": value for name, value in settings.items()}
    variables["OTEL_EXPORTER_OTLP_HEADERS"] = "x-tenant=digits"  # which only a keeper reads, below Ray's processes
    installation = Installation(tmp_path_factory.mktemp("demo"), variables)
    process = installation.start("demo")
    try:
        run = installation.ready(process, said="sluice traffic set")
        with np.load(installation.folder / ".sluice" / "models" / "digits" / "rows.npz") as kept:
            rows, labels = kept["pixels"], kept["labels"]
        yield Demo(installation, installation.folder, run["http_url"], run["control_url"], rows, labels, collector)
    finally:
        code = end(process)
        installation.gone()
    assert code == 0, installation.output()
    assert refuses(run["http_url"])
