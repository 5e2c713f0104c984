"""What to do when the store has forgotten: decided here from what it shows and what the gateways run.

A failover that lost writes, or a disk that lost everything, leaves a head that does not descend from what gateways
run. They hold what they have, for no share may grow because the store forgot. The way out is to publish what they run
again, later than anything that anybody has seen, with a lineage that lets every one of them descend.

Values in, values out; when to look, and the publishing, is the conductor's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from router.codec import decode_policy, decode_snapshot, digest_of, encode_snapshot, reader_of, snapshot_reader_of
from router.commands import Pause, ask
from router.epoch import NO_HEAD, Entry, Head, Snapshot, Step, step
from router.errors import PolicyError
from router.phases import Phase
from router.policy import Policy
from router.rollout import BY_ITSELF, Seen
from serving.control.errors import StoreDamaged
from serving.control.publication import Beside
from serving.control.publishing import LedgerEntry, Publication, State, retired
from serving.control.rolling.kept import NOBODY, Look
from serving.control.rolling.records import entry_of, jobs_of, written
from serving.leases import GatewayLease, Recovery, remembered


@dataclass(frozen=True, slots=True)
class Plan:
    """A recovery that is called for.

    Attributes:
        shown: the head that the store shows, and that is to be replaced.
        winner: (epoch, digest) of what is to be published again.
        epoch: the one that it is to be published as.
        lineage: what to remember, so that each gateway's line leads to the new head.
        stuck: ids of the gateways that hold something else than the store shows.
    """

    shown: Head
    winner: tuple[int, str]
    epoch: int
    lineage: Mapping[int, str]
    stuck: tuple[str, ...]

    @property
    def why(self) -> str:
        """For the ledger and the log."""
        shown = f"epoch {self.shown.epoch}" if self.shown != NO_HEAD else "nothing"
        return (
            f"The store shows {shown}, which does not follow from what {len(self.stuck)} gateways run; "
            f"epoch {self.winner[0]} is published again as {self.epoch}."
        )


def plan(shown: Head, alive: Sequence[GatewayLease], lineage: Mapping[int, str]) -> Plan | None:
    """The recovery that is called for; None where every gateway can follow the store.

    Args:
        shown: the store's head.
        alive: the gateways whose lease is alive.
        lineage: what the store remembers of the epochs that they run.
    """
    running = [lease for lease in alive if lease.epoch]
    stuck = tuple(lease.id for lease in running if _is_stuck(lease, shown, lineage))
    if not stuck:
        return None
    winner = _winner(shown, running)
    epoch = max(shown.epoch, winner[0]) + 1
    return Plan(shown, winner, epoch, _joined(running, lineage), stuck)


def publication(
    plan: Plan, shown: State, kept: Recovery, look: Look = NOBODY, others: Iterable[Policy] = ()
) -> Publication:
    """The winner's policies as the next epoch.

    A model that only the store knows of keeps its policy. Where both know one and differ, the gateways' policy stands
    under a revision that neither side has used, so that nobody changes one believing that it is the other.

    Rollouts in progress are paused with it, for the store may have forgotten how they went on, or that they went back;
    that no difference in a policy shows it does not mean that there is none.

    Args:
        plan: what is called for.
        shown: what the store shows.
        kept: the winner's snapshot and policies.
        look: the rollouts in progress.
        others: policies that the store alone has.

    Raises:
        StoreDamaged: what was handed back is not what its digests say.
    """
    recovered = _checked(kept, plan.winner)
    policies = [*others, *map(decode_policy, kept.policies.values())]
    parent = plan.shown.digest
    models = {**shown.snapshot.models, **recovered.models}
    entries = {name: _merged(shown.snapshot.models.get(name), entry) for name, entry in models.items()}
    snapshot = Snapshot(plan.epoch, parent, entries)
    encoded = encode_snapshot(snapshot)
    head = Head(plan.epoch, digest_of(encoded), parent)
    facts = {"shown": plan.shown._asdict(), "winner": list(plan.winner), "epoch": head.epoch, "digest": head.digest}
    return Publication(
        expected=parent,
        head=head,
        snapshot=encoded,
        policies={entry.digest: kept.policies[entry.digest] for entry in recovered.models.values()},
        entry=LedgerEntry("recovery", "conductor", plan.why, {**facts, "stuck": list(plan.stuck)}),
        retired=retired(shown.snapshot, snapshot),
        lineage=plan.lineage,
        beside=_pauses(plan, look),
        reader=max([snapshot_reader_of(snapshot), *map(reader_of, policies)]),
        # What gateways run is nobody's gain, and while the store does not show it they follow nothing, not even a
        # rollback: one that cannot read it must not keep the others from that.
        insists=True,
    )


def _pauses(plan: Plan, look: Look) -> Beside:
    why = f"the store had forgotten what gateways run, and may have forgotten more. {plan.why}"
    steps = [
        (record, ask(record.rollout, Pause(who=BY_ITSELF, why=why), Seen(look.now_s)))
        for record in look.records
        if record.rollout.phase is not Phase.PAUSED
    ]
    paused = [(before, before.after(step.rollout), step.facts[0]) for before, step in steps]
    return Beside(
        records=tuple(written(before, after) for before, after, _ in paused),
        entries=tuple(entry_of(after, said) for _, after, said in paused),
        # The entry about the recovery itself comes first.
        jobs=tuple(job for nth, (_, after, said) in enumerate(paused, 1) for job in jobs_of(after, said, nth)),
        nonce="",
    )


def _is_stuck(lease: GatewayLease, shown: Head, lineage: Mapping[int, str]) -> bool:
    """It says that it holds, and the rule that it follows agrees (it may hold for other reasons)."""
    running = Head(lease.epoch, lease.digest, "")
    there = remembered(lineage.get(lease.epoch), lease.digest)
    return lease.held is not None and step(running, shown, there) is Step.HOLD


def _winner(shown: Head, running: Sequence[GatewayLease]) -> tuple[int, str]:
    """The highest epoch that anybody runs; of several of that epoch what most run, then what the store shows."""
    votes = Counter((lease.epoch, lease.digest) for lease in running)
    return max(votes, key=lambda one: (one[0], votes[one], one == shown[:2], one[1]))


def _joined(running: Sequence[GatewayLease], lineage: Mapping[int, str]) -> Mapping[int, str]:
    digests: dict[int, set[str]] = {}
    for lease in running:
        digests.setdefault(lease.epoch, set((lineage.get(lease.epoch) or "").split())).add(lease.digest)
    return {epoch: " ".join(sorted(several)) for epoch, several in digests.items()}


def _merged(shown: Entry | None, winner: Entry) -> Entry:
    if shown is None or shown == winner:
        return winner
    revision = max(shown.revision, winner.revision)
    return Entry(winner.digest, revision if shown.digest == winner.digest else revision + 1)


def _checked(kept: Recovery, winner: tuple[int, str]) -> Snapshot:
    try:
        snapshot = decode_snapshot(kept.snapshot)
        for blob in kept.policies.values():
            decode_policy(blob)
    except PolicyError as error:
        raise StoreDamaged(f"What a gateway handed back cannot be used: {error}.") from error
    sound = {digest for digest, blob in kept.policies.items() if digest_of(blob) == digest}
    lacking = {entry.digest for entry in snapshot.models.values()} - sound
    if digest_of(kept.snapshot) != winner[1] or snapshot.epoch != winner[0] or lacking:
        raise StoreDamaged(f"What a gateway handed back is not the whole of epoch {winner[0]}.")
    return snapshot
