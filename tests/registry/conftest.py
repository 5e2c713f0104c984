"""What the tests of the registry share: the real Valkey."""

from tests.valkey import valkey

__all__ = ["valkey"]
