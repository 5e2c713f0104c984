"""What one run does, told to its processes as JSON over their standard input.

Over standard input because of the key: everybody on a machine may read arguments.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from xxhash import xxh3_64_intdigest

from loadtests.load.records import Kind
from loadtests.load.shapes import Shape, timetable
from router.choose import Facts
from router.match import Said
from serving.errors import StartFailed
from serving.tls import client_context

SYNTHETIC = "sluice-synthetic"
_LAST_LINE = "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything answers, and what is shown there.

    Attributes:
        http_url: of predictions.
        grpc: of predictions over gRPC, host and port; empty where there are none.
        control_url: of the control API.
        key: an API key or a token; empty for none.
        ca_file: PEM, who may have signed certificates; empty for the usual ones.
        certificate: PEM, the one certificate that is trusted, whatever name it is for; empty for none.
    """

    http_url: str
    grpc: str = ""
    control_url: str = ""
    key: str = field(default="", repr=False)
    ca_file: str = ""
    certificate: str = ""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of predictions over HTTP."""
        parts = urlsplit(self.http_url)
        return parts.hostname or "", parts.port or (443 if self.tls else 80)

    @property
    def tls(self) -> bool:
        """Whether predictions go over TLS."""
        return self.http_url.startswith("https:")

    @property
    def headers(self) -> dict[str, str]:
        """What is shown with each request."""
        return {"authorization": f"Bearer {self.key}"} if self.key else {}

    def context(self) -> ssl.SSLContext:
        """What a TLS connection trusts.

        Raises:
            StartFailed: the file holds no certificate.
        """
        if not self.certificate:
            return client_context(self.ca_file or None)
        # The server's own and none that others have signed; its name does not matter, for the file is our settings'.
        context = ssl.create_default_context(cadata=_first_in(Path(self.certificate)))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
        return context


def _first_in(file: Path) -> str:
    """The first certificate of a file."""
    try:
        before, end, _ = file.read_text(encoding="ascii").partition(_LAST_LINE)
    except (OSError, ValueError) as error:
        raise StartFailed(f"The certificate in {file} cannot be read.", "It takes a file in PEM form.") from error
    return before + end


@dataclass(frozen=True, slots=True)
class Moving:
    """A rollout whose share is changed under way.

    Attributes:
        rollout: its id.
        version: whose share.
        every_s: how often, seconds.
    """

    rollout: str
    version: int
    every_s: float


@dataclass(frozen=True, slots=True)
class Spec:
    """One run.

    Attributes:
        model: whose predictions.
        place: where it answers.
        shape: requests a second over time; with `closed`, users over time.
        mix: how much of the requests each kind is, over 0 and 1 in all.
        folder: where workers leave what they heard.
        inputs: of the model, as its metadata says them.
        data: a file of requests; empty to draw them from `inputs`.
        rows: how many rows drawn requests have.
        closed: whether a user sends its next request when the last is answered; else at its time, come what may.
        connections: how many requests are on their way at most, in the open loop.
        workers: how many processes send.
        version: that is asked, whatever the policy says; None for whoever the policy chooses.
        units: how many different ones there are.
        unit_header: where they are named.
        headers: that all requests have as well.
        synthetic: whether requests are marked so, and enter no evidence.
        timeout_s: how long an answer may take from when its request was sent.
        seed: of all that is drawn.
        feedback: how many of the answers get feedback, 0 to 1.
        moving: the rollout that operators move; None for none.
    """

    model: str
    place: Place
    shape: Shape
    mix: Mapping[Kind, float]
    folder: Path
    inputs: Sequence[Mapping[str, Any]] = ()
    data: str = ""
    rows: int = 1
    closed: bool = False
    connections: int = 64
    workers: int = 1
    version: int | None = None
    units: int = 100_000
    unit_header: str = "sluice-unit"
    headers: Mapping[str, str] = field(default_factory=dict)
    synthetic: bool = True
    timeout_s: float = 10.0
    seed: int = 1
    feedback: float = 0.0
    moving: Moving | None = None

    def unit(self, number: int) -> str:
        """Who asks request number n."""
        return f"unit-{xxh3_64_intdigest(f'{self.seed}/{number}'.encode()) % self.units}"

    def timetable(self, kind: Kind, worker: int) -> Iterator[tuple[int, float]]:
        """Which requests of that kind a worker sends in the open loop, and when each is due."""
        return timetable(self.shape, self.mix[kind], worker, self.workers)

    def facts(self, number: int) -> Facts:
        """What request number n says about itself, for `router.choose`."""
        unit, grpc = self.unit(number).encode(), number % len(Kind) == Kind.GRPC
        fields = {name.encode(): value.encode() for name, value in self.headers.items()}
        override = self.headers.get("sluice-version", "")
        said = Said({**fields, self.unit_header.encode(): unit}, grpc)
        return Facts(unit, self.version, int(override) if override.isdecimal() else None, said)

    def sent_headers(self) -> dict[str, str]:
        """What goes with every request, its unit and its body's own headers not among it."""
        marked = {SYNTHETIC: "1"} if self.synthetic else {}
        return {**self.place.headers, **marked, **self.headers}

    @property
    def users(self) -> Mapping[Kind, int]:
        """How many users of each kind the open loop has: as many for every worker, and one at least."""
        return {
            kind: self.workers * max(1, round(self.connections * share / self.workers))
            for kind, share in self.mix.items()
            if share > 0
        }

    def encode(self) -> bytes:
        """The spec as JSON, the key in it; `decode` reads it."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain |= {
            "place": asdict(self.place), "shape": self.shape.points, "folder": str(self.folder),
            "mix": {kind.name: share for kind, share in self.mix.items()},
            "moving": self.moving and asdict(self.moving), "headers": dict(self.headers),
            "inputs": [dict(one) for one in self.inputs],
        }  # fmt: skip
        return json.dumps(plain).encode()

    @classmethod
    def decode(cls, text: bytes) -> Self:
        """The spec in that JSON."""
        plain = json.loads(text)
        made = {
            "place": Place(**plain["place"]), "folder": Path(plain["folder"]),
            "shape": Shape(tuple((at, rate) for at, rate in plain["shape"])),
            "mix": {Kind[name]: share for name, share in plain["mix"].items()},
            "moving": Moving(**plain["moving"]) if plain["moving"] else None,
            "inputs": tuple(plain["inputs"]),
        }  # fmt: skip
        return cls(**{**plain, **made})
