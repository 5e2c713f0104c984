"""What the tests of the metrics share: a real Valkey."""

from tests.valkey import valkey

__all__ = ["valkey"]
