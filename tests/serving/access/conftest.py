"""The prediction port runs on uvloop, as in production."""

from tests.serving.gateway.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
