"""The names of everything that one installation keeps in Redis, which the gateways and the control room share.

What stands under them is `serving.leases` and the stores' own. A name is never put together anywhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from drift.keys import DriftKeys
from serving.endpoint import Endpoint

_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of everything that one installation keeps.

    All begin with the namespace in braces, so that on a cluster of Redis servers they share a slot and one script may
    touch them all.

    Args:
        namespace: up to 64 letters, digits, hyphens and underscores.
    """

    namespace: str

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise ValueError(f"{self.namespace!r} is no namespace: use up to 64 letters, digits, hyphens, underscores")

    def _of(self, name: str) -> str:
        return f"{{{self.namespace}}}:{name}"

    @property
    def head(self) -> str:
        """Hash: epoch, digest and parent of the current snapshot. Read it with `head_from`."""
        return self._of("head")

    @property
    def totals(self) -> str:
        """Stream of what gateways have counted (`serving.totals.Message`, in the field `m`); its oldest are dropped."""
        return self._of("totals")

    @property
    def lineage(self) -> str:
        """Hash: epoch to digest. Read its values with `remembered`."""
        return self._of("lineage")

    @property
    def ledger(self) -> str:
        """Stream of what was decided, append-only."""
        return self._of("ledger")

    @property
    def epochs(self) -> str:
        """Channel: "epoch digest" at each change of the head."""
        return self._of("epochs")

    @property
    def pairs(self) -> str:
        """Stream of what keepers have found in pairs of answers (`serving.pair_totals`), field `m`; it is bounded."""
        return self._of("pairs")

    @property
    def gateways(self) -> str:
        """Set: ids of the gateways that have or had a lease."""
        return self._of("gateways")

    @property
    def endpoints(self) -> str:
        """Set: keys of the endpoints' leases."""
        return self._of("endpoints")

    @property
    def endpoint_changes(self) -> str:
        """Channel: the lease's key when an endpoint comes or is taken away (not when it lapses)."""
        return self._of("endpoints")

    @property
    def id_keys(self) -> str:
        """Hash: key id to base64 secret, and `current`. Read it with `id_keys_from`."""
        return self._of("idkeys")

    @property
    def wishes(self) -> str:
        """Hash: "model/version" to what an operator wants to run."""
        return self._of("wishes")

    @property
    def wish_revisions(self) -> str:
        """Hash: "model/version" to the revision of its wish; the empty field counts them all."""
        return self._of("wishes:revisions")

    @property
    def touched(self) -> str:
        """Hash: "model/version" to when it was last routed to, deployed or woken, milliseconds since 1970."""
        return self._of("touched")

    @property
    def boot(self) -> str:
        """The start of the installation that last said so."""
        return self._of("boot")

    @property
    def operations(self) -> str:
        """Sorted set: ids of all operations, in the order in which they began."""
        return self._of("operations")

    @property
    def unfinished_operations(self) -> str:
        """Set: ids of those that have not ended."""
        return self._of("operations:unfinished")

    @property
    def ended_operations(self) -> str:
        """Sorted set: ids of those that have, in the order in which they ended."""
        return self._of("operations:ended")

    @property
    def operation_holders(self) -> str:
        """Hash: what one operation at a time may hold, to the id of the one that does; the empty field counts."""
        return self._of("operations:holders")

    @property
    def access_keys(self) -> str:
        """Hash: id of an API key to its record (`serving.access.keys`)."""
        return self._of("access:keys")

    @property
    def access_revision(self) -> str:
        """A number that grows with each change of who is let in, also across a loss of data; none is as good as 0."""
        return self._of("access:revision")

    @property
    def access_changes(self) -> str:
        """Channel: the revision at each change of who is let in."""
        return self._of("access")

    @property
    def access_jwks(self) -> str:
        """The keys that tokens are signed with, as JSON: {"fetched_s": …, "keys": [JWK…], "url": …}."""
        return self._of("access:jwks")

    @property
    def access_wanted(self) -> str:
        """Set for two seconds by a gateway that met a token whose signing key it does not know."""
        return self._of("access:wanted")

    def diff(self, model: str, candidate: int, salt: str) -> str:
        """Hash: a gateway's id to what its keeper found in one candidate's pairs (`serving.diffs`); it expires."""
        return self._of(f"diff:{model}:{candidate}:{salt}")

    def limit(self, key_id: str) -> str:
        """Hash: what that key has used up of its limits; it expires."""
        return self._of(f"limit:{key_id}")

    @property
    def id_keys_made(self) -> str:
        """When the key that mints request ids was made, milliseconds since 1970 by the server's clock."""
        return self._of("idkeys:made")

    @property
    def conductor(self) -> str:
        """The conductor's lease: whoever leads, for as long as it says so."""
        return self._of("conductor")

    @property
    def fence(self) -> str:
        """Counts how often the lead has changed hands; whoever writes as a conductor shows the count it was given."""
        return self._of("conductor:fence")

    @property
    def watched(self) -> str:
        """Until when a conductor has watched rollouts, seconds since 1970 by the server's clock."""
        return self._of("conductor:watched")

    @property
    def stopped(self) -> str:
        """Hash: model, or `*` for all, to what is known of its stop."""
        return self._of("stopped")

    @property
    def rollouts(self) -> str:
        """Sorted set: ids of rollouts, in the order in which they were started."""
        return self._of("rollouts")

    @property
    def active_rollouts(self) -> str:
        """Hash: model to the id of its rollout that is in progress."""
        return self._of("rollouts:active")

    @property
    def barred_versions(self) -> str:
        """Hash: "model/version" to the id of the rollout that it went back with."""
        return self._of("rollouts:barred")

    @property
    def due_jobs(self) -> str:
        """Sorted set: ids of what hooks are to hear, by when it is tried next, milliseconds since 1970."""
        return self._of("hooks:due")

    @property
    def jobs(self) -> str:
        """Hash: the same ids to the ledger's entries; "ID/tries" to how often it was tried; `dropped` counts."""
        return self._of("hooks:jobs")

    @property
    def dead_letters(self) -> str:
        """Hash: ids of deliveries that were given up, to why; "ID/entry" to the ledger's entry."""
        return self._of("hooks:dead")

    @property
    def dead_letter_times(self) -> str:
        """Sorted set: the same ids by when that was, milliseconds since 1970."""
        return self._of("hooks:dead:times")

    @property
    def tried_jobs(self) -> str:
        """Stream: what came of the last attempts at deliveries."""
        return self._of("hooks:tried")

    def message(self, key: str) -> str:
        """What came of a message at our rollback target, by a hash of what it is done once for; it expires."""
        return self._of(f"hooks:came:{key}")

    def rollouts_of(self, model: str) -> str:
        """Sorted set: ids of that model's rollouts."""
        return self._of(f"rollouts:of:{model}")

    def rollout(self, rollout_id: str) -> str:
        """Hash: a rollout's revision, record and model, and the stamp of the record's bytes."""
        return self._of(f"rollout:{rollout_id}")

    def rollout_counts(self, rollout_id: str) -> str:
        """What the conductor has counted of that rollout's present leg."""
        return self._of(f"rollout-counts:{rollout_id}")

    def rollout_case(self, rollout_id: str) -> str:
        """What the conductor has found out about that rollout's versions (`serving.control.rolling.judged`)."""
        return self._of(f"rollout-case:{rollout_id}")

    def rollout_blocks(self, rollout_id: str) -> str:
        """List: the blocks of time that this rests on, oldest first, for a replay."""
        return self._of(f"rollout-blocks:{rollout_id}")

    def rollout_entries(self, rollout_id: str) -> str:
        """List: ids of the ledger's entries about that rollout, oldest first."""
        return self._of(f"rollout-entries:{rollout_id}")

    @property
    def feedback_tallies(self) -> str:
        """Hash: "model|kind" to how much feedback there was."""
        return self._of("feedback:tallies")

    def feedback_sums(self, model: str) -> str:
        """Hash: "version|metric|counter" to what feedback about that model adds up to."""
        return DriftKeys(self.namespace).feedback(model)

    def feedback_seen(self, model: str, metric: str, hour: int) -> str:
        """Set: nonces of that hour's requests about which that metric was said; it expires."""
        return self._of(f"feedback:seen:{model}:{metric}:{hour}")

    def feedback_in(self, scope: str) -> str:
        """Hash: "segment|version|metric|counter" to what feedback of one rollout's attempt adds up to; it expires."""
        return self._of(f"feedback:in:{scope}")

    def feedback_units(self, scope: str, metric: str) -> str:
        """Set: hashes of the units whose first value of that metric was counted there; it expires."""
        return self._of(f"feedback:units:{scope}:{metric}")

    @property
    def heard_finding(self) -> str:
        """The id of the finding of drift that the conductor heard last."""
        return self._of("heard:finding")

    @property
    def incidents(self) -> str:
        """Sorted set: ids of episodes of models' drift, in the order in which they began."""
        return self._of("incidents")

    @property
    def open_incidents(self) -> str:
        """Hash: model to the id of its episode that is not over."""
        return self._of("incidents:open")

    @property
    def silences(self) -> str:
        """Hash: model to an operator's word that nothing is to be told or done about its drift, and until when."""
        return self._of("incidents:silences")

    def incident(self, incident_id: str) -> str:
        """Hash: an episode's revision, record (`drift.incidents.Incident`) and model."""
        return self._of(f"incident:{incident_id}")

    def idempotency(self, name: str) -> str:
        """What was answered to a request that had a key of its own, kept for a day."""
        return self._of(f"idempotency:{name}")

    def operation(self, operation_id: str) -> str:
        """Hash: one operation's record, revision and times. Nothing else is named by this and an id."""
        return self._of(f"operation:{operation_id}")

    def operation_runner(self, operation_id: str) -> str:
        """Whoever runs that operation, for as long as it says so: a lease."""
        return self._of(f"operation-runner:{operation_id}")

    def operation_arguments(self, operation_id: str) -> str:
        """What that operation was asked, until it ends."""
        return self._of(f"operation-arguments:{operation_id}")

    def operations_of(self, model: str) -> str:
        """Sorted set: ids of that model's operations."""
        return self._of(f"operations:of:{model}")

    def crashes(self, model: str, version: int) -> str:
        """Stream of how that version's servers died, which expires."""
        return self._of(f"crashes:{model}:{version}")

    def policy(self, digest: str) -> str:
        """A policy's canonical bytes, immutable."""
        return self._of(f"policy:{digest}")

    def snapshot(self, digest: str) -> str:
        """A snapshot's canonical bytes, immutable."""
        return self._of(f"snapshot:{digest}")

    def gateway(self, gateway_id: str) -> str:
        """A gateway's lease: a `GatewayLease` that expires."""
        return self._of(f"gateway:{gateway_id}")

    def gateway_figures(self, gateway_id: str) -> str:
        """What a gateway says for people beside its lease (`GatewayLease.encode_figures`); expires as that does."""
        return self._of(f"figures:{gateway_id}")

    def gateway_applied(self, gateway_id: str) -> str:
        """What a gateway goes by (`Applied`), beside its lease; expires as that does."""
        return self._of(f"applied:{gateway_id}")

    def endpoint(self, endpoint: Endpoint) -> str:
        """An endpoint's lease: an `Endpoint` that expires."""
        return self._of(f"endpoint:{endpoint.host}:{endpoint.http_port}:{endpoint.model}:{endpoint.version}")

    def recovery(self, digest: str) -> str:
        """What a gateway runs in full, kept where the store may have forgotten it: a `Recovery` that expires."""
        return self._of(f"recovery:{digest}")

    def publication(self, nonce: str) -> str:
        """The answer to one publication, kept for a minute so that a repeated command is not a second change."""
        return self._of(f"publication:{nonce}")
