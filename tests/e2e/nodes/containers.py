"""What a container runtime does, with the kernel's namespaces: networks, file systems and process ids for each pod.

A pod's end is the end of its first process, as on a cluster: the kernel kills the others with it. Nothing of all this
has a name on the machine that could be left behind: networks and mounts are gone with the processes that hold them,
and those die with this one (`serving.child`). It takes root.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from serving import child
from tests.e2e.system import until

_BEGIN = Path(__file__).with_name("container")
_PROGRAMS = ("ip", "mount", "nsenter", "setpriv", "unshare")
_NAMESPACES = ("--mount", "--net", "--uts", "--ipc", "--pid")
_ENDS_WITHIN_S = 20.0
_LISTENS = "0A"
_LOOPBACK = ("0100007F", "00000000000000000000000001000000")
"""127.0.0.1, also as it is written in IPv6, and ::1, as the kernel writes them."""


def missing() -> str:
    """Why this machine cannot do it, in a sentence; empty where it can."""
    if lacking := [name for name in _PROGRAMS if shutil.which(name) is None]:
        return f"there is no {', '.join(lacking)} here"
    argv = [_program("unshare"), *_NAMESPACES, "--fork", "true"]
    tried = subprocess.run(argv, capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"no namespaces may be made here: {tried.stderr.strip()}"


@dataclass(frozen=True, slots=True)
class Volume:
    """Something at a place in a container.

    Attributes:
        path: where it is seen.
        source: the folder or the file of this machine that is seen there; None for an empty one in memory.
        size: of an empty one, as `mount` reads it, such as 256m.
        writable: whether it may be written to.
    """

    path: str
    source: Path | None = None
    size: str = "64m"
    writable: bool = True

    @property
    def line(self) -> str:
        """What `container` is told of it."""
        if self.source is None:
            return f"volume\t{self.path}\t{self.size}"
        return f"bind\t{self.source}\t{self.path}\t{'rw' if self.writable else 'ro'}"


@dataclass(frozen=True, slots=True)
class Description:
    """What is to run, and where.

    Attributes:
        name: of the host that it takes itself for.
        command: with its arguments.
        environment: all of it.
        user: the id of user and group.
        volumes: what there is beside the system's programs.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    user: int
    volumes: Sequence[Volume]


class Network:
    """A switch, and this machine plugged into it.

    Attributes:
        prefix: what the addresses of all who are plugged in begin with.
    """

    def __init__(self) -> None:
        drawn = secrets.token_bytes(2)
        self.prefix = f"10.{128 + drawn[0] % 64}.{drawn[1]}"
        self._ours = f"sl{secrets.token_hex(4)}"
        self._switch = child.spawn(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        here, there = Path("/proc/self/ns/net"), Path(f"/proc/{self._switch.pid}/ns/net")
        until(lambda: there.stat().st_ino != here.stat().st_ino, "a network of its own")
        _in_network(self._switch.pid, "link", "add", "switch", "type", "bridge")
        _in_network(self._switch.pid, "link", "set", "switch", "up")
        _ip("link", "add", self._ours, "type", "veth", "peer", "name", "outside", "netns", str(self._switch.pid))
        _ip("address", "add", f"{self.address(1)}/24", "dev", self._ours)
        _ip("link", "set", self._ours, "up")
        self._plug("outside")
        return self

    def __exit__(self, *_: object) -> None:
        child.stop(self._switch, 0.0)

    def address(self, number: int) -> str:
        """The address of whoever has this number; 1 is this machine."""
        return f"{self.prefix}.{number}"

    def connect(self, pid: int, number: int) -> str:
        """Plugs in the network that this process is in, as that number; the cable's name."""
        cable = f"cable{secrets.token_hex(4)}"
        _in_network(self._switch.pid, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        self._plug(cable)
        for words in (
            ("link", "set", "lo", "up"),
            ("link", "set", "eth0", "address", f"02:00:00:00:00:{number:02x}"),  # whoever comes back is known by it
            ("address", "add", f"{self.address(number)}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", self.address(1)),
        ):
            _in_network(pid, *words)
        return cable

    def unplug(self, cable: str) -> None:
        """Whoever is at its other end is heard no more, and hears nothing; nobody is told."""
        _in_network(self._switch.pid, "link", "set", cable, "down")

    def _plug(self, cable: str) -> None:
        _in_network(self._switch.pid, "link", "set", cable, "up", "master", "switch")


class Container:
    """One that runs.

    Args:
        description: what is to run.
        network: that it is plugged into.
        number: of its address there.
        folder: for its log, and for its root to be mounted on.
    """

    def __init__(self, description: Description, network: Network, number: int, folder: Path) -> None:
        self.description = description
        self.address = network.address(number)
        self._network = network
        self._number = number
        self._folder = folder
        self._log = folder / f"{description.name}.log"
        root = folder / f"{description.name}.root"
        root.mkdir(exist_ok=True)
        user = str(description.user)
        begin = ["unshare", *_NAMESPACES, "--fork", "--kill-child", "bash", str(_BEGIN), str(root), user, user]
        with self._log.open("ab") as out:
            argv, environment = [*begin, *description.command], description.environment
            self._outside = child.spawn(argv, env=environment, stdin=subprocess.PIPE, stdout=out, stderr=out)
        first = until(self._first_process, f"the first process of {description.name}")
        assert first is not None
        self.first: psutil.Process = first
        self._cable = network.connect(self.first.pid, number)
        assert self._outside.stdin is not None
        with self._outside.stdin as told:
            names = f"names\t{network.address(1)}"
            lines = [f"name\t{description.name}", names, *(one.line for one in description.volumes), "go"]
            told.write("".join(f"{line}\n" for line in lines).encode())

    @property
    def alive(self) -> bool:
        """Whether its first process runs."""
        return child.alive(self._outside)

    @property
    def said(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-4_000:]

    def again(self) -> Self:
        """The same once more, at the same address, after this one has ended."""
        return type(self)(self.description, self._network, self._number, self._folder)

    def processes(self) -> list[psutil.Process]:
        """All that run in it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self.first, *self.first.children(recursive=True)]
        return []

    def listens(self) -> set[int]:
        """The ports that somebody in it listens on, for others than itself."""
        found = set()
        for table in ("tcp", "tcp6"):
            lines = Path(f"/proc/{self.first.pid}/net/{table}").read_text().splitlines()[1:]
            for place, state in ((line.split()[1], line.split()[3]) for line in lines):
                address, _, port = place.partition(":")
                if state == _LISTENS and not address.endswith(_LOOPBACK):
                    found.add(int(port, 16))
        return found

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A further command in it, as `kubectl exec` runs one; it must end well."""
        user = str(self.description.user)
        enter = [_program("nsenter"), f"--target={self.first.pid}", "--root", "--wdns=/tmp", *_NAMESPACES]
        rights = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs"]
        done = subprocess.run(
            [*enter, *rights, *command], env=self.description.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def kill(self) -> None:
        """SIGKILL to the first process, and so to all; returns when nothing of it runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.first.pid, signal.SIGKILL)
        self._outside.wait(_ENDS_WITHIN_S)

    def vanish(self) -> None:
        """Its network first, so that none of its peers is told, and then as `kill`."""
        self._network.unplug(self._cable)
        self.kill()

    def _first_process(self) -> psutil.Process | None:
        """The child of `unshare`, once it is in namespaces of its own."""
        assert self.alive, self.said
        with contextlib.suppress(psutil.Error):
            return next((one for one in psutil.Process(self._outside.pid).children()), None)
        return None


def _in_network(pid: int, *words: str) -> None:
    """`ip` in the network of that process."""
    argv = [_program("nsenter"), f"--net=/proc/{pid}/ns/net", _program("ip"), *words]
    subprocess.run(argv, check=True, capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run([_program("ip"), *words], check=True, capture_output=True)


def _program(name: str) -> str:
    return shutil.which(name) or name
