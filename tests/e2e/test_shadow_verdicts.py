"""Rollouts that only copy requests and are left alone, on the real Ray, Triton and Valkey.

The scenarios are those of `make proof-shadow`, in small. How long anything took is told there and judged nowhere.
"""

from __future__ import annotations

import os

import pytest

from loadtests.shadow.proof import Asked
from loadtests.shadow.real import played_in
from tests.e2e.system import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]


def test_copies_take_back_what_answers_otherwise_and_nothing_else(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A class confused in one region goes back by itself and is pointed at; stable's own noise stays to its end."""
    left = Installation(tmp_path_factory.mktemp("shadow"))
    with pytest.MonkeyPatch.context() as patch:
        for name in [one for one in os.environ if one.startswith(("SLUICE_", "RAY_"))]:
            patch.delenv(name)
        try:
            figures = played_in(left.folder, Asked(quick=True), "confused", "only noise")
        finally:
            left.gone()
    assert [f"{one.name}: {one.value}" for one in figures if not one.good] == [], figures
