"""A pickle is an artifact only where the caller says so, and never beside something better."""

import pytest

from registry.errors import Unacceptable
from registry.kinds import ArtifactKind, kind_of, model_file


@pytest.mark.parametrize("name", ["model.pkl", "model.pickle", "model.joblib"])
def test_a_pickle_that_is_allowed_is_a_scikit_learn_model(name: str) -> None:
    """Without the permission it is refused."""
    assert kind_of([name, "readme.md"], allow_pickle=True) is ArtifactKind.SKLEARN
    assert model_file([name, "readme.md"], allow_pickle=True) == name
    with pytest.raises(Unacceptable, match="is a pickle"):
        kind_of([name, "readme.md"])


def test_a_torch_pickle_is_never_one() -> None:
    """It holds weights without the code that they belong to."""
    with pytest.raises(Unacceptable, match="is a pickle"):
        kind_of(["weights.pth"], allow_pickle=True)


def test_a_pickle_beside_a_model_is_not_the_model() -> None:
    """What can be loaded safely comes first, permission or not."""
    for allowed in (False, True):
        assert kind_of(["model.skops", "model.pkl"], allow_pickle=allowed) is ArtifactKind.SKLEARN
        assert model_file(["model.onnx", "model.pkl"], allow_pickle=allowed) == "model.onnx"


def test_two_pickles_are_two_models() -> None:
    """Nobody guesses which one is meant."""
    with pytest.raises(Unacceptable, match="several model files"):
        kind_of(["a.pkl", "b.joblib"], allow_pickle=True)


def test_a_pickle_deeper_down_is_no_model() -> None:
    """A model file lies at the top."""
    with pytest.raises(Unacceptable):
        model_file(["deep/model.pkl"], allow_pickle=True)
