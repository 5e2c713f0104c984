"""A diff names what differs, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings

from registry.diff import Difference, diff
from registry.models import TrainingData, Version
from registry.signature import Signature
from tests.registry.made import SIGNATURE, contents, version, versions


def changed(**fields: object) -> Version:
    """Version 2: as version 1, except for this."""
    return replace(version(2), contents=replace(contents(), **fields))  # type: ignore[arg-type]


@given(versions)
@settings(max_examples=20, deadline=None)
def test_nothing_differs_from_itself(one: Version) -> None:
    """Number, name and time are not what a version is made of."""
    assert not diff(one, replace(one, registered_by="bob", registered_at_ms=1))


def test_each_part_says_what_differs_in_it() -> None:
    """Parameters, metrics, data, files, tags."""
    after = changed(
        parameters={"epochs": 40, "rate": 0.002, "layers": 2},
        metrics={"accuracy": 0.75},
        data=TrainingData("f" * 64, 2_000),
        code_revision="4d5e6f7",
        tags={"team": "risk"},
    )
    found = diff(version(1), after)
    assert [(one.name, one.before, one.after) for one in found.parameters] == [
        ("epochs", 15, 40),
        ("layers", None, 2),
        ("shuffled", True, None),
    ]
    assert [(one.name, one.change) for one in found.metrics] == [("accuracy", 0.25)]
    assert found.data == (Difference("rows", 1_497, 2_000),)
    assert found.made_of == (Difference("code_revision", "0f1e2d3", "4d5e6f7"),)
    assert found.tags == (Difference("team", None, "risk"),)
    assert (found.signature, found.objections) == ((), ())


def test_true_is_not_one() -> None:
    """Equal to Python, and different to train with."""
    found = diff(version(1), changed(parameters={"epochs": 15, "rate": 0.002, "shuffled": 1}))
    assert found.parameters == (Difference("shuffled", True, 1),)
    assert found.parameters[0].change is None


def test_a_signature_that_breaks_clients_says_so() -> None:
    """Which tensors differ, and why that matters."""
    found = diff(version(1), changed(signature=Signature(SIGNATURE.inputs, SIGNATURE.outputs[:1])))
    assert found.signature == (Difference("output digit", "digit INT64 [1]", None),)
    assert found.objections == ("Clients read the output digit INT64 [1], which is not given.",)
