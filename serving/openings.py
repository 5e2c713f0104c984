"""What is open: who reaches each listener, whether a key is asked for, and whether it is encrypted.

First from the settings, before anything has started; then from what really listens, for a promise about ports is worth
what the kernel says of them. Servers of ours that listen where they must not are a reason not to start; what cannot be
helped is said. What is done with the sentences is left to whoever starts things and whoever shows the status.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import psutil

from serving.addresses import is_loopback
from serving.kinds import Address
from serving.settings import Settings
from serving.sidecar import is_wanted

_EVERYBODY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
_TRITON = "tritonserver"
_RAY = ("ray::", "raylet", "gcs_server", "/ray/")
_VALKEY = "valkey"


@dataclass(frozen=True, slots=True)
class Opening:
    """One listener of ours, as the settings have it.

    Attributes:
        name: what it is for.
        host: where it binds.
        port: 0 for any.
        keys: whether callers are asked for a key or a token.
        tls: whether it is encrypted.
    """

    name: str
    host: str
    port: int
    keys: bool
    tls: bool

    @property
    def off_host(self) -> bool:
        """Whether other machines reach it."""
        return not is_loopback(self.host)

    def __str__(self) -> str:
        """One sentence."""
        who = "this machine alone" if not self.off_host else f"whoever reaches {_at(self.host)}"
        asked = "a key or a token is asked for" if self.keys else "nobody is asked for a key"
        sent = "encrypted" if self.tls else "in the clear"
        port = f"port {self.port}" if self.port else "a free port"
        return f"{self.name} ({port}): open to {who}, {asked}, {sent}."


def openings(settings: Settings) -> tuple[Opening, ...]:
    """Every listener of ours, in the order in which they are opened."""
    both = {"keys": settings.access.required, "tls": settings.tls.on}
    listen = settings.listen
    found = [Opening("predictions", listen.host, listen.http_port, **both)]
    if listen.grpc:
        found.append(Opening("predictions over gRPC", listen.host, listen.grpc_port, **both))
    found += [
        Opening("control API", settings.control.host, settings.control.port, **both),
    ]
    if settings.metrics.enabled:
        found.append(Opening("metrics", settings.metrics.host, settings.metrics.port, **both))
    return tuple(found)


def sidecar_opening(settings: Settings) -> Opening | None:
    """Where the drift sidecar tells its metrics, to whoever asks; None where there is none."""
    if not is_wanted(settings.drift):
        return None
    where = settings.drift.sidecar
    return Opening("drift metrics", where.metrics_host, where.metrics_port, keys=False, tls=False)


def warnings(settings: Settings, environment: Mapping[str, str]) -> tuple[str, ...]:
    """What an operator should know of these settings; nothing where all is well.

    Args:
        settings: of the installation.
        environment: of the process that connects to Ray, which says whether a token is asked for there.
    """
    said: list[str] = []
    if plain := [one.name for one in openings(settings) if one.off_host and not one.tls]:
        names = " and ".join(plain)
        said.append(f"Keys travel in the clear to other machines ({names}): set tls.certificate and tls.key.")
    sidecar = sidecar_opening(settings)
    if sidecar is not None and sidecar.off_host:
        said.append(
            "The drift sidecar's metrics name every model that it watches, and ask nobody for a key: bind "
            "drift.sidecar.metrics_host to 127.0.0.1, or see that only Prometheus reaches it."
        )
    if settings.ray.address is not None and not _asks_for_token(environment):
        said.append(
            "The Ray cluster at ray.address asks nobody for a token, and whoever reaches it can run code there: start "
            "it with RAY_AUTH_MODE=token, and give us the same token."
        )
    url = settings.redis.url.get_secret_value() if settings.redis.url else ""
    if url.startswith("redis://") and not _is_here(url):
        said.append(
            "Redis is spoken to in the clear over the network: give redis.url as rediss://…, with redis.ca_file."
        )
    if in_the_clear := sorted({str(one) for one in _static(settings) if not one.tls and not is_loopback(one.host)}):
        said.append(f"Requests travel in the clear to {', '.join(in_the_clear)}: write https://host:port for TLS.")
    return tuple(said)


@dataclass(frozen=True, slots=True)
class Socket:
    """One socket that listens, as the kernel has it.

    Attributes:
        host: where it is bound.
        port: where it is bound.
        pid: of the process that holds it.
        command: the process's name and command line.
    """

    host: str
    port: int
    pid: int
    command: str


@dataclass(frozen=True, slots=True)
class Found:
    """What listens where other machines reach it, beside our own listeners, in sentences.

    Attributes:
        refused: with these nothing may go on.
        warned: what should be changed.
        noted: what is as it has to be.
    """

    refused: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()


def judge(
    sockets: Iterable[Socket], ours: Iterable[int], driver: int, pods: str, environment: Mapping[str, str]
) -> Found:
    """What to say of them.

    Args:
        sockets: that our processes listen on.
        ours: ports of our own listeners.
        driver: the process that has started Ray, or joined it: it listens as one of Ray's.
        pods: where Triton's ports may be beside loopback (`triton.host`).
        environment: of that process.
    """
    known = set(ours)
    there = [one for one in sockets if not _is_loopback(one.host) and one.port not in known]
    triton = [one for one in there if _TRITON in one.command]
    ray = [one for one in there if (one.pid == driver or _is_ray(one)) and one not in triton]
    others = [one for one in there if one not in triton and one not in ray]
    refused = tuple(
        f"tritonserver (process {one.pid}) listens on {_at(one.host)} port {one.port}, and asks nobody for a key."
        for one in triton
        if one.host != pods
    )
    warned = tuple(f"{_called(one)} (process {one.pid}) listens on {_at(one.host)} port {one.port}." for one in others)
    if not ray:
        return Found(refused, warned)
    ports = ", ".join(map(str, sorted({one.port for one in ray})))
    if _asks_for_token(environment):
        return Found(refused, warned, (f"Ray listens on {_at(ray[0].host)} (ports {ports}), behind its token.",))
    said = f"Ray listens on {_at(ray[0].host)} (ports {ports}), and asks nobody for a token: set RAY_AUTH_MODE=token."
    return Found(refused, (*warned, said))


def listening(pid: int) -> tuple[Socket, ...]:
    """What this process and all that it has started listen on; whoever ends meanwhile is left out."""
    found: dict[tuple[str, int], Socket] = {}
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error):
            command = " ".join((process.name(), *process.cmdline()))
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN:
                    place = (one.laddr.ip, one.laddr.port)
                    found.setdefault(place, Socket(*place, process.pid, command))
    return tuple(sorted(found.values(), key=lambda one: (one.port, one.host)))


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _asks_for_token(environment: Mapping[str, str]) -> bool:
    return environment.get("RAY_AUTH_MODE", "").lower() == "token"


def _is_ray(one: Socket) -> bool:
    return any(word in one.command for word in _RAY)


def _called(one: Socket) -> str:
    return "Valkey" if _VALKEY in one.command else one.command.partition(" ")[0]


def _at(host: str) -> str:
    return "every address of this machine" if host in _EVERYBODY else host


def _is_loopback(host: str) -> bool:
    """Of an address in the kernel's words, where IPv4 may be dressed as IPv6."""
    found = ip_address(host.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _static(settings: Settings) -> Iterable[Address]:
    return (place for model in settings.models for one in model.versions for place in one.endpoints)


def _is_here(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")
