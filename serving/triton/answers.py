"""What a running model answers, against what its signature says of it.

For most kinds of artifact the server's configuration is written from the signature, so it cannot contradict it; what
the model gives can. It is asked its sample once more and, where Triton may merge requests into batches, another number
of rows: a model that was exported with a batch dimension that does not vary takes no other than its sample's.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tritonclient.utils import InferenceServerException

from registry.signature import TensorSpec
from serving.triton.samples import Sample, inputs, rows_of, with_rows
from serving.triton.version import ArtifactRefused
from serving.triton.warmup import Server, one_line

_VARIES = -1


async def check(
    server: Server, whose: str, sample: Sample, said: Sequence[TensorSpec], *, most_rows: int, within_s: float
) -> None:
    """Asks for the sample's answer, and for one to another number of rows.

    Args:
        server: that is warm.
        whose: in a sentence.
        sample: what it answers.
        said: the signature's outputs.
        most_rows: how many rows a batch may have; 0 where Triton does not batch.
        within_s: how long each answer may take, in seconds.

    Raises:
        ArtifactRefused: it answers something else, or not every number of rows.
    """
    _refuse(whose, said, await _answer(server, sample, within_s), rows_of(sample) if most_rows else None)
    rows = rows_of(sample)
    others = 2 if rows == 1 else 1
    if rows is None or others > most_rows:
        return
    try:
        answer = await _answer(server, with_rows(sample, others), within_s)
    except Exception as error:  # tritonclient passes on whatever its transport raises
        words = error.message() if isinstance(error, InferenceServerException) else str(error)
        raise ArtifactRefused(
            f"{whose} is to take batches of up to {most_rows} rows, and answers {_rows(rows)} but does not take "
            f"{_rows(others)}: {one_line(words) or type(error).__name__}.",
            "Export it with a batch dimension that varies, or set max_batch_size to 0 where it has none.",
        ) from error
    _refuse(whose, said, answer, others)


def differences(said: Iterable[TensorSpec], answer: Mapping[str, Any], rows: int | None) -> Iterable[str]:
    """Where an answer differs from the signature, a clause each.

    Args:
        said: the signature's outputs.
        answer: as the v2 protocol has it.
        rows: how many it must have in front; None where Triton does not batch, and any number may be there, or none.
    """
    wanted = {tensor.name: tensor for tensor in said}
    found = {str(one["name"]): one for one in answer["outputs"]}
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            yield f"the signature has the output {wanted[name]}, and the answer has none of that name"
            continue
        datatype, shape = str(found[name]["datatype"]), [int(size) for size in found[name]["shape"]]
        if name not in wanted:
            yield f"the answer has the output {name} {datatype} {shape}, and the signature has none of that name"
        elif datatype != wanted[name].datatype or not _fits(shape, wanted[name].shape, rows):
            of = "" if rows is None else f" for {_rows(rows)}"
            yield f"the signature has the output {wanted[name]}, and the answer{of} has {name} {datatype} {shape}"


def _fits(shape: Sequence[int], said: Sequence[int], rows: int | None) -> bool:
    forms = [(rows, *said)] if rows is not None else [tuple(said), (_VARIES, *said)]
    return any(
        len(form) == len(shape) and all(wanted in {_VARIES, size} for wanted, size in zip(form, shape, strict=True))
        for form in forms
    )


def _refuse(whose: str, said: Iterable[TensorSpec], answer: Mapping[str, Any], rows: int | None) -> None:
    if wrong := list(differences(said, answer, rows)):
        raise ArtifactRefused(
            f"{whose} does not answer as its signature says: {'; '.join(wrong)}.",
            "Correct the signature, or register the model that it belongs to.",
        )


async def _answer(server: Server, sample: Sample, within_s: float) -> Mapping[str, Any]:
    async with asyncio.timeout(within_s):
        result = await server.infer(inputs(sample))
    answer: Mapping[str, Any] = result.get_response()
    return answer


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
