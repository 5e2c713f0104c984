"""A real Valkey for the one test that needs it."""

from tests.valkey import valkey

__all__ = ["valkey"]
