"""The errors, and the one table of statuses."""

import pickle
from http import HTTPStatus

import pytest

from serving.control.errors import Deposed, GatewayTooOld, ModelStopped, RolloutActive
from serving.errors import STATUS, ControlError, PortTaken, Refusal, SettingsError, SluiceError

grpc = pytest.importorskip("grpc")


def test_every_refusal_has_a_status() -> None:
    """The table is complete, and cannot be changed."""
    assert set(STATUS) == set(Refusal)
    with pytest.raises(TypeError):
        STATUS[Refusal.CONNECT] = STATUS[Refusal.DEADLINE]  # type: ignore[index]


@pytest.mark.parametrize("refusal", Refusal)
def test_every_status_exists(refusal: Refusal) -> None:
    """HTTP knows the number, as an error, and gRPC the name."""
    status = STATUS[refusal]
    assert HTTPStatus(status.http).value >= 400
    assert status.grpc is None or grpc.StatusCode[status.grpc] is not grpc.StatusCode.OK


@pytest.mark.parametrize("refusal", Refusal)
def test_whoever_may_come_back_is_told_when(refusal: Refusal) -> None:
    """Retry-After goes with 429 and 503, and with nothing else."""
    status = STATUS[refusal]
    assert (status.retry_after_s is not None) == (status.http in {429, 503})


@pytest.mark.parametrize(
    "error",
    [
        SluiceError("a", "b"),
        PortTaken("a", "b"),
        SettingsError("a", "b", ["c", "d"]),
        ControlError("a", "b", 404, {"detail": "a"}),
    ],
)
def test_errors_survive_the_way_from_another_process(error: SluiceError) -> None:
    """Sentence, hint and what else they carry come out of a pickle as they went in."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("error", [GatewayTooOld("g1"), RolloutActive("ro_1"), ModelStopped("m"), Deposed()], ids=repr)
def test_an_error_is_shown_as_its_sentence(error: SluiceError) -> None:
    """Not as what it keeps so that it can be pickled."""
    assert str(error) == error.sentence
    assert str(pickle.loads(pickle.dumps(error))) == error.sentence  # noqa: S301 - our own
