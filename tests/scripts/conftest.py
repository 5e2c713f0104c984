"""What the tests of scripts share."""

from tests.valkey import valkey

__all__ = ["valkey"]
