"""Where Triton binds on a node of a cluster: at the node's own address, and nowhere that everybody reaches."""

import warnings
from types import ModuleType

import pytest

from serving.errors import StartFailed
from serving.triton.arguments import PoolArguments


@pytest.fixture(scope="module")
def pool() -> ModuleType:
    """What is under test; it brings Ray, which reads its environment when it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own past
        from serving.triton import pool as found  # noqa: PLC0415
    return found


def arguments(host: str) -> dict[str, object]:
    """Of a pool whose servers bind there."""
    return PoolArguments("m", 1, "/s", "", path="/m", host=host).plain()


@pytest.mark.parametrize("address", ["10.0.0.7", "127.0.0.1", "fd00::7"])
def test_each_nodes_own(address: str, pool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """`node` is the address by which Ray knows the node that the replica has come to; so it is what is advertised."""
    monkeypatch.setattr(pool, "node_address", lambda: address)
    placed = pool._placed(arguments("node"))
    assert placed.host == address
    assert pool._advertised(placed) == address


def test_an_address_stays(pool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was named is that on every node."""
    monkeypatch.setattr(pool, "node_address", lambda: "10.0.0.7")
    assert pool._placed(arguments("10.0.0.8")).host == "10.0.0.8"


def test_a_public_node(pool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton asks nobody for a key, so a node that Ray knows by a public address starts none."""
    monkeypatch.setattr(pool, "node_address", lambda: "8.8.8.8")
    with pytest.raises(StartFailed, match=r"8\.8\.8\.8, which is no private address"):
        pool._placed(arguments("node"))
