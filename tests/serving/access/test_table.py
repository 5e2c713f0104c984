"""The table is about everything that our listeners serve, and about nothing that they do not."""

from __future__ import annotations

import pytest

from serving.access.roles import Needs, Role, gives
from serving.access.table import CONTROL, METRICS, PREDICTION, SYNTHETIC
from serving.gateway.paths import Operation
from tests.serving.control.operations import operations_of, whole_app

OPEN = {"GET /healthz", "GET /docs", "GET /openapi.json"}
SIGNED = {"POST /api/v1/drift/hooks/rollback"}
"""A signature is shown in the place of a key (tests/serving/control/test_api_target.py)."""


def test_every_operation_of_the_control_api_has_a_row() -> None:
    """A new endpoint is let through for nobody until somebody has decided for whom; `HEAD` goes by the row of `GET`."""
    served = {operation.replace("HEAD ", "GET ") for operation in operations_of(whole_app())}
    assert served - CONTROL.keys() == set(), "these have no row in serving.access.table.CONTROL"
    assert CONTROL.keys() - served == set(), "these rows are about nothing that is served"


def test_every_operation_of_the_prediction_port_has_a_row() -> None:
    """The same for the gateway."""
    assert set(PREDICTION) == set(Operation)


def test_only_what_a_probe_and_a_reader_need_is_open() -> None:
    """Health and the description ask for nothing; everything else asks for somebody."""
    assert {row for row, needs in CONTROL.items() if needs is Needs.NOTHING} == OPEN | SIGNED
    assert {one for one, needs in PREDICTION.items() if needs is Needs.NOTHING} == {Operation.LIVE, Operation.READY}
    assert all(METRICS.values())


def test_figures_of_all_models_are_for_whoever_may_know_them_all() -> None:
    """Metrics name every model, and a key for predictions may be narrowed to one."""
    assert min(METRICS.values()) >= Needs.OPERATE


def test_whatever_changes_something_needs_the_right_to_operate_at_least() -> None:
    """A key for predictions changes nothing, and marks nothing as synthetic; it says what came of its own requests."""
    changes = {row: needs for row, needs in CONTROL.items() if not row.startswith("GET ") and row not in SIGNED}
    assert changes.pop("POST /api/v1/feedback") is Needs.PREDICT
    assert min(changes.values()) >= Needs.OPERATE
    assert SYNTHETIC >= Needs.OPERATE


@pytest.mark.parametrize("row", sorted(CONTROL))
def test_whoever_can_let_somebody_in_or_run_code_here_administers(row: str) -> None:
    """Keys, and every change of the registry, which brings code to these machines."""
    of_keys = "/keys" in row or "/request-id-keys" in row
    of_registry = "/registry/" in row and not row.startswith("GET ")
    assert (CONTROL[row] is Needs.ADMINISTER) == (of_keys or of_registry)


def test_each_role_includes_those_below_it() -> None:
    """Predict, operate, administer."""
    assert [gives(role) for role in Role] == [Needs.PREDICT, Needs.OPERATE, Needs.ADMINISTER]
