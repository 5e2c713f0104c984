"""What a run asks before it begins and after it is over: the model's metadata, one trial request, the ledger.

As a client would, over HTTP; and, where a rollout is to be under way, what an operator does before and after.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from loadtests.installation import Failed
from loadtests.load.payloads import Payload
from loadtests.load.records import legible
from loadtests.load.spec import SYNTHETIC, Place
from router.phases import OVER

_TIMEOUT_S = 30.0
_WITHIN_S = 120.0
_LOOK_S = 0.2
_FORBIDDEN = 403
_PLAN = {"canary": {"needs": "minima", "steps": ["1%", "100%"], "hold": "1d"}}
"""Of a rollout whose shares are set by hand."""


class Control:
    """The gateway and the control API; a context manager.

    Args:
        place: where they are.
        model: whose predictions.

    Attributes:
        place: the same.
    """

    def __init__(self, place: Place, model: str) -> None:
        self.place = place
        self._name = model
        self._model = quote(model, safe="")
        tls = any(url.startswith("https:") for url in (place.http_url, place.control_url))
        verify = place.context() if tls else True
        self._http = httpx.Client(headers=place.headers, timeout=_TIMEOUT_S, trust_env=False, verify=verify)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def metadata(self, version: int | None = None) -> Mapping[str, Any]:
        """What the model takes and gives, or that version of it.

        Raises:
            Failed: as for every call here, where nobody answers, or refuses.
        """
        pinned = "" if version is None else f"/versions/{version}"
        return self._json("GET", f"{self.place.http_url}/v2/models/{self._model}{pinned}", has="inputs")

    def policy(self) -> Mapping[str, Any]:
        """How the model's traffic is split."""
        return dict(self._json("GET", self._api(f"/models/{self._model}/policy"), has="policy")["policy"])

    def ledger(self) -> list[Mapping[str, Any]]:
        """Every entry, oldest first."""
        text = self._asked("GET", self._api("/ledger/export")).text
        return [json.loads(line) for line in text.splitlines() if line]

    def versions(self) -> list[int]:
        """Those that have a share of the traffic."""
        policy = self.policy()
        return sorted({int(policy["stable"]), *(int(arm["version"]) for arm in policy["arms"] if arm["share_ppm"])})

    def ready(self, version: int) -> int:
        """How many replicas of that version are ready; 0 where nobody knows."""
        models = {one["name"]: one for one in self._json("GET", self._api("/status"), has="models")["models"]}
        versions = {one["version"]: one for one in models.get(self._name, {}).get("versions", ())}
        return int(versions.get(version, {}).get("ready", 0))

    def record(self, version: int, carries_rps: float, why: str) -> None:
        """Says what each replica of a version carries, requests a second: policies are checked against it."""
        said = {"options": {"carries_rps": carries_rps}, "why": why}
        self._asked("POST", self._api(f"/models/{self._model}/versions/{version}/deploy"), said)

    def try_out(self, payload: Payload, headers: Mapping[str, str], version: int | None) -> None:
        """Sends one request, so that a run whose every request is refused does not begin."""
        pinned = "" if version is None else f"/versions/{version}"
        url = f"{self.place.http_url}/v2/models/{self._model}{pinned}/infer"
        try:
            answer = self._http.post(url, content=payload.body, headers={**headers, **payload.headers})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failed(f"{url} gave no answer to the first request: {error!r}") from error
        if answer.status_code == _FORBIDDEN and SYNTHETIC in headers:
            raise Failed(
                f"The gateway refuses a request marked synthetic ({_said(answer)}). Show a key that may operate, or "
                "give --as-traffic: then the requests are not marked, and verdicts and samples count them."
            )
        if not answer.is_success:
            raise Failed(f"The gateway refuses the first request ({answer.status_code}): {_said(answer)}")

    @contextmanager
    def rollout(self, version: int) -> Iterator[str]:
        """A rollout of that version whose shares are set by hand; it is rolled back when the block ends.

        Raises:
            Failed: it did not begin to run, or is still in progress.
        """
        document = {**_PLAN, "candidate": version, "again": True}
        started = self._json("POST", self._api(f"/models/{self._model}/rollouts"), document, has="rollout")
        rollout = str(started["rollout"]["id"])
        try:
            self._comes_to(rollout, "running")
            yield rollout
        finally:
            self._take_back(rollout)

    def _take_back(self, rollout: str) -> None:
        try:
            self._asked("POST", self._api(f"/rollouts/{rollout}/rollback"), {"why": "the load test is over"})
        except Failed as error:
            if self._phase(rollout) not in OVER:  # else evidence, or somebody, was faster
                raise Failed(f"{rollout} is still in progress, for it could not be rolled back: {error}") from error

    def _phase(self, rollout: str) -> str:
        return str(self._json("GET", self._api(f"/rollouts/{rollout}"), has="phase")["phase"])

    def _comes_to(self, rollout: str, phase: str) -> None:
        deadline = time.monotonic() + _WITHIN_S
        while (there := self._phase(rollout)) != phase:
            if there in OVER:
                raise Failed(f"{rollout} is {there}, and was to be {phase}: `sluice rollout why {rollout}` says more.")
            if time.monotonic() > deadline:
                raise Failed(f"{rollout} is {there} after {_WITHIN_S:g} s, and not {phase}.")
            time.sleep(_LOOK_S)

    def _api(self, path: str) -> str:
        return f"{self.place.control_url}/api/v1{path}"

    def _json(self, method: str, url: str, said: Mapping[str, Any] | None = None, *, has: str) -> dict[str, Any]:
        """The object that is answered, which has to have that name in it."""
        try:
            answer = self._asked(method, url, said).json()
        except ValueError as error:
            raise Failed(f"{url} answers with something that is no JSON: is this the right address?") from error
        if not isinstance(answer, dict) or has not in answer:
            raise Failed(f"{url} answers with JSON in which there is no {has!r}: is this the right address?")
        return answer

    def _asked(self, method: str, url: str, said: Mapping[str, Any] | None = None) -> httpx.Response:
        headers = {} if said is None else {"if-match": "*"}
        try:
            answer = self._http.request(method, url, json=said, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failed(f"{url} gave no answer ({error!r}): start it, or name the right address.") from error
        if not answer.is_success:
            raise Failed(f"{method} {url}: {answer.status_code} {_said(answer)}")
        return answer


def _said(answer: httpx.Response) -> str:
    """The sentence of an answer that is an error, fit to be shown."""
    try:
        said = answer.json()
        text = str(said.get("error") or said.get("detail") or said) if isinstance(said, dict) else str(said)
    except ValueError:
        text = answer.text
    return legible(text) or "it does not say why"
