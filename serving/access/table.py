"""What each door asks for: one table for the prediction port, the control API, metrics and gRPC.

An operation that is not in it is not let through at all, and a test walks every route of every listener and fails
where one is missing. Feedback asks for no more than the answer did that it is about, and counts once for each; whoever
may predict thereby has a say in rollouts that are decided by it. A request marked synthetic (`sluice-synthetic`) needs
the right to operate, whatever it asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from serving.access.roles import Needs
from serving.gateway.paths import Operation

SYNTHETIC: Final = Needs.OPERATE
"""To mark a request as synthetic: it enters no verdict, so whoever may mark may hide what they do from the evidence."""

PREDICTION: Final[Mapping[Operation, Needs]] = MappingProxyType(
    {
        Operation.LIVE: Needs.NOTHING,
        Operation.READY: Needs.NOTHING,
        Operation.SERVER: Needs.PREDICT,
        Operation.INDEX: Needs.PREDICT,
        Operation.LOAD: Needs.PREDICT,
        Operation.MODEL_READY: Needs.PREDICT,
        Operation.METADATA: Needs.PREDICT,
        Operation.CONFIG: Needs.PREDICT,
        Operation.STATS: Needs.PREDICT,
        Operation.ALL_STATS: Needs.PREDICT,
        Operation.INFER: Needs.PREDICT,
        Operation.GENERATE: Needs.PREDICT,
        Operation.GENERATE_STREAM: Needs.PREDICT,
        Operation.NOT_OFFERED: Needs.PREDICT,
        Operation.UNKNOWN: Needs.PREDICT,
    }
)
"""The prediction port, by operation. What names a model asks for a key that may ask this model."""

METRICS: Final[Mapping[str, Needs]] = MappingProxyType({"GET /metrics": Needs.OPERATE})
"""The metrics listener. Its figures name every model, which a key for predictions may not know of."""

_V1: Final = "/api/v1"
_REGISTRY: Final = f"{_V1}/registry"

CONTROL: Final[Mapping[str, Needs]] = MappingProxyType(
    {
        "GET /healthz": Needs.NOTHING,
        "GET /docs": Needs.NOTHING,
        "GET /openapi.json": Needs.NOTHING,
        f"GET {_V1}/whoami": Needs.PREDICT,
        f"GET {_V1}/status": Needs.OPERATE,
        f"GET {_V1}/models": Needs.OPERATE,
        f"GET {_V1}/models/{{model}}/policy": Needs.OPERATE,
        f"PUT {_V1}/models/{{model}}/policy": Needs.OPERATE,
        f"GET {_V1}/models/{{model}}/explain": Needs.OPERATE,
        f"POST {_V1}/models/{{model}}/explain": Needs.OPERATE,
        f"GET {_V1}/models/{{model}}/rates": Needs.OPERATE,
        f"GET {_V1}/requests/{{request_id}}": Needs.OPERATE,
        f"POST {_V1}/feedback": Needs.PREDICT,
        f"GET {_V1}/models/{{model}}/feedback": Needs.OPERATE,
        f"GET {_V1}/rollouts/{{rollout}}/results": Needs.OPERATE,
        f"GET {_V1}/drift": Needs.OPERATE,
        f"GET {_V1}/drift/findings": Needs.OPERATE,
        f"GET {_V1}/drift/findings/{{finding}}": Needs.OPERATE,
        f"GET {_V1}/drift/episodes": Needs.OPERATE,
        f"GET {_V1}/drift/episodes/{{episode}}": Needs.OPERATE,
        f"POST {_V1}/drift/episodes/{{episode}}/approve": Needs.OPERATE,
        f"POST {_V1}/drift/episodes/{{episode}}/acknowledge": Needs.OPERATE,
        f"POST {_V1}/drift/episodes/{{episode}}/silence": Needs.OPERATE,
        f"GET {_V1}/drift/silences": Needs.OPERATE,
        f"POST {_V1}/drift/models/{{model}}/silence": Needs.OPERATE,
        f"GET {_V1}/drift/webhooks": Needs.OPERATE,
        f"GET {_V1}/drift/webhooks/{{message}}": Needs.OPERATE,
        f"POST {_V1}/drift/webhooks/{{message}}/replay": Needs.OPERATE,
        f"POST {_V1}/drift/webhooks/replay": Needs.OPERATE,
        f"POST {_V1}/drift/webhooks/test": Needs.OPERATE,
        f"POST {_V1}/drift/hooks/rollback": Needs.NOTHING,  # a signature is shown in the place of a key
        f"GET {_V1}/drift/episodes/{{episode}}/window.parquet": Needs.OPERATE,
        f"GET {_V1}/drift/baselines": Needs.OPERATE,
        f"GET {_V1}/drift/models/{{model}}/versions/{{version}}": Needs.OPERATE,
        f"GET {_V1}/drift/models/{{model}}/versions/{{version}}/baseline": Needs.OPERATE,
        f"PUT {_V1}/drift/models/{{model}}/versions/{{version}}/baseline": Needs.OPERATE,
        f"DELETE {_V1}/drift/models/{{model}}/versions/{{version}}/baseline": Needs.OPERATE,
        f"GET {_V1}/ledger": Needs.OPERATE,
        f"GET {_V1}/ledger/export": Needs.OPERATE,
        f"GET {_V1}/events": Needs.OPERATE,
        f"GET {_V1}/epochs": Needs.OPERATE,
        f"GET {_V1}/gateways": Needs.OPERATE,
        f"POST {_V1}/plan/lint": Needs.OPERATE,
        f"GET {_V1}/models/{{model}}/rollouts": Needs.OPERATE,
        f"POST {_V1}/models/{{model}}/rollouts": Needs.OPERATE,
        f"GET {_V1}/rollouts": Needs.OPERATE,
        f"GET {_V1}/rollouts/{{rollout}}": Needs.OPERATE,
        f"PATCH {_V1}/rollouts/{{rollout}}": Needs.OPERATE,
        f"GET {_V1}/rollouts/{{rollout}}/why": Needs.OPERATE,
        f"GET {_V1}/rollouts/{{rollout}}/blocks": Needs.OPERATE,
        f"GET {_V1}/rollouts/{{rollout}}/diff": Needs.OPERATE,
        f"POST {_V1}/rollouts/{{rollout}}/pause": Needs.OPERATE,
        f"POST {_V1}/rollouts/{{rollout}}/resume": Needs.OPERATE,
        f"POST {_V1}/rollouts/{{rollout}}/approve": Needs.OPERATE,
        f"POST {_V1}/rollouts/{{rollout}}/promote": Needs.OPERATE,
        f"POST {_V1}/rollouts/{{rollout}}/rollback": Needs.OPERATE,
        f"POST {_V1}/rollouts/{{rollout}}/retry": Needs.OPERATE,
        f"POST {_V1}/models/{{model}}/stop": Needs.OPERATE,
        f"POST {_V1}/models/{{model}}/unstop": Needs.OPERATE,
        f"POST {_V1}/stop": Needs.OPERATE,
        f"POST {_V1}/unstop": Needs.OPERATE,
        f"POST {_V1}/models/{{model}}/versions/{{version}}/deploy": Needs.OPERATE,
        f"POST {_V1}/models/{{model}}/versions/{{version}}/remove": Needs.OPERATE,
        f"POST {_V1}/models/{{model}}/promote": Needs.OPERATE,
        f"GET {_V1}/operations": Needs.OPERATE,
        f"GET {_V1}/operations/{{operation_id}}": Needs.OPERATE,
        f"DELETE {_V1}/operations/{{operation_id}}": Needs.OPERATE,
        f"GET {_REGISTRY}/models": Needs.OPERATE,
        f"GET {_REGISTRY}/models/{{model}}/versions": Needs.OPERATE,
        f"POST {_REGISTRY}/models/{{model}}/versions": Needs.ADMINISTER,
        f"GET {_REGISTRY}/models/{{model}}/versions/{{version}}": Needs.OPERATE,
        f"DELETE {_REGISTRY}/models/{{model}}/versions/{{version}}": Needs.ADMINISTER,
        f"GET {_REGISTRY}/models/{{model}}/versions/{{version}}/config": Needs.OPERATE,
        f"GET {_REGISTRY}/models/{{model}}/diff": Needs.OPERATE,
        f"GET {_REGISTRY}/audit": Needs.OPERATE,
        f"POST {_REGISTRY}/models/{{model}}/versions/{{version}}/verify": Needs.ADMINISTER,
        f"POST {_REGISTRY}/models/{{model}}/import": Needs.ADMINISTER,
        f"POST {_REGISTRY}/models/{{model}}/versions/{{version}}/archive": Needs.ADMINISTER,
        f"POST {_REGISTRY}/models/{{model}}/versions/{{version}}/restore": Needs.ADMINISTER,
        f"GET {_REGISTRY}/models/{{model}}/aliases": Needs.OPERATE,
        f"GET {_REGISTRY}/models/{{model}}/aliases/{{alias}}": Needs.OPERATE,
        f"PUT {_REGISTRY}/models/{{model}}/aliases/{{alias}}": Needs.ADMINISTER,
        f"DELETE {_REGISTRY}/models/{{model}}/aliases/{{alias}}": Needs.ADMINISTER,
        f"GET {_V1}/keys": Needs.ADMINISTER,
        f"POST {_V1}/keys": Needs.ADMINISTER,
        f"DELETE {_V1}/keys/{{key_id}}": Needs.ADMINISTER,
        f"POST {_V1}/request-id-keys": Needs.ADMINISTER,
    }
)
"""The control API, by method and path template, as FastAPI has it."""
