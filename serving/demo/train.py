"""Two versions of a classifier of handwritten digits, trained on the spot: what the demo and the tests serve.

    python -m serving.demo.train OUT_DIR

The data is scikit-learn's own copy of the UCI digits (1,797 images of 8 by 8 pixels, 0 to 16). Version 1 is a
linear softmax, version 2 a small network with one hidden layer, so that the second is better and both are honest.
300 rows are held out of all training; they are what the demo sends. OUT_DIR then holds

    digits/1, digits/2   model.pt2, signature.json, example.json, training.json
    digits/rows.npz      pixels FP32 [300, 64] and labels INT64 [300]

`fitted`, `answered` and `export` are the model by itself: whoever has other rows trains it anew on those.

Serving them is somebody else's. Torch and scikit-learn are imported where they are used: they take seconds.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

if TYPE_CHECKING:
    import torch

MODEL = "digits"
HELD_OUT = 300
PIXELS = 64
DIGITS = 10
_SEED = 20_240_229
_LARGEST_BATCH = 4_096
_EPOCHS = {1: 15, 2: 40}
_ROWS_A_STEP = 64

_SIGNATURE = {
    "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [PIXELS]}],
    "outputs": [
        {"name": "scores", "datatype": "FP32", "shape": [DIGITS], "labels": [str(digit) for digit in range(DIGITS)]},
        {"name": "digit", "datatype": "INT64", "shape": [1]},
    ],
}

Advance = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Training:
    """What a version was made from and how good it is; its training.json.

    Args:
        model: the model's name.
        version: 1 or 2.
        architecture: in words.
        accuracy: the share of the held-out rows that it gets right, 0 to 1.
        trained_on: how many rows it was trained on.
        held_out: how many rows the accuracy is measured on.
        data_sha256: the fingerprint of all rows and labels, in the order of the split.
        seed: what every draw came from.
    """

    model: str
    version: int
    architecture: str
    accuracy: float
    trained_on: int
    held_out: int
    data_sha256: str
    seed: int


@dataclass(frozen=True, slots=True)
class DemoModels:
    """Where the trained versions are.

    Args:
        model: the model's name.
        versions: the artifact folder of each version.
        rows: the npz file with the held-out rows, `pixels` FP32 [300, 64] and `labels` INT64 [300].
        trainings: what each version was made from.
    """

    model: str
    versions: dict[int, Path]
    rows: Path
    trainings: dict[int, Training]


@dataclass(frozen=True, slots=True)
class _Split:
    """The rows to train on and those held out; pixels FP32 [n, 64] in 0 to 16, labels INT64 [n]."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]
    held_pixels: NDArray[np.float32]
    held_labels: NDArray[np.int64]

    @property
    def fingerprint(self) -> str:
        arrays = (self.pixels, self.labels, self.held_pixels, self.held_labels)
        return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def train(out: Path, advance: Advance = lambda: None) -> DemoModels:
    """Trains and exports both versions below the folder `out`, the same at each call; `advance` hears of each epoch."""
    split = _digits()
    home = out / MODEL
    home.mkdir(parents=True, exist_ok=True)
    rows = home / "rows.npz"
    np.savez(rows, pixels=split.held_pixels, labels=split.held_labels)
    trainings = {version: _make(version, split, home / str(version), advance) for version in _EPOCHS}
    return DemoModels(MODEL, {version: home / str(version) for version in trainings}, rows, trainings)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    if len(arguments) != 1:
        print("usage: python -m serving.demo.train OUT_DIR", file=sys.stderr)  # noqa: T201 - a command line talks
        return 2
    use_one_thread()
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("training two versions of digits", total=sum(_EPOCHS.values()))
        models = train(Path(arguments[0]), lambda: progress.advance(task))
    for version, training in models.trainings.items():
        right = f"{training.accuracy:.1%} of {training.held_out} held-out rows right"
        console.print(f"{MODEL} version {version}, {training.architecture}: {right}, in {models.versions[version]}")
    return 0


def use_one_thread() -> None:
    """For this process: a step of 64 rows is too little to share, and threads would only wait for each other."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)


def fitted(
    architecture: int,
    pixels: NDArray[np.float32],
    labels: NDArray[np.int64],
    advance: Advance = lambda: None,
    epochs: int | None = None,
) -> "torch.nn.Module":
    """The model that is served: from pixels [n, 64] to (probabilities [n, 10], the likeliest digit [n, 1]).

    The same rows give the same weights, whatever this process drew before.

    Args:
        architecture: 1 is linear, 2 has a hidden layer.
        pixels: of the rows to train on, [n, 64], 0 to 16.
        labels: their digits, [n].
        advance: hears of each epoch.
        epochs: how often each row is seen; None for what is usual.
    """
    import torch  # noqa: PLC0415

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        scores = _network(architecture)
        _fit(scores, pixels, labels, _EPOCHS[architecture] if epochs is None else epochs, advance)
    return _with_digit(scores).eval()


def answered(model: "torch.nn.Module", pixels: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """What it answers to pixels [n, 64]: `scores` FP32 [n, 10] and `digit` INT64 [n, 1]."""
    import torch  # noqa: PLC0415

    with torch.inference_mode():
        scores, digit = model(torch.from_numpy(pixels))
    return {"scores": scores.numpy(), "digit": digit.numpy()}


def export(model: "torch.nn.Module", folder: Path, pixels: NDArray[np.float32], training: Mapping[str, object]) -> None:
    """Writes the artifact folder of one version.

    Args:
        model: as `fitted` returns it.
        folder: made if it is not there.
        pixels: two rows at least, [n, 64]; the first is the example request.
        training: what it was made from, for training.json.
    """
    import torch  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    # Two rows: with one, the exporter would take the batch for a constant.
    program = torch.export.export(model, (torch.from_numpy(pixels[:2]),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "model.pt2")
    _write_json(folder / "signature.json", _SIGNATURE)
    _write_json(folder / "example.json", _request(pixels[0]))
    _write_json(folder / "training.json", training)


def _digits() -> _Split:
    from sklearn.datasets import load_digits  # noqa: PLC0415

    data = load_digits()
    order = np.random.default_rng(_SEED).permutation(len(data.target))
    pixels = data.data[order].astype(np.float32)
    labels = data.target[order].astype(np.int64)
    return _Split(pixels[HELD_OUT:], labels[HELD_OUT:], pixels[:HELD_OUT], labels[:HELD_OUT])


def _make(version: int, split: _Split, folder: Path, advance: Advance) -> Training:
    """Trains and exports one version into its folder."""
    model = fitted(version, split.pixels, split.labels, advance)
    found = answered(model, split.held_pixels)["digit"].squeeze(1)
    training = Training(
        model=MODEL,
        version=version,
        architecture=_ARCHITECTURES[version],
        accuracy=float((found == split.held_labels).mean()),
        trained_on=len(split.labels),
        held_out=len(split.held_labels),
        data_sha256=split.fingerprint,
        seed=_SEED,
    )
    export(model, folder, split.pixels, asdict(training))
    return training


_ARCHITECTURES = {1: "a linear softmax", 2: "a network with a hidden layer of 128"}


def _network(architecture: int) -> "torch.nn.Module":
    """From pixels [n, 64], 0 to 16, to unscaled scores [n, 10]."""
    from torch import nn  # noqa: PLC0415

    if architecture == 1:
        return nn.Linear(PIXELS, DIGITS)
    return nn.Sequential(nn.Linear(PIXELS, 128), nn.ReLU(), nn.Linear(128, DIGITS))


def _fit(
    scores: "torch.nn.Module",
    given_pixels: NDArray[np.float32],
    given_labels: NDArray[np.int64],
    epochs: int,
    advance: Advance,
) -> None:
    """Minimises the cross-entropy with Adam over shuffled steps of 64 rows."""
    import torch  # noqa: PLC0415

    pixels, labels = torch.from_numpy(given_pixels), torch.from_numpy(given_labels)
    optimizer = torch.optim.Adam(scores.parameters(), lr=2e-3, weight_decay=1e-4)
    for _ in range(epochs):
        order = torch.randperm(len(labels))
        for start in range(0, len(labels), _ROWS_A_STEP):
            rows = order[start : start + _ROWS_A_STEP]
            optimizer.zero_grad()
            torch.autograd.backward(torch.nn.functional.cross_entropy(scores(pixels[rows]), labels[rows]))
            optimizer.step()
        advance()


def _with_digit(scores: "torch.nn.Module") -> "torch.nn.Module":
    """The model that is served: (probabilities [n, 10], the likeliest digit [n, 1])."""
    from torch import nn  # noqa: PLC0415

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = scores

        def forward(self, pixels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
            logits = self.scores(pixels)
            return logits.softmax(dim=1), logits.argmax(dim=1, keepdim=True)

    return Classifier()


def _request(row: NDArray[np.float32]) -> dict[str, Any]:
    """One row as the body of a v2 inference request."""
    tensor = {"name": "pixels", "datatype": "FP32", "shape": [1, PIXELS], "data": row.tolist()}
    return {"inputs": [tensor]}


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
