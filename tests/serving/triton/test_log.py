"""What Triton says is kept short, and its last error is found in it."""

import os
from pathlib import Path

import pytest

from serving.triton.log import TritonLog, last_error

BAD_ZIP = (
    r"""E1121 12:00:47.685798 5848 model_lifecycle.cc:642] "failed to load 'm' version 2: Internal: BadZipFile: """
    r"""File is not a zip file\n\nAt:\n  zipfile.py(1369): _RealGetContents\n" """
)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), None),
        (("I1121 12:00:47.6 5848 server.cc:1] fine",), None),
        (
            (BAD_ZIP, "error: creating server: Internal"),
            "failed to load 'm' version 2: Internal: BadZipFile: File is not a zip file",
        ),
        (("error: creating server: Internal - failed",), "creating server: Internal - failed"),
        (('E1121 12:00:45.9 5616 server.cc:241] "CudaDriverHelper has not been initialized."',), None),
        (
            ("tritonserver: error while loading shared libraries: libx.so: not found",),
            "tritonserver: error while loading shared libraries: libx.so: not found",
        ),
    ],
)
def test_the_last_error_is_one_line(lines: tuple[str, ...], said: str | None) -> None:
    """Of all lines the last that reports an error counts, without its stack, and harmless ones do not."""
    assert last_error(lines) == said


def test_memory_keeps_the_last_lines_and_the_file_all(tmp_path: Path) -> None:
    """A server that talks on is read to the end; memory keeps 200 lines, the file every one."""
    reads, writes = os.pipe()
    log = TritonLog(tmp_path / "logs" / "triton.log")
    log.follow(os.fdopen(reads, "rb"))
    with os.fdopen(writes, "wb") as said:
        said.writelines(b"line %d\n" % number for number in range(5_000))
        said.write(b"\xff no text")
    log.close()
    assert len(log.lines) == 200
    assert log.lines[-2:] == ("line 4999", "\ufffd no text")
    assert len((tmp_path / "logs" / "triton.log").read_text().splitlines()) == 5_001


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    """A line that never ends is cut into pieces."""
    reads, writes = os.pipe()
    log = TritonLog()
    log.follow(os.fdopen(reads, "rb"))
    with os.fdopen(writes, "wb") as said:
        said.write(b"x" * 1_000_000)
    log.close()
    assert max(map(len, log.lines)) <= 8_192
