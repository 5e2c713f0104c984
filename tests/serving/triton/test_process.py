"""A server that does not come up is one sentence with its own last words, and leaves nothing running."""

from pathlib import Path

import pytest

from serving.errors import StartFailed
from serving.triton.binary import TritonBinary
from serving.triton.layout import Repository
from serving.triton.process import ServerDied, ServerOptions, TritonProcess


def fake_server(folder: Path, script: str) -> TritonBinary:
    """A program in Triton's place."""
    path = folder / "tritonserver"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return TritonBinary(path)


async def started(binary: TritonBinary, folder: Path, timeout_s: float = 10.0) -> TritonProcess:
    """A start with that program."""
    options = ServerOptions(ready_timeout_s=timeout_s, log_file=folder / "triton.log")
    return await TritonProcess.start(binary, Repository(folder, complete=True), "m", 1, options)


def runs(pid: str) -> bool:
    """Whether there is such a process."""
    return Path("/proc", pid).exists()


async def test_a_server_that_ends_is_reported_with_its_last_error(tmp_path: Path) -> None:
    """A server that ends before it is ready is one sentence with Triton's own error, and a hint with its log."""
    binary = fake_server(tmp_path, """echo 'E1121 12:00:47.6 58 x.cc:1] "failed to load m: reason"'; exit 1""")
    with pytest.raises(
        StartFailed, match=r"^Triton ended before m version 1 was ready: failed to load m: reason\.$"
    ) as no:
        await started(binary, tmp_path)
    assert "triton.log" in no.value.hint
    assert "reason" in (tmp_path / "triton.log").read_text()
    assert isinstance(no.value, ServerDied)
    assert no.value.exit_code == 1
    assert "failed to load m" in no.value.words


async def test_a_server_that_is_killed_without_a_word_is_reported_with_its_end(tmp_path: Path) -> None:
    """What the kernel ended for want of memory says nothing itself, so the signal is told."""
    binary = fake_server(tmp_path, "kill -9 $$")
    with pytest.raises(ServerDied, match=r"was ready: it was killed by SIGKILL and gave no reason\.$") as no:
        await started(binary, tmp_path)
    assert no.value.exit_code == -9


async def test_a_server_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    """A server that does not get ready in time is stopped and reported."""
    binary = fake_server(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 60")
    with pytest.raises(StartFailed, match=r"did not get m version 1 ready within 0\.5 s"):
        await started(binary, tmp_path, timeout_s=0.5)
    assert not runs((tmp_path / "pid").read_text().strip())


async def test_ports_that_are_taken_meanwhile_are_tried_again(tmp_path: Path) -> None:
    """A server that finds its port taken is started again on others, a few times."""
    line = 'E1121 12:00:47.6 58 main.cc:257] "failed to start HTTP service: Socket already in use"'
    binary = fake_server(tmp_path, f"echo x >> {tmp_path}/starts; echo '{line}'; exit 1")
    with pytest.raises(StartFailed, match="5 times in a row"):
        await started(binary, tmp_path)
    assert len((tmp_path / "starts").read_text().split()) == 5


async def test_a_program_that_is_missing_is_refused(tmp_path: Path) -> None:
    """A tritonserver that has gone since it was found is refused in a sentence."""
    with pytest.raises(StartFailed, match="not an executable program"):
        await started(TritonBinary(tmp_path / "missing"), tmp_path)


async def test_a_models_code_gets_none_of_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the cluster's token nor keys and passwords among the settings; what is nobody's secret stays."""
    for name in ("RAY_AUTH_TOKEN", "SLUICE_ACCESS__ADMIN_KEY", "SLUICE_REDIS__URL", "SLUICE_KEY"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("SLUICE_RUN", "mark")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    binary = fake_server(tmp_path, f"env > {tmp_path}/env; exit 1")
    with pytest.raises(StartFailed):
        await started(binary, tmp_path)
    said = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert "secret" not in said.values()
    assert (said["SLUICE_RUN"], said["CUDA_VISIBLE_DEVICES"]) == ("mark", "1")
