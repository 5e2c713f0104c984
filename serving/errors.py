"""What can go wrong, in our own words: the error classes, and the one table from a refusal to its HTTP and gRPC status.

An error is one sentence that says what is wrong, and a hint that says what to do about it. The table is the last word
on status codes for every door of ours, the prediction ports and the control API alike. This module has no imports but
the standard library's, because the gateway's worker process loads it; writing an answer to a socket, a terminal or a
stream is left to those who own one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from types import MappingProxyType


class SluiceError(Exception):
    """Something that an operator or a caller can act on: a sentence, and a hint on what to do.

    Args:
        sentence: what is wrong, complete and with the value that was wrong.
        hint: what to do about it; empty when the sentence already says so.
    """

    def __init__(self, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint

    def __str__(self) -> str:
        """The sentence, whatever a subclass keeps in `args` so that it can be pickled."""
        return self.sentence


class SettingsError(SluiceError):
    """The settings cannot be used; `mistakes` holds every reason at once, one line each."""

    def __init__(self, sentence: str, hint: str = "", mistakes: Sequence[str] = ()) -> None:
        super().__init__("\n".join((sentence, *(f"  {mistake}" for mistake in mistakes))), hint)
        # For the base class's pickling, which calls the constructor with `args` and then restores the attributes.
        self.args = (sentence, hint, tuple(mistakes))
        self.mistakes = tuple(mistakes)

    def __str__(self) -> str:
        """The sentence and the mistakes."""
        return self.sentence


class PortTaken(SluiceError):  # noqa: N818 - named after what happened; SluiceError says that it is an error
    """Somebody else listens on a port that we were told to take."""


class AlreadyRunning(SluiceError):  # noqa: N818 - as above
    """A gateway already runs from this state folder."""


class NotRunning(SluiceError):  # noqa: N818 - as above
    """No gateway runs from this state folder."""


class StartFailed(SluiceError):  # noqa: N818 - as above
    """A part did not come up; the sentence names it and where its log is."""


class ControlError(SluiceError):
    """The control API did not do what was asked, or did not answer.

    Args:
        sentence: what went wrong.
        hint: what to do about it.
        status: the HTTP status of the answer; None when there was no answer.
        problem: the decoded problem-details body (RFC 9457), empty when there was none.
    """

    def __init__(
        self, sentence: str, hint: str = "", status: int | None = None, problem: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(sentence, hint)
        self.status = status
        self.problem: Mapping[str, object] = dict(problem or {})


@unique
class Refusal(Enum):
    """The kinds of 'no' that our listeners say. The value is its name in logs and metrics."""

    # The prediction ports.
    MALFORMED = "malformed"
    BROKEN_FRAMING = "broken-framing"
    CONNECT = "connect"
    NESTED_TOO_DEEP = "nested-too-deep"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    UNKNOWN_PATH = "unknown-path"
    UNKNOWN_MODEL = "unknown-model"
    WRONG_METHOD = "wrong-method"
    TOO_LARGE = "too-large"
    QUERY_OF_DEATH = "query-of-death"
    RATE_LIMITED = "rate-limited"
    NOT_OFFERED = "not-offered"
    BROKEN_UPSTREAM = "broken-upstream"
    OVERLOADED = "overloaded"
    NO_REPLICA = "no-replica"
    DEADLINE = "deadline"
    # The control API.
    CHANGED_MEANWHILE = "changed-meanwhile"
    UNACCEPTABLE = "unacceptable"
    NO_REVISION = "no-revision"
    WRONG_HOST = "wrong-host"
    TOO_SLOW = "too-slow"
    STORE_UNREACHABLE = "store-unreachable"
    UNKNOWN_VERSION = "unknown-version"
    UNKNOWN_OPERATION = "unknown-operation"
    UNKNOWN_ROLLOUT = "unknown-rollout"
    NOT_NOW = "not-now"
    UNKNOWN_KEY = "unknown-key"
    IN_USE = "in-use"
    CORRUPTED = "corrupted"
    DID_NOT_START = "did-not-start"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Status:
    """How a refusal is told.

    Args:
        http: the HTTP status code.
        grpc: the name of the gRPC status code; None where the case cannot arise over gRPC.
        closes: whether the HTTP connection ends with the answer: its framing is lost, or its body stays unread.
        retry_after_s: the `Retry-After` that goes with the answer, seconds; None for no such header.
    """

    http: int
    grpc: str | None
    closes: bool = False
    retry_after_s: int | None = None


STATUS: Mapping[Refusal, Status] = MappingProxyType(
    {
        Refusal.MALFORMED: Status(400, "INVALID_ARGUMENT"),
        Refusal.BROKEN_FRAMING: Status(400, "INVALID_ARGUMENT", closes=True),
        Refusal.CONNECT: Status(400, None, closes=True),
        Refusal.NESTED_TOO_DEEP: Status(400, None),
        Refusal.UNAUTHENTICATED: Status(401, "UNAUTHENTICATED", closes=True),
        Refusal.FORBIDDEN: Status(403, "PERMISSION_DENIED"),
        Refusal.UNKNOWN_PATH: Status(404, "UNIMPLEMENTED"),
        Refusal.UNKNOWN_MODEL: Status(404, "NOT_FOUND"),
        Refusal.WRONG_METHOD: Status(405, "UNIMPLEMENTED"),
        Refusal.TOO_LARGE: Status(413, "RESOURCE_EXHAUSTED", closes=True),
        Refusal.QUERY_OF_DEATH: Status(422, "INVALID_ARGUMENT"),
        Refusal.RATE_LIMITED: Status(429, "RESOURCE_EXHAUSTED", retry_after_s=1),
        Refusal.NOT_OFFERED: Status(501, "UNIMPLEMENTED"),
        Refusal.BROKEN_UPSTREAM: Status(502, "UNAVAILABLE"),
        Refusal.OVERLOADED: Status(503, "UNAVAILABLE", retry_after_s=1),
        Refusal.NO_REPLICA: Status(503, "UNAVAILABLE", retry_after_s=1),
        Refusal.DEADLINE: Status(504, "DEADLINE_EXCEEDED"),
        Refusal.CHANGED_MEANWHILE: Status(409, None),
        Refusal.UNACCEPTABLE: Status(422, None),
        Refusal.NO_REVISION: Status(428, None),
        Refusal.WRONG_HOST: Status(421, None, closes=True),
        Refusal.TOO_SLOW: Status(408, None, closes=True),
        Refusal.STORE_UNREACHABLE: Status(503, None, retry_after_s=1),
        Refusal.UNKNOWN_VERSION: Status(404, None),
        Refusal.UNKNOWN_OPERATION: Status(404, None),
        Refusal.UNKNOWN_ROLLOUT: Status(404, None),
        Refusal.NOT_NOW: Status(409, None),
        Refusal.UNKNOWN_KEY: Status(404, None),
        Refusal.IN_USE: Status(409, None),
        Refusal.CORRUPTED: Status(422, None),
        Refusal.DID_NOT_START: Status(422, None),
        Refusal.BROKEN: Status(500, None),
    }
)
