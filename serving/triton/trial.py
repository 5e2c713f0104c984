"""A trial of one version: a server of its own that nobody is sent to, asked what it is and how it answers, and ended.

What passes is loaded by its digest, gets ready within its time, has the inputs and outputs that its signature says,
answers its example, and answers as the signature says, whatever the number of rows. What does not is refused with the
reason, in Triton's words where they are Triton's. Either way neither a process nor a folder nor shared memory is left,
only the server's log.

Where a trial runs is the caller's; the process that runs it may be killed at any moment (`guard.py`).
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from registry.errors import RegistryError
from registry.signature import TensorSpec
from serving.pools import Tried
from serving.triton import answers
from serving.triton.arguments import PoolArguments
from serving.triton.folders import log_file, own_folder
from serving.triton.guard import Guard, gone
from serving.triton.layout import ArtifactRefused, Repository, read_signature
from serving.triton.samples import sample_of
from serving.triton.starting import example_of, launched, warmed
from serving.triton.warmup import Warmth

_VARIES = -1

Tensors = tuple[TensorSpec, ...]


async def tried(pool: PoolArguments, tell: Callable[[str], object] = lambda _: None) -> Tried:
    """What a server of this pool is like. Call this from a thread that lives as long as the process.

    Args:
        pool: what to try.
        tell: is told what is being done, one line each time.

    Raises:
        ArtifactRefused: the artifact is not what was registered, cannot be served, or is not what its signature says.
        StartFailed: it did not get ready in time, or does not answer, or there is no usable tritonserver.
    """
    home = own_folder(pool)
    guard = await asyncio.to_thread(Guard.start, home)
    try:
        server, repository = await launched(pool, home, guard, log_file(pool), tell)
        try:
            tell("comparing the model with its signature")
            metadata, config = await server.metadata(), await server.config()
            inputs, outputs = _compared(pool, metadata, config)
            tell("warming up")
            warmth = await warmed(pool, server, repository)
            sample = sample_of(metadata, example_of(pool, repository))
            most_rows = int(config.get("max_batch_size", 0))
            timeout_s = pool.ready_timeout_s
            await answers.check(server, str(pool.spec), sample, outputs, most_rows=most_rows, within_s=timeout_s)
            return _result(inputs, outputs, repository, pool, warmth)
        finally:
            await asyncio.shield(server.stop(0.0))  # nobody waits for an answer
    finally:
        await gone(guard)


def _compared(pool: PoolArguments, metadata: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Tensors, Tensors]:
    """The model's inputs and outputs, which are those of its signature if it has one."""
    batches = int(config.get("max_batch_size", 0)) > 0
    optional = {str(one["name"]) for one in config.get("input", ()) if one.get("optional")}
    try:
        inputs = tuple(_tensor(one, optional, batches=batches) for one in metadata["inputs"])
        outputs = tuple(_tensor(one, set(), batches=batches) for one in metadata["outputs"])
    except RegistryError as error:
        raise ArtifactRefused(f"{pool.spec} has a tensor that nobody could name: {error.sentence}") from error
    if not pool.signature:
        return inputs, outputs
    signature = read_signature(pool.signature)
    said = [tuple(TensorSpec(one.name, one.datatype, one.shape, one.optional) for one in side)
            for side in (signature.inputs, signature.outputs)]  # fmt: skip
    wrong = [*differences("input", said[0], inputs, batches=batches),
             *differences("output", said[1], outputs, batches=batches)]  # fmt: skip
    if wrong:
        raise ArtifactRefused(
            f"{pool.spec} is not what its signature says: {'; '.join(wrong)}.",
            "Correct the signature, or register the model that it belongs to.",
        )
    return said[0], said[1]


def differences(kind: str, said: Sequence[TensorSpec], found: Sequence[TensorSpec], *, batches: bool) -> Iterable[str]:
    """Where the model differs from its signature, a clause each. The order is no difference.

    Args:
        kind: "input" or "output".
        said: by the signature, without the batch dimension.
        found: by the model, without the batch dimension if it batches.
        batches: whether Triton batches; if not, rows may be one more dimension in front, which varies.
    """
    wanted, there = _by_name(said), _by_name(found)
    for name in sorted(wanted.keys() | there.keys()):
        if name not in there:
            yield f"the signature has the {kind} {wanted[name]}, and the model has none of that name"
        elif name not in wanted:
            yield f"the model has the {kind} {there[name]}, and the signature has none of that name"
        elif not _same(wanted[name], there[name], batches=batches):
            yield f"the signature has the {kind} {wanted[name]}, and the model has {there[name]}"


def _same(said: TensorSpec, found: TensorSpec, *, batches: bool) -> bool:
    shapes = {found.shape} if batches or found.shape[0] != _VARIES else {found.shape, found.shape[1:]}
    return (said.datatype, said.optional) == (found.datatype, found.optional) and said.shape in shapes


def _tensor(said: Mapping[str, Any], optional: set[str], *, batches: bool) -> TensorSpec:
    """One tensor of the v2 protocol's metadata, whose shape has the batch in front where the model batches."""
    shape = tuple(int(size) for size in said["shape"])[1 if batches else 0 :]
    return TensorSpec(str(said["name"]), str(said["datatype"]), shape, str(said["name"]) in optional)


def _by_name(tensors: Iterable[TensorSpec]) -> Mapping[str, TensorSpec]:
    return {tensor.name: tensor for tensor in tensors}


def _result(inputs: Tensors, outputs: Tensors, repository: Repository, pool: PoolArguments, warmth: Warmth) -> Tried:
    config = (repository.folder / pool.model / "config.pbtxt").read_text()
    return Tried(inputs, outputs, config, warmth.latency_ms, warmth.throughput)
