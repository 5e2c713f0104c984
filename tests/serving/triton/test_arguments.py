"""A pool's arguments travel as JSON and name every mistake."""

import json
from typing import Any

import pytest

from serving.errors import SluiceError
from serving.triton.arguments import PoolArguments, missing_gpu, read

LEAST: dict[str, Any] = {"model": "m", "version": 1, "path": "/a", "state_dir": "/s", "redis_url": "redis://h"}


def test_arguments_survive_json() -> None:
    """What `plain` gives, JSON holds, and `read` makes the same arguments of it."""
    pool = PoolArguments(**LEAST, device="gpu", replicas=3)
    assert read(json.loads(json.dumps(pool.plain()))) == pool


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verison": 1}, "verison"),
        ({"replicas": 0}, "replicas"),
        ({"lease_s": 0}, "lease_s"),
        ({"num_gpus": 0}, "num_gpus"),
        ({"first_port": 9, "last_port": 9}, "port range"),
        ({"model": "../up"}, "name"),
        ({"version": 0}, "version"),
        ({"replicas": "2"}, "kind"),
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
    with pytest.raises(SluiceError, match=r"(?s)replicas.*drain_limit_s"):
        read(LEAST | {"replicas": 0, "drain_limit_s": -1})


def test_a_cluster_without_a_gpu_is_refused_in_a_sentence() -> None:
    """A pool on a GPU is refused where the cluster has too few, and only there."""
    pool = read(LEAST | {"device": "gpu"})
    assert missing_gpu(pool.model, pool.version, pool.gpus, {"GPU": 1.0}) is None
    assert missing_gpu("m", 1, read(LEAST).gpus, {}) is None
    sentence = missing_gpu(pool.model, pool.version, pool.gpus, {"CPU": 2.0})
    assert sentence is not None
    assert sentence.startswith("m version 1 is to run on a GPU")
    assert sentence.endswith(".")
