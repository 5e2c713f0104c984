"""A signature is right or it cannot be built, and a candidate that serves stable's clients really does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Unacceptable
from registry.signature import DATATYPES, Signature, TensorSpec
from tests.registry.made import SIGNATURE, signatures

X = TensorSpec("x", "FP32", (4,))
Y = TensorSpec("y", "FP32", (2,))
STABLE = Signature((X,), (Y,))


@given(signatures)
def test_every_signature_serves_its_own_clients(signature: Signature) -> None:
    """Nothing has changed for them."""
    assert signature.serves(signature)


@st.composite
def successors(draw: st.DrawFn, stable: Signature) -> Signature:
    """A candidate whose inputs are at least as wide, and whose outputs are at most as wide."""
    wide = tuple(
        replace(one, shape=tuple(draw(st.sampled_from([-1, size])) for size in one.shape), optional=True)
        for one in stable.inputs
    )
    narrow = tuple(
        replace(one, shape=tuple(size if size > 0 else draw(st.sampled_from([-1, 5])) for size in one.shape))
        for one in stable.outputs
    )
    extra = TensorSpec(f"extra.{len(stable.outputs)}", "BOOL", (1,))
    return Signature((*wide, replace(extra, optional=True)), (extra, *reversed(narrow)))


@given(signatures, st.data())
def test_wider_inputs_and_narrower_outputs_serve(stable: Signature, data: st.DataObject) -> None:
    """A dimension may begin to vary in an input, an input become optional, and an output be fixed or be added."""
    assert data.draw(successors(stable)).objections(stable) == ()


@given(signatures, st.data())
def test_who_serves_the_one_that_serves_serves_too(stable: Signature, data: st.DataObject) -> None:
    """Clients of the first can go to the third by way of the second."""
    second = data.draw(successors(stable))
    third = data.draw(successors(second))
    assert third.serves(second)
    assert third.serves(stable)


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (
            Signature((replace(X, name="z", optional=True),), (Y,)),
            "Clients send the input x FP32 [4], which is not taken",
        ),
        (Signature((X, replace(X, name="z")), (Y,)), "The input z FP32 [4] is required"),
        (Signature((replace(X, datatype="FP16"),), (Y,)), "and x FP16 [4] is taken"),
        (Signature((replace(X, shape=(5,)),), (Y,)), "and x FP32 [5] is taken"),
        (Signature((replace(X, shape=(4, 1)),), (Y,)), "and x FP32 [4, 1] is taken"),
        (Signature((X,), (replace(Y, name="z"),)), "Clients read the output y FP32 [2], which is not given"),
        (Signature((X,), (replace(Y, datatype="INT64"),)), "and y INT64 [2] is given"),
        (Signature((X,), (replace(Y, shape=(-1,)),)), "and y FP32 [-1] is given"),
    ],
)
def test_what_a_client_would_notice_is_an_objection(candidate: Signature, said: str) -> None:
    """Each change that breaks a client is told in a sentence of its own."""
    [objection] = candidate.objections(STABLE)
    assert said in objection
    assert not candidate.serves(STABLE)


def test_what_varied_may_not_become_fixed_in_an_input() -> None:
    """Clients may send any size then, and one size only would be taken; nor may what was optional be required."""
    varying = Signature((replace(X, shape=(-1,)),), (Y,))
    assert not STABLE.serves(varying)
    assert varying.serves(STABLE)
    assert not STABLE.serves(Signature((replace(X, optional=True),), (Y,)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a b"),
        ("name", "a\n"),
        ("name", 1),
        ("datatype", "float32"),
        ("datatype", "TYPE_FP32"),
        ("shape", ()),
        ("shape", (0,)),
        ("shape", (-2,)),
        ("shape", (True,)),
        ("shape", (1.0,)),
        ("shape", (1,) * 33),
        ("optional", 1),
    ],
)
def test_a_tensor_that_cannot_be_is_not_built(field: str, value: object) -> None:
    """Names, datatypes and shapes are Triton's."""
    with pytest.raises(Unacceptable):
        TensorSpec(**{"name": "x", "datatype": "FP32", "shape": (1,), field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("inputs", "outputs"), [((), (Y,)), ((X,), ()), ((X, X), (Y,)), ((X,), (Y, Y))])
def test_a_signature_that_cannot_be_is_not_built(inputs: tuple[TensorSpec, ...], outputs: object) -> None:
    """At least one input and one output, and no name twice."""
    with pytest.raises(Unacceptable):
        Signature(inputs, outputs)  # type: ignore[arg-type]
    with pytest.raises(Unacceptable, match="only inputs can be"):
        Signature((X,), (replace(Y, optional=True),))


@given(st.sampled_from(DATATYPES))
def test_every_datatype_is_known(datatype: str) -> None:
    """Triton's own names."""
    assert str(TensorSpec("x", datatype, (-1, 3))) == f"x {datatype} [-1, 3]"


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        ({"name": "pixels", "datatype": "FP32", "shape": [64]}, ()),
        ({"name": "pixels", "datatype": "FP32", "shape": [7, 64]}, ()),
        ({"name": "pixels", "datatype": "FP64", "shape": [1, 64]}, ("is FP64",)),
        ({"name": "pixels", "datatype": "FP32", "shape": [1, 65]}, ("[1, 65]",)),
        ({"name": "dots", "datatype": "FP32", "shape": [1, 64]}, ("lacks the input pixels", "'dots', which is no")),
    ],
)
def test_a_request_fits_or_is_told_why_not(tensor: dict[str, object], said: tuple[str, ...]) -> None:
    """With a batch in front or without, for only the artifact knows whether the model batches."""
    refusals = SIGNATURE.refusals([tensor])
    assert len(refusals) == len(said)
    assert all(part in refusal for part, refusal in zip(said, refusals, strict=True))
