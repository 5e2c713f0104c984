"""Every line of a log is one line, in the form that was asked for, whatever was put into it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.logs import FORMS, Formatter, line_of

_FIELDS = st.dictionaries(st.sampled_from(("a", "b", "model")), st.text(max_size=30) | st.integers() | st.booleans())


def test_a_line_for_people() -> None:
    """Time, event, and fields that a shell's tools can cut."""
    line = line_of("console", 0.0625, "request", {"model": "m", "status": 200, "error": 'it "broke"', "empty": ""})
    assert line == '1970-01-01T00:00:00.062+00:00 request model=m status=200 error="it \\"broke\\"" empty=""'


@given(event=st.text(max_size=30), fields=_FIELDS)
def test_a_line_for_programs(event: str, fields: dict[str, object]) -> None:
    """One object, whose members are what was said."""
    line = line_of("json", 1.5, event, fields)
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == {"at": "1970-01-01T00:00:01.500+00:00", "event": event, **fields}


@given(form=st.sampled_from(FORMS), message=st.text(max_size=30), fields=_FIELDS)
def test_nobody_can_begin_a_second_line(form: str, message: str, fields: dict[str, object]) -> None:
    """Neither with the message nor with a field."""
    record = logging.makeLogRecord(
        {"name": "serving.x", "levelname": "INFO", "msg": "%s", "args": (message,), **fields}
    )
    assert len(Formatter(form).format(record).splitlines()) == 1


def test_a_traceback_is_in_the_object_or_below_the_line() -> None:
    """For programs and for people."""
    try:
        dict[str, str]()["x"]
    except KeyError:
        record = logging.LogRecord("serving.x", logging.ERROR, "f", 1, "it broke", None, sys.exc_info())
    said = json.loads(Formatter("json").format(record))
    assert (said["level"], said["logger"], said["event"]) == ("error", "serving.x", "it broke")
    assert "KeyError: 'x'" in said["exception"]
    first, *rest = Formatter("console").format(record).splitlines()
    assert first.endswith("ERROR serving.x: it broke")
    assert "KeyError: 'x'" in rest


def test_other_forms_are_refused() -> None:
    """With those that there are."""
    with pytest.raises(ValueError, match="console and json"):
        Formatter("xml")


def test_both_libraries_write_alike() -> None:
    """What `logging` and structlog are told comes out as objects, with its fields; what is too small does not."""
    program = """if True:
        import logging, structlog
        from serving import logs
        logs.set_up("json")
        logs.set_up_structlog()
        logging.getLogger("serving.a").warning("it is %s", "late", extra={"model": "m"})
        structlog.get_logger("serving.b").error("no payload log", folder="/x")
        structlog.get_logger("serving.b").debug("nothing")
        logging.getLogger("serving.a").debug("nothing")
    """
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    first, second = (json.loads(line) for line in ran.stderr.splitlines())
    assert (first["event"], first["model"], first["logger"], first["level"]) == (
        "it is late", "m", "serving.a", "warning",
    )  # fmt: skip
    assert (second["event"], second["folder"], second["level"]) == ("no payload log", "/x", "error")


def test_our_packages_alone_can_be_set_up() -> None:
    """Inside Ray the root's log is Ray's."""
    program = """if True:
        import logging
        from serving import logs
        logs.set_up("console", logs.OURS)
        logging.getLogger("serving.gateway.x").info("ours")
        logging.getLogger("drift").info("ours, too")
        logging.getLogger("ray").info("not ours")
    """
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    assert [line.split(b": ")[1] for line in ran.stderr.splitlines()] == [b"ours", b"ours, too"]
