"""Candidates beside stable, and labels, are looked at with each model's samples, and go on whoever holds it."""

from __future__ import annotations

from drift.reading import Layer
from drift.store import CORRECT
from router.verdicts.values import counters
from tests.drift import samples
from tests.drift.live import MODEL, Installation, arm, calm, drained, held, records, request


def _both_arms(here: Installation, shift: float) -> None:
    for at in range(40):
        here.keeper.write(request(at, 1_000.0 + at))
        here.keeper.write(arm(1_000 + at, 1_000.5 + at, shift))


async def test_a_candidate_that_answers_otherwise_is_found_beside_stable(here: Installation) -> None:
    """Without a baseline of its own: its answers are held against stable's of the same time; one finding."""
    _both_arms(here, 0.3)
    await drained(here, await held(here))
    (found,) = here.findings()
    assert (found.version, found.layer, found.baseline) == (2, Layer.ARMS, samples.baseline().digest)
    assert found.changes[0].moved.feature.startswith("scores[")
    told = here.status(2)
    assert "It answers otherwise than version 1." in told.sentence
    assert told.is_drifting
    assert [one.layer for one in told.layers] == ["arms"]
    assert not here.status(1).is_drifting


async def test_a_candidate_that_answers_alike_is_not(here: Installation) -> None:
    """Forty batches' rows from the same distribution raise nothing."""
    _both_arms(here, 0.0)
    await drained(here, await held(here))
    assert here.findings() == []
    assert [one.layer for one in here.status(2).layers] == ["arms"]


async def test_arms_go_on_after_a_sudden_end(here: Installation) -> None:
    """Who takes over knows who is stable and who stands beside it, though the next samples are of one of them alone."""
    undisturbed = Installation(here.url)
    await undisturbed.bring()
    for one in (here, undisturbed):
        _both_arms(one, 0.05)
    await drained(undisturbed, await held(undisturbed))
    for _ in range(3):
        watch = await held(here)
        await watch.tick(await records(here), 1_000.0)
        await watch.tick(await records(here), 1_000.0)
        await watch.store(1_000.0)
        await watch.tick(await records(here), 1_000.0)
    await drained(here, await held(here))
    assert here.client.hgetall(here.keys.arms(MODEL, 2)) == undisturbed.client.hgetall(undisturbed.keys.arms(MODEL, 2))
    assert here.state() == undisturbed.state()
    await undisturbed.store.close()


async def test_sums_of_feedback_that_cannot_be_read_are_no_end(here: Installation) -> None:
    """Rows are watched all the same."""
    here.client.hset(here.keys.feedback(MODEL), f"1|{CORRECT}|n", "many")
    calm(here, 2)
    await drained(here, await held(here))
    assert here.status().rows == 100


async def test_half_right_and_then_wrong_is_at_most_one_error_more(here: Installation) -> None:
    """What one label adds to the errors is never more than itself, so totals never seem to shrink."""
    found = []
    for value in (0.5, 0.0, 0.5):
        for name, count in counters(value).items():
            here.client.hincrby(here.keys.feedback(MODEL), f"1|{CORRECT}|{name}", count)
        found.append((await here.store.graded(MODEL, [1]))[1])
    assert [(one.count, one.wrong) for one in found] == [(1, 0), (2, 1), (3, 2)]


async def test_labels_are_heard_of_versions_that_are_sampled(here: Installation) -> None:
    """As feedback keeps them: right at first, wrong in half of what comes later; the finding is stored as any."""
    here.keeper.write(request(0, 1_000.0))
    watch = await held(here)
    for at in range(12):
        for name, count in counters(1.0 if at < 6 else 0.5).items():
            here.client.hincrby(here.keys.feedback(MODEL), f"1|{CORRECT}|{name}", 100 * count)
        await watch.tick(await records(here), 1_000.0 + 10.0 * at)
        await watch.store(1_000.0 + 10.0 * at)
    (found,) = here.findings()
    assert (found.layer, found.value) == (Layer.LABELS, 0.5)
    told = here.status()
    assert "It errs more than at first." in told.sentence
    assert told.layers[-1].layer == "labels"
    assert here.client.exists(here.keys.labels(MODEL, 1))
