"""The digits grid of STATS.md (A.5): shifts that harm a model, shifts that do not, windows of 10 to 200 rows.

Beside ours run two usual tests on the same windows: BBSD (Kolmogorov-Smirnov on each output of the model, Bonferroni;
Lipton et al. 2018) and MMD with permutations on 12 principal components. Ours are a version's usual two: rows as wholes
and its predictions, at one level (`calibration.combined`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage, stats  # type: ignore[import-untyped]
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from drift import window as windows
from drift.baseline import Baseline, Order, made
from drift.calibration import combined
from drift.detectors.multivariate import Multivariate
from drift.detectors.univariate import predictions
from drift.schema import Declared
from drift.tables import Table
from registry.models import ModelName, VersionNumber

Floats = NDArray[np.float64]

SIZES: Final = (10, 20, 50, 100, 200)
ALPHA: Final = 0.05

_TRAINED, _REFERENCE = 700, 500
_SIDE = 8
_BRIGHTEST = 16.0
_COMPONENTS = 12
_PERMUTATIONS = 100
_ZERO = 0


@dataclass(frozen=True)
class Shift:
    """What happens to a window.

    Attributes:
        name: as it is printed.
        harms: whether the model gets worse by it.
        noise: standard deviation, in units of the brightest pixel.
        degrees: of a rotation.
        share: the part of the rows that are rotated.
        without: a digit that no longer comes.
    """

    name: str
    harms: bool
    noise: float = 0.0
    degrees: float = 0.0
    share: float = 1.0
    without: int | None = None


GRID: Final = (
    Shift("none", harms=False),
    Shift("noise 0.1", harms=False, noise=0.1),
    Shift("noise 0.3", harms=True, noise=0.3),
    Shift("rotated by 15", harms=True, degrees=15),
    Shift("rotated by 30, 10 %", harms=True, degrees=30, share=0.1),
    Shift("rotated by 30, 50 %", harms=True, degrees=30, share=0.5),
    Shift("no zeros", harms=True, without=_ZERO),
)


def drawn(seed: int) -> tuple[Shift, ...]:
    """Shifts of the same kinds, of sizes drawn afresh."""
    rng = np.random.default_rng([seed, 5])
    noise, degrees, share = rng.uniform(0.25, 0.4), rng.uniform(12, 25), rng.uniform(0.3, 0.7)
    gentle, digit = rng.uniform(0.02, 0.1), int(rng.integers(1, 10))
    return (
        Shift(f"noise {gentle:.3f}", harms=False, noise=gentle),
        Shift(f"noise {noise:.3f}", harms=True, noise=noise),
        Shift(f"rotated by {degrees:.0f}", harms=True, degrees=degrees),
        Shift(f"rotated by 30, {share:.0%}", harms=True, degrees=30, share=share),
        Shift(f"no {digit}s", harms=True, without=digit),
    )


class World(NamedTuple):
    """The model, what it is compared with, and what windows are drawn from.

    Attributes:
        model: fitted to other rows than all of these.
        reference: pixels, shape (500, 64), 0 to 1.
        pixels: of the rows that windows are drawn from.
        digits: what they show.
        axes: the principal components of the reference.
    """

    model: Any
    reference: Floats
    pixels: Floats
    digits: NDArray[np.int64]
    axes: Any


def world(seed: int) -> World:
    """Real digits, split by this seed."""
    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.data))
    pixels, digits = data.data[order] / _BRIGHTEST, data.target[order]
    model = LogisticRegression(C=1.0, max_iter=2_000).fit(pixels[:_TRAINED], digits[:_TRAINED])
    reference = pixels[_TRAINED : _TRAINED + _REFERENCE]
    rest = slice(_TRAINED + _REFERENCE, None)
    return World(model, reference, pixels[rest], digits[rest], PCA(_COMPONENTS, random_state=0).fit(reference))


def shifted(rng: Generator, of: World, shift: Shift, size: int, rotated: Floats | None) -> Floats:
    """A window's pixels, shape (size, 64)."""
    allowed = np.flatnonzero(of.digits != (-1 if shift.without is None else shift.without))
    chosen = rng.choice(allowed, size, replace=False)
    pixels = of.pixels[chosen].copy()
    if rotated is not None:
        turned = rng.random(size) < shift.share if shift.share < 1 else np.ones(size, bool)
        pixels[turned] = rotated[chosen[turned]]
    if shift.noise:
        pixels += rng.normal(0, shift.noise, pixels.shape)
    return np.asarray(pixels, np.float64)


def rotations(of: World, degrees: float) -> Floats | None:
    """All rows turned."""
    if not degrees:
        return None
    images = of.pixels.reshape(-1, _SIDE, _SIDE)
    turned = ndimage.rotate(images, degrees, axes=(2, 1), reshape=False, order=1)
    return np.asarray(np.clip(turned.reshape(len(images), -1), 0, 1), np.float64)


Test = Callable[[Floats, Floats], bool]
"""From a window's pixels and the model's answers to whether it drifts."""


def ours(of: World, size: int, seed: int) -> Test:
    """Rows as wholes and predictions, each with its part of the level."""
    order = Order(
        ModelName("digits"),
        VersionNumber(1),
        declared=Declared(wide=frozenset({"pixels"})),
        window_rows=size,
        seed=seed,
    )
    answers = of.model.predict_proba(of.reference)
    baseline: Baseline = made(order, Table({"pixels": of.reference}), Table({"scores": answers}), 0.0)
    whole, predicted = Multivariate.fit(baseline), predictions(baseline)
    assert whole is not None
    assert predicted is not None

    def test(pixels: Floats, scores: Floats) -> bool:
        keys = np.arange(len(pixels), dtype=np.uint64)
        window = windows.folded_in(baseline, Table({"pixels": pixels}), Table({"scores": scores}), keys, 0.0)
        p_values = [whole.evaluate(window).p_value, predicted.evaluate(window).p_value]
        return combined(p_values) <= ALPHA

    return test


def bbsd(of: World) -> Test:
    """Kolmogorov-Smirnov on each output, Bonferroni."""
    reference = of.model.predict_proba(of.reference)

    def test(_pixels: Floats, scores: Floats) -> bool:
        pairs = zip(reference.T, scores.T, strict=True)
        p_value = min(float(stats.ks_2samp(a, b, method="asymp").pvalue) for a, b in pairs)
        return bool(p_value * reference.shape[1] <= ALPHA)

    return test


def mmd(of: World, rng: Generator) -> Test:
    """The discrepancy of a Gaussian kernel on the principal components, by permutations."""
    reference = of.axes.transform(of.reference)

    def test(pixels: Floats, _scores: Floats) -> bool:
        both = np.concatenate((reference, of.axes.transform(pixels)))
        squares = np.square(both).sum(axis=1)
        distances = squares[:, None] + squares[None, :] - 2 * both @ both.T
        kernel = np.exp(-distances / np.median(distances))
        signs = np.full((_PERMUTATIONS + 1, len(both)), 1 / len(reference))
        signs[0, len(reference) :] = -1 / len(pixels)
        for at in range(1, _PERMUTATIONS + 1):
            signs[at, rng.permutation(len(both))[: len(pixels)]] = -1 / len(pixels)
        found = np.einsum("pi,pi->p", signs @ kernel, signs)
        return float((found >= found[0] - 1e-15).mean()) <= ALPHA

    return test


class Cell(NamedTuple):
    """One shift at one size: how many of the windows each test called drifted."""

    shift: Shift
    size: int
    runs: int
    found: Mapping[str, int]


def cells(shifts: tuple[Shift, ...], runs: int, seed: int, size: int) -> list[Cell]:
    """Of all shifts at one size; a new split of the digits every ten windows or so."""
    splits = max(2, math.ceil(runs / 25))
    found = {shift: dict.fromkeys(("ours", "bbsd", "mmd"), 0) for shift in shifts}
    done = 0
    for split in range(splits):
        rng = np.random.default_rng([seed, size, split])
        of = world(seed * 1_000 + split)
        tests = {"ours": ours(of, size, split), "bbsd": bbsd(of), "mmd": mmd(of, rng)}
        count = runs // splits + (split < runs % splits)
        done += count
        for shift in shifts:
            rotated = rotations(of, shift.degrees)
            for _ in range(count):
                pixels = shifted(rng, of, shift, size, rotated)
                scores = of.model.predict_proba(pixels)
                for name, test in tests.items():
                    found[shift][name] += test(pixels, scores)
    return [Cell(shift, size, done, found[shift]) for shift in shifts]
