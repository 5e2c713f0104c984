"""What the tests of the control room share: the real Valkey, and the stores that a contract is tried on."""

from tests.contracts.conftest import bench
from tests.valkey import valkey

__all__ = ["bench", "valkey"]
