"""A pool's arguments travel as JSON and name every mistake."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving.errors import SluiceError
from serving.pools import PoolOptions, PoolSpec
from serving.triton.arguments import PoolArguments, missing_gpu, read

LEAST: dict[str, Any] = {"model": "m", "version": 1, "path": "/a", "state_dir": "/s", "redis_url": "redis://h"}


def test_arguments_survive_json() -> None:
    """What `plain` gives, JSON holds, and `read` makes the same arguments of it."""
    pool = PoolArguments(**LEAST, options={"device": "gpu", "preferred_batch_sizes": [2, 4]}, allow_pickle=True)
    assert read(json.loads(json.dumps(pool.plain()))) == pool
    assert pool.how.preferred_batch_sizes == (2, 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verison": 1}, "verison"),
        ({"options": {"replicas": 0}}, r"options\.replicas: it takes a whole number"),
        ({"options": {"num_gpus": 0, "device": "gpu"}}, r"options\.num_gpus"),
        ({"options": {"dvice": "gpu"}}, r"options\.dvice"),
        ({"path": ""}, "exactly one of the two"),
        ({"artifact": "a" * 64, "artifacts": "/store"}, "exactly one of the two"),
        ({"path": "", "artifact": "a" * 64}, "address of a store"),
        ({"lease_s": 0}, "lease_s"),
        ({"first_port": 9, "last_port": 10}, "3 ports or more"),
        ({"model": "../up"}, "name"),
        ({"version": 0}, "version"),
        ({"lease_s": "2"}, "kind"),
    ],
)
def test_wrong_arguments_are_refused(change: dict[str, Any], said: str) -> None:
    """An unknown argument and one that is not allowed are refused by name."""
    with pytest.raises(SluiceError, match=said):
        read(LEAST | change)


def test_missing_arguments_are_refused() -> None:
    """An argument that is needed and missing is refused by name."""
    with pytest.raises(SluiceError, match="redis_url"):
        read({name: value for name, value in LEAST.items() if name != "redis_url"})


def test_every_mistake_is_named() -> None:
    """Two mistakes are two lines of one error."""
    with pytest.raises(SluiceError, match=r"(?s)drain_limit_s.*options\.instance_count.*options\.threads"):
        read(LEAST | {"options": {"instance_count": 0, "threads": 0}, "drain_limit_s": -1})


def test_the_arguments_of_a_registered_version_are_its_pools(tmp_path: Path) -> None:
    """What makes the pool's digest comes back from the arguments, and so does what a replica lays out."""
    plain = LEAST | {"path": "", "artifact": "a" * 64, "artifacts": "/store", "kind": "onnx", "example": "{}"}
    pool = read(plain | {"signature": "{}", "options": {"max_batch_size": 8}})
    options = PoolOptions(max_batch_size=8)
    spec = PoolSpec("m", 1, options, artifact="a" * 64, kind="onnx", signature="{}", example="{}")
    assert pool.spec == spec
    assert pool.spec.digest == spec.digest
    laid_out = pool.laid_out_from(tmp_path)
    assert (laid_out.path, laid_out.kind, laid_out.options.max_batch_size) == (tmp_path, "onnx", 8)


def test_a_cluster_without_a_gpu_is_refused_in_a_sentence() -> None:
    """A pool on a GPU is refused where the cluster has too few, and only there."""
    gpus = read(LEAST | {"options": {"device": "gpu"}}).how.gpus
    assert missing_gpu("m", 1, gpus, {"GPU": 1.0}) is None
    assert missing_gpu("m", 1, read(LEAST).how.gpus, {}) is None
    sentence = missing_gpu("m", 1, gpus, {"CPU": 2.0})
    assert sentence is not None
    assert sentence.startswith("m version 1 is to run on a GPU")
    assert sentence.endswith(".")
