"""What the tests of the control room share: the real Valkey."""

from tests.valkey import valkey

__all__ = ["valkey"]
