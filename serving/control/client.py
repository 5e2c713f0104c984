"""The control API from the caller's side: typed calls, and every way they can fail as one sentence.

Commands and tests use it; whatever it can do, `curl` can do as well. It repeats nothing by itself: a change that was
refused because somebody else was faster is told, never written over. How answers are shown is left to `serving.tables`.
"""

import json
import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NotRequired, Self, TypedDict, cast
from urllib.parse import quote

import httpx

from router.policy import WHOLE, format_share
from serving.control.credentials import NONE, Credentials
from serving.errors import ControlError

_HTTP_ERROR = 400
_CHANGED_MEANWHILE = 409
_NOT_LET_IN = frozenset({401, 403})


class ArmBody(TypedDict):
    """One arm of a policy."""

    version: int
    share_ppm: int


class PolicyBody(TypedDict):
    """A policy as the API takes it; what is left out stays as it is. One that is read has more keys than these."""

    stable: int
    arms: list[ArmBody]
    unit_header: NotRequired[str]


class PolicyAnswer(TypedDict):
    """The policy of one model. The revision goes into the next change's `If-Match`."""

    model: str
    revision: int
    epoch: int
    policy: PolicyBody


class Acknowledged(TypedDict):
    """How many gateway workers there were, how many run the change, whose lease ran out, who is still on the old."""

    of: int
    by: int
    expired: list[str]
    waiting: list[str]


class ChangeAnswer(PolicyAnswer):
    """A change that was written, who runs it by now, and whether the store confirmed that it is on disk."""

    acknowledged: Acknowledged
    durable: bool
    took_ms: float
    notes: NotRequired[list[str]]


class ExplainAnswer(TypedDict):
    """Which version a request would reach, and why; no version or bucket where it would be drawn at random."""

    version: int | None
    reason: str
    bucket: int | None
    words: str


class GatewayStatus(TypedDict):
    """One gateway: what it runs, and what it does. `held` says why it does not take the newest epoch, if so."""

    id: str
    host: str
    http_port: int
    grpc_port: NotRequired[int]
    epoch: int
    digest: str
    current: bool
    workers: int
    connections: int
    in_flight: int
    requests: dict[str, int]
    held: str | None


class VersionStatus(TypedDict):
    """One version of a model, with how many endpoints are ready, and who starts them (`pool` or `static`).

    It is asleep where it has no servers because nothing routes to it.
    """

    version: int
    ready: int
    source: str
    asleep: bool


class ModelStatus(TypedDict):
    """A model, its versions, and its shares in parts per million by version; no stable one before a first policy."""

    name: str
    revision: int
    stable: int | None
    shares: dict[str, int]
    versions: list[VersionStatus]


class PoolStatus(TypedDict):
    """The servers of one version, and how they died lately."""

    model: str
    version: int
    state: str
    message: str
    ready: int
    wanted: int
    crashes: int
    last_words: str


class StoreStatus(TypedDict):
    """Whether Redis answers, and what about it could cost data."""

    reachable: bool
    warnings: list[str]


class StatusAnswer(TypedDict):
    """Everything at a glance."""

    version: str
    epoch: int
    digest: str
    gateways: list[GatewayStatus]
    endpoints: list[dict[str, Any]]
    models: list[ModelStatus]
    pools: list[PoolStatus]
    store: StoreStatus


class ControlClient:
    """A connection to one control API; a context manager.

    Args:
        url: where it is, such as http://127.0.0.1:8080.
        timeout_s: how long any answer may take, seconds.
        transport: what carries the requests; tests put a fake here.
        credentials: what is shown to it, and what it must show.

    Raises:
        ControlError: the key would go over plain http to another machine, or a certificate's file cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        credentials: Credentials = NONE,
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._credentials = credentials
        # The environment's proxies are not asked: what we want is nearly always on this machine. A redirection is
        # not followed, so that a key goes where it was meant to go.
        self._http = httpx.Client(
            timeout=timeout_s,
            transport=transport,
            trust_env=False,
            headers=credentials.headers_for(self.url),
            verify=credentials.context() if self.url.lower().startswith("https:") else True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connection back."""
        self._http.close()

    def status(self) -> StatusAnswer:
        """Everything at a glance.

        Raises:
            ControlError: as for every call here: no answer, a refusal, or somebody else at that address.
        """
        return cast("StatusAnswer", self.call("GET", "status", StatusAnswer))

    def policy(self, model: str) -> PolicyAnswer:
        """A model's policy and its revision."""
        return cast("PolicyAnswer", self.call("GET", f"{_model_path(model)}/policy", PolicyAnswer))

    def set_policy(self, model: str, policy: PolicyBody, *, revision: int, wait_s: float = 2.0) -> ChangeAnswer:
        """Writes a policy over the revision that was read, and waits until the gateways run it.

        Args:
            model: whose policy.
            policy: the new one.
            revision: the one it was made from; if another is there by now, nothing is written.
            wait_s: how long to wait for the gateways at most, seconds; the change stands in any case.

        Raises:
            ControlError: with status 409 and what is there now, when somebody else was faster.
        """
        answer = self.call(
            "PUT",
            f"{_model_path(model)}/policy",
            ChangeAnswer,
            params=[("wait_s", f"{wait_s:g}")],
            headers={"If-Match": f'"{revision}"'},
            json={"policy": policy},
            wait_s=wait_s,
        )
        return cast("ChangeAnswer", answer)

    def explain(self, model: str, *, unit: str | None = None, headers: Sequence[tuple[str, str]] = ()) -> ExplainAnswer:
        """Which version a request of this unit, with these headers, would reach."""
        asked = [("unit", unit)] if unit is not None else []
        params = [*asked, *(("header", f"{name}:{value}") for name, value in headers)]
        return cast("ExplainAnswer", self.call("GET", f"{_model_path(model)}/explain", ExplainAnswer, params=params))

    def explain_request(self, model: str, asked: Mapping[str, Any]) -> ExplainAnswer:
        """Which version that request would reach: its `unit`, `headers`, `body` and whether it comes over `grpc`."""
        path = f"{_model_path(model)}/explain"
        return cast("ExplainAnswer", self.call("POST", path, ExplainAnswer, json=dict(asked)))

    def call(self, method: str, path: str, shape: Any, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx's
        """The JSON that one path answers; `shape` is the TypedDict whose keys it must have."""
        return self._body(self.answer(method, path, **request), shape)

    def answer(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        """What one path below /api/v1 answers, refusals among it.

        Args:
            method: of HTTP.
            path: below /api/v1.
            request: as httpx takes it; `wait_s` is how much longer than usual the answer may take, seconds.
        """
        request["timeout"] = self._timeout_s + request.pop("wait_s", 0.0)
        try:
            return self._http.request(method, f"{self.url}/api/v1/{path}", **request)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise ControlError(f"{self.url!r} is no address", "write it like http://127.0.0.1:8080") from error
        except httpx.ConnectError as error:
            if words := _distrust(error):
                hint = "name the file of whoever has signed its certificate as SLUICE_CA_FILE"
                raise ControlError(f"{self.url} is not trusted: {words}", hint) from error
            hint = "start it with `sluice up`, or name the address with --url"
            raise ControlError(f"nothing answers at {self.url}", hint) from error
        except httpx.TimeoutException as error:
            hint = "it may be starting or overloaded; try again, and look at the logs in its state folder"
            raise ControlError(f"{self.url} did not answer in time", hint) from error
        except ValueError as error:  # of what encodes it; what cannot be UTF-8 is one too
            raise ControlError("what was asked cannot be sent", f"mend it: {error}") from error
        except httpx.HTTPError as error:
            raise ControlError(f"{self.url} broke off: {str(error) or type(error).__name__}", "try again") from error

    def check(self, response: httpx.Response) -> httpx.Response:
        """The same answer.

        Raises:
            ControlError: it is a refusal, or none of a control API.
        """
        body = _json_in(response)
        if response.status_code >= _HTTP_ERROR and isinstance(body, dict) and ("detail" in body or "title" in body):
            raise self._refused(response.status_code, body)
        if not response.is_success:
            raise self._stranger(response)
        return response

    def _body(self, response: httpx.Response, shape: Any) -> dict[str, Any]:  # noqa: ANN401 - a TypedDict's class
        body = _json_in(self.check(response))
        if not isinstance(body, dict) or not shape.__required_keys__ <= body.keys():
            raise self._stranger(response)
        return body

    def _refused(self, status: int, body: Mapping[str, Any]) -> ControlError:
        error = _refused(status, body)
        if status not in _NOT_LET_IN:
            return error
        return ControlError(error.sentence, self._credentials.hint(status, error.hint), status, body)

    def _stranger(self, response: httpx.Response) -> ControlError:
        sentence = f"what answers at {self.url} (HTTP {response.status_code}) is no control API of this release"
        return ControlError(sentence, "name the right address with --url", response.status_code)


def shares_of(policy: PolicyBody) -> dict[int, int]:
    """Parts per million by version, stable first."""
    arms = {arm["version"]: arm["share_ppm"] for arm in policy["arms"]}
    return {policy["stable"]: WHOLE - sum(arms.values()), **arms}


def shares_in_words(shares: Mapping[int, int]) -> str:
    """'1: 90 %, 2: 10 %'."""
    return ", ".join(f"{version}: {format_share(share)}" for version, share in shares.items())


def _json_in(response: httpx.Response) -> object:
    try:
        return response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None


def path_part(text: str) -> str:
    """A name as a part of a path.

    Raises:
        ControlError: it is no text.
    """
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise ControlError(f"{text!r} is no name", "it holds half a character; type it again") from error


def _model_path(model: str) -> str:
    return f"models/{path_part(model)}"


def _distrust(error: BaseException | None) -> str:
    """What is wrong with the other side's certificate; empty where something else went wrong."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message or "its certificate cannot be checked"
        error = error.__cause__ or error.__context__
    return ""


def _refused(status: int, problem: Mapping[str, Any]) -> ControlError:
    sentence = str(problem.get("detail") or problem["title"])
    hint = str(problem.get("hint") or "")
    current = problem.get("current")
    if status == _CHANGED_MEANWHILE and isinstance(current, dict) and current.get("policy"):
        now = shares_in_words(shares_of(current["policy"]))
        sentence = (
            f"somebody else was faster, and nothing of yours was written: revision {current['revision']} is {now}"
        )
        hint = "look whether that is what you want, and repeat the command if not"
    return ControlError(sentence, hint, status, problem)
