"""A control API on a port of its own that knows rollouts as far as commands ask for them, and remembers what was asked.

Its answers have the shape of the real one's: a test holds them against the API's own types.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from router.codec import policy_as_dict
from router.plan import Plan, policy_for
from router.plan_form import plan_as_document
from router.policy import Policy
from router.strategies import CanaryStep, canary
from router.verdicts.shown import Arm, Bounds, Certified, Figure, GuardrailShown, Shown, as_dict
from serving.control.models_client import VersionAnswer

AT = "2026-11-20T14:03:01.123456Z"
STEPS = canary(
    2,
    [CanaryStep(share, 600, 1_000, approval=share == 500_000) for share in (10_000, 50_000, 250_000, 500_000)],
    watch_s=86_400,
)
VERDICT = Shown(
    decision="not_yet",
    words="Not yet: nothing speaks against the candidate, but errors cannot be certified yet.",
    freeze=False,
    alert=False,
    rule="fast",
    log10_e=0.5,
    threshold=2.0,
    spent=0.25,
    newest_s=1_000.0,
    guardrails=(
        GuardrailShown(
            name="errors", watches="errors", what="", counted="requests", candidate=Arm(12, 2_700),
            stable=Arm(60, 24_300), odds_ratio=Bounds(0.9, 1.8, 3.44), log10_e=0.6, part=0.9,
            certified=Certified(holds=False, not_inferior=0.48, under_ceiling=None, threshold=1.3),
        ),
        GuardrailShown(
            name="latency", watches="latency", what="slower than p99", counted="requests", candidate=Arm(0, 2_700),
            stable=Arm(0, 24_300), odds_ratio=None, log10_e=0.0, part=0.1, certified=None,
        ),
    ),
    figures=(Figure("harm", 0.5, 2.0),),
)  # fmt: skip
TOLD = {"2": as_dict(VERDICT)}
"""The same as the API tells it, of version 2."""
PHASE_AFTER = {
    "pause": "paused",
    "resume": "running",
    "approve": "running",
    "promote": "running",
    "rollback": "rolled back",
    "retry": "warming",
}


def rollout(name: str = "ro_0123456789ab", plan: Plan = STEPS, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any answer
    """A rollout as the API tells it in full: by default running in the second of five stages."""
    said: dict[str, Any] = {
        "id": name,
        "model": "digits",
        "kind": plan.kind.value,
        "phase": "running",
        "place": "running, stage '5 %'",
        "stage": "5 %",
        "stage_number": 1,
        "stages": len(plan.stages),
        "automation": "alone",
        "revision": 3,
        "candidate": plan.candidate,
        "stable": 1,
        "shares": {"1": 950_000, "2": 50_000},
        "desired": changes.get("shares", {"1": 950_000, "2": 50_000}),
        "by_hand": False,
        "over": False,
        "cause": "",
        "created_by": "anna",
        "created_at": AT,
        "waits": ["version 2 has had 650 of 1,000 requests"],
        "next_stage": "stage '25 %'",
        "next_step_s": 492.0,
        "stage_s": 108.0,
        "requests": {"2": 650, "1": 12_345},
        "lately": {
            "1": {"requests_per_s": 95.0, "error_share": 0.0004, "p50_ms": 4.2, "p99_ms": 12.84},
            "2": {"requests_per_s": 5.0, "error_share": 0.025, "p50_ms": 6.0, "p99_ms": 1_250.0},
        },
        "verdicts": {},
        "chosen": None,
        "advised": "",
        "approvals": [],
        "epochs": [7, 9],
        "plan": plan_as_document(plan),
        "gates": [],
        "webhooks": [],
    }
    return {**said, **changes}


def entry(nth: int, who: str, what: str, why: str) -> dict[str, Any]:
    """An entry of the ledger."""
    at = f"2026-11-20T14:03:{nth:02d}.000000Z"
    return {"id": f"{nth}-0", "at": at, "kind": "rollout", "who": who, "why": why, "facts": {"what": what}}


@dataclass
class Asked:
    """One request, as it came."""

    line: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


@dataclass
class FakeRollouts:
    """What the API knows, and what it was asked; tests change it under its feet."""

    rollouts: list[dict[str, Any]] = field(default_factory=lambda: [rollout()])
    entries: list[dict[str, Any]] = field(default_factory=lambda: [entry(1, "the rollout", "run", "time and requests")])
    requests: dict[str, dict[str, int]] = field(default_factory=lambda: {"g-1": {"digits/1": 1_000, "digits/2": 50}})
    epoch: int = 9
    behind: int = 0
    asked: list[Asked] = field(default_factory=list)
    refusals: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    silent: int = 0
    """How many of the next requests break off unanswered."""
    aliases: dict[str, int] = field(default_factory=dict)
    rate: float | None = 100.0
    """Requests per second of every model."""
    block: dict[str, Any] = field(default_factory=dict)
    """What was recorded of every rollout."""
    found: dict[str, Any] = field(
        default_factory=lambda: {"id": "ro_0123456789ab", "model": "digits", "candidates": []}
    )
    """What was found in the answers to every rollout's copies."""
    acknowledged: dict[str, Any] | None = field(
        default_factory=lambda: {"of": 2, "by": 2, "expired": [], "waiting": []}
    )

    def lines(self) -> list[str]:
        """What was asked, without what was asked for in the query."""
        return [one.line for one in self.asked]

    def answer(self, asked: Asked) -> tuple[int, dict[str, Any]]:
        """The status and body of an answer."""
        if asked.line in self.refusals:
            status, detail, hint = self.refusals[asked.line]
            return status, {"title": "no", "status": status, "detail": detail, "hint": hint}
        for pattern, handle in _PATHS:
            if found := pattern.fullmatch(asked.line):
                told: tuple[int, dict[str, Any]] = getattr(self, handle)(asked, *found.groups())
                return told
        return 404, {"title": "Not Found", "status": 404, "detail": "There is nothing at this path.", "hint": ""}

    def status(self, _asked: Asked) -> tuple[int, dict[str, Any]]:
        """GET /status."""
        gateways = [
            {
                "id": name, "host": "127.0.0.1", "http_port": 8000, "epoch": self.epoch, "digest": "d",
                "current": nth >= self.behind, "workers": 1, "connections": 0, "in_flight": 0, "requests": requests,
                "held": None,
            }
            for nth, (name, requests) in enumerate(self.requests.items())
        ]  # fmt: skip
        store = {"reachable": True, "warnings": []}
        head = {"version": "0", "epoch": self.epoch, "digest": "d"}
        return 200, {**head, "gateways": gateways, "endpoints": [], "models": [], "pools": [], "store": store}

    def listed(self, _asked: Asked, model: str | None = None) -> tuple[int, dict[str, Any]]:
        """GET /rollouts and GET /models/{model}/rollouts."""
        found = [one for one in self.rollouts if model in {None, one["model"]}]
        return 200, {"rollouts": found}

    def one(self, _asked: Asked, name: str) -> tuple[int, dict[str, Any]]:
        """GET /rollouts/{id}."""
        for there in self.rollouts:
            if there["id"] == name:
                return 200, there
        return 404, {"title": "no", "status": 404, "detail": f"There is no rollout '{name}'.", "hint": "List them."}

    def ledger(self, _asked: Asked, _name: str = "") -> tuple[int, dict[str, Any]]:
        """GET /ledger and GET /rollouts/{id}/why."""
        story = [f"{one['who']}: {one['why']}" for one in self.entries]
        return 200, {"story": story, "entries": self.entries, "next": None}

    def started(self, asked: Asked, model: str) -> tuple[int, dict[str, Any]]:
        """POST /models/{model}/rollouts."""
        if asked.query.get("dry_run"):
            policy = policy_as_dict(policy_for(STEPS, 1, Policy(stable=1)))
            row = {
                "name": "5 %", "does": "run", "shares": {"1": 950_000, "2": 50_000}, "min_s": 600, "min_requests": 0,
                "needs": "minima", "approval": True, "flip": False, "policy": policy,
            }  # fmt: skip
            return 200, {"stages": [row], "plan": plan_as_document(STEPS), "notes": ["nobody serves version 2 yet"]}
        begun = rollout("ro_aaaaaaaaaaaa", model=model, phase="warming", stage=None, stage_number=-1)
        self.rollouts.insert(0, begun)
        return 201, self.changed(begun)

    def moved(self, asked: Asked, name: str, what: str) -> tuple[int, dict[str, Any]]:
        """POST /rollouts/{id}/{what}."""
        status, there = self.one(asked, name)
        if status != 200:
            return status, there
        if asked.headers["if-match"] not in {"*", f'"{there["revision"]}"'}:
            return 409, {"title": "no", "status": 409, "detail": "The rollout has moved on.", "hint": "Look at it."}
        phase = PHASE_AFTER[what]
        there.update(phase=phase, over=phase == "rolled back", revision=there["revision"] + 1)
        return 200, self.changed(there)

    def set(self, asked: Asked, name: str) -> tuple[int, dict[str, Any]]:
        """PATCH /rollouts/{id}."""
        status, there = self.one(asked, name)
        there.update(by_hand=True, revision=there["revision"] + 1, shares={"1": 875_000, "2": 125_000}, desired={})
        return status, self.changed(there)

    def stopped(self, _asked: Asked, model: str = "digits") -> tuple[int, dict[str, Any]]:
        """POST /models/{model}/stop and POST /stop."""
        done = {"acknowledged": self.acknowledged, "took_ms": 4.2, "epoch": 10}
        return 200, {"stopped": [model], "rolled_back": ["ro_0123456789ab"], "unread": [], **done}

    def unstopped(self, _asked: Asked, model: str = "digits") -> tuple[int, dict[str, Any]]:
        """POST /models/{model}/unstop and POST /unstop."""
        return 200, {"unstopped": [model]}

    def alias(self, _asked: Asked, _model: str, name: str) -> tuple[int, dict[str, Any]]:
        """GET /registry/models/{model}/versions/{alias}."""
        said = dict.fromkeys(VersionAnswer.__required_keys__)
        if name not in self.aliases:
            return 404, {"title": "no", "status": 404, "detail": f"There is no alias {name}.", "hint": ""}
        return 200, {**said, "model": "digits", "version": self.aliases[name]}

    def rated(self, _asked: Asked, model: str) -> tuple[int, dict[str, Any]]:
        """GET /models/{model}/rates."""
        versions = rollout()["lately"] if self.rate else {}
        return 200, {"model": model, "requests_per_s": self.rate, "versions": versions}

    def recorded(self, _asked: Asked, _name: str) -> tuple[int, dict[str, Any]]:
        """GET /rollouts/{id}/blocks: one block is a line of JSON as well."""
        return 200, self.block

    def differs(self, _asked: Asked, _name: str) -> tuple[int, dict[str, Any]]:
        """GET /rollouts/{id}/diff."""
        return 200, self.found

    def changed(self, there: dict[str, Any]) -> dict[str, Any]:
        """What a change answers."""
        return {"rollout": there, "acknowledged": self.acknowledged, "epoch": 9, "took_ms": 12.3, "notes": ["a note"]}


_V1 = "/api/v1"
_PATHS = [
    (re.compile(pattern), handle)
    for pattern, handle in (
        (f"GET {_V1}/status", "status"),
        (f"GET {_V1}/rollouts", "listed"),
        (f"GET {_V1}/models/([^/]+)/rollouts", "listed"),
        (f"GET {_V1}/models/([^/]+)/rates", "rated"),
        (f"GET {_V1}/rollouts/([^/]+)/blocks", "recorded"),
        (f"GET {_V1}/rollouts/([^/]+)/diff", "differs"),
        (f"GET {_V1}/rollouts/([^/]+)", "one"),
        (f"GET {_V1}/rollouts/([^/]+)/why", "ledger"),
        (f"GET {_V1}/ledger", "ledger"),
        (f"GET {_V1}/registry/models/([^/]+)/versions/([^/]+)", "alias"),
        (f"POST {_V1}/models/([^/]+)/rollouts", "started"),
        (f"POST {_V1}/rollouts/([^/]+)/([a-z]+)", "moved"),
        (f"PATCH {_V1}/rollouts/([^/]+)", "set"),
        (f"POST {_V1}/models/([^/]+)/stop", "stopped"),
        (f"POST {_V1}/stop", "stopped"),
        (f"POST {_V1}/models/([^/]+)/unstop", "unstopped"),
        (f"POST {_V1}/unstop", "unstopped"),
    )
]  # fmt: skip


@contextmanager
def serving(api: FakeRollouts, port: int = 0) -> Iterator[str]:
    """Its address, while it answers.

    Args:
        api: what it knows.
        port: of 127.0.0.1; 0 is a free one.
    """

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(f"{self.command} {parts.path}", parse_qs(parts.query), headers, body)
            api.asked.append(asked)
            if api.silent:
                api.silent -= 1
                self.close_connection = True
                return
            status, said = api.answer(asked)
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _handle  # noqa: N815 - the base class's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
