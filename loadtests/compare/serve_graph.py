"""The obvious graph of Ray Serve deployments: a FastAPI ingress, a splitter, and a deployment for each version.

What one writes after reading Serve's documentation on model composition, without tricks in either direction: every hop
is a deployment handle, the model deployments ask Triton by its own asynchronous client. `serve_peer.py` runs it.
(No `from __future__ import annotations` here: in a class that travels to a replica, FastAPI could not resolve them.)
"""

import random
from typing import Any

import numpy as np
from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle
from tritonclient.http import InferInput, aio

_SMALL = {"num_cpus": 0.1}
"""What each replica reserves: a whole core each would not fit on a small machine."""

_MANY = 100
"""Requests at once in a replica: more than there are connections, so that none waits for this alone."""

app = FastAPI()


@serve.deployment(max_ongoing_requests=_MANY, ray_actor_options=_SMALL)
class Model:
    """One version, asked through Triton's client."""

    def __init__(self, address: str, model: str, version: int) -> None:
        self._client = aio.InferenceServerClient(address)
        self._model, self._version = model, str(version)

    async def infer(self, rows: list[list[float]]) -> dict[str, Any]:
        """The answer to these rows, in the shape of the Open Inference Protocol."""
        values = np.asarray(rows, np.float32)
        asked = InferInput("x", list(values.shape), "FP32").set_data_from_numpy(values)
        answer = (await self._client.infer(self._model, [asked], self._version)).as_numpy("x")
        tensor = {"name": "x", "datatype": "FP32", "shape": list(answer.shape), "data": answer.ravel().tolist()}
        return {"model_name": self._model, "model_version": self._version, "outputs": [tensor]}


@serve.deployment(max_ongoing_requests=_MANY, ray_actor_options=_SMALL)
class Splitter:
    """Draws the version that answers."""

    def __init__(self, stable: DeploymentHandle[Any], candidate: DeploymentHandle[Any], share: float) -> None:
        self._stable, self._candidate, self._share = stable, candidate, share

    async def infer(self, rows: list[list[float]]) -> dict[str, Any]:
        """Whatever the drawn version answers."""
        chosen = self._candidate if random.random() < self._share else self._stable  # noqa: S311 - a draw, no secret
        answer: dict[str, Any] = await chosen.infer.remote(rows)
        return answer


@serve.deployment(max_ongoing_requests=_MANY, ray_actor_options=_SMALL)
@serve.ingress(app)
class Ingress:
    """The HTTP side."""

    def __init__(self, splitter: DeploymentHandle[Any]) -> None:
        self._splitter = splitter

    @app.post("/v2/models/{model}/infer")
    async def infer(self, model: str, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - there is one
        """One inference with one JSON tensor."""
        [tensor] = request["inputs"]
        rows = np.asarray(tensor["data"]).reshape(tensor["shape"]).tolist()
        answer: dict[str, Any] = await self._splitter.infer.remote(rows)
        return answer


def graph(addresses: tuple[str, str], model: str, share: float) -> Any:  # noqa: ANN401 - Serve types no decorated class
    """The application: version 2, at the second address, gets `share` of the requests."""
    deployment: dict[str, Any] = {"model": Model, "splitter": Splitter, "ingress": Ingress}
    stable, candidate = (
        deployment["model"].options(name=f"Model{version}").bind(address, model, version)
        for version, address in enumerate(addresses, 1)
    )
    return deployment["ingress"].bind(deployment["splitter"].bind(stable, candidate, share))
