"""An encoder on a real server is asked within bounds; silence, keys and certificates are said in sentences."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from drift.asking import Asked, Encoders
from drift.errors import Unencoded
from drift.wire import AT_ONCE, Server
from tests.drift.encoder import ENCODER, EncoderServer, asking, encoder_server, images
from tests.serving.certificates import Authority

_NARROW = (
    b'{"outputs": [{"name": "embedding", "shape": [5, 2], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]}]}'
)


@pytest.fixture
def there() -> Iterator[EncoderServer]:
    """An encoder that is well."""
    with encoder_server() as found:
        yield found


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"status": 500}, r"embedder version 3 answers nothing: 500, it is not well"),
        ({"status": 503}, r"does not answer for now \(503\): it is not well"),
        ({"status": 404}, r"does not answer \(404\)"),
        ({"status": 302}, r"does not answer \(302\)"),
        ({"raw": b"no JSON"}, "none of the Open Inference Protocol"),
        ({"raw": b"[]"}, "none of the Open Inference Protocol"),
        ({"raw": b'{"outputs": [{"name": "other", "shape": [1], "datatype": "FP32", "data": [1]}]}'}, "'embedding'"),
        ({"raw": _NARROW}, r"answers 5 rows with FP32 \[5, 2\] as embedding, and 3 numbers a row were declared"),
        ({"raw": b'{"outputs": [], "pad": "' + b"x" * 2_000_000 + b'"}'}, "answers more than"),
        ({"key": "another"}, r"does not let in \(403\): this takes the right to operate"),
    ],
)  # fmt: skip
async def test_an_encoder_that_is_of_no_use_is_said(there: EncoderServer, said: dict[str, object], words: str) -> None:
    """In a sentence, and no row is taken for one that it fails on."""
    for name, value in said.items():
        setattr(there, name, value)
    async with asking(there, key="mine") as encoders:
        with pytest.raises(Unencoded, match=words):
            await encoders.rows(ENCODER, images(5))


async def test_one_that_hangs_is_waited_for_no_longer_than_was_said(there: EncoderServer) -> None:
    """And so is one at whose address nobody listens."""
    there.hangs_s = 1.0
    async with asking(there, timeout_s=0.1) as encoders:
        with pytest.raises(Unencoded, match="The gateway does not answer: TimeoutError"):
            await encoders.rows(ENCODER, images(5))
    async with Encoders({"": Server("http://127.0.0.1:1")}) as nobody:
        with pytest.raises(Unencoded, match="The gateway does not answer"):
            await nobody.rows(ENCODER, images(5))
    async with Encoders({}) as nowhere:
        with pytest.raises(Unencoded, match="Nobody has said where the gateway is"):
            await nowhere.rows(ENCODER, images(5))


async def test_requests_under_way_are_bounded(there: EncoderServer) -> None:
    """However many rows there are."""
    there.hangs_s = 0.02
    async with asking(there) as encoders:
        await encoders.rows(ENCODER, images(2_000))
    assert 1 < there.most_under_way <= AT_ONCE


async def test_it_is_asked_with_a_key_that_is_shown_to_nobody_else(there: EncoderServer, tmp_path: Path) -> None:
    """And with a file that is no certificate it is a sentence."""
    there.key = "mine"
    async with asking(there, key="mine") as encoders:
        assert len(await encoders.rows(ENCODER, images(5))) == 5
    assert "mine" not in repr(Server(there.url, "mine"))
    async with Encoders({"": Server(there.url, certificate=str(tmp_path / "none"))}) as encoders:
        with pytest.raises(Unencoded, match="holds no certificate that can be read"):
            await encoders.rows(ENCODER, images(5))


async def test_a_key_that_was_changed_is_read_anew(there: EncoderServer, tmp_path: Path) -> None:
    """From its file, once the old one does not let in; a file that is gone is a sentence."""
    file = tmp_path / "key"
    file.write_text("old\n", encoding="ascii")
    there.key = "old"
    async with Encoders({"": Server(there.url, key_file=str(file))}) as encoders:
        await encoders.rows(ENCODER, images(5))
        there.key = "new"
        with pytest.raises(Unencoded, match="does not let in"):
            await encoders.rows(ENCODER, images(5))
        file.write_text("new\n", encoding="ascii")
        assert len(await encoders.rows(ENCODER, images(5))) == 5
        there.key = "newer"
        with pytest.raises(Unencoded, match="does not let in"):
            await encoders.rows(ENCODER, images(5))
        file.unlink()
        with pytest.raises(Unencoded, match="holds no key that can be read"):
            await encoders.rows(ENCODER, images(5))


async def test_an_authority_that_was_changed_is_read_anew(tmp_path: Path) -> None:
    """From its file, once the server's certificate comes from another."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = (Authority(tmp_path / name).issue() for name in ("old", "new"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(new.certificate, new.key)
    with encoder_server(tls) as there:
        async with Encoders({"": Server(there.url, ca_file=str(old.authority))}) as encoders:
            with pytest.raises(Unencoded, match="certificate verify failed"):
                await encoders.rows(ENCODER, images(5))
            old.authority.write_bytes(new.authority.read_bytes())
            assert len(await encoders.rows(ENCODER, images(5))) == 5


@pytest.mark.parametrize("binary", [True, False])
async def test_texts_are_encoded(there: EncoderServer, *, binary: bool) -> None:
    """A missing one is not sent."""
    there.datatype, there.shape, there.binary = "BYTES", (-1, 1), binary
    rows = np.array(["a", None, "four", "é"], object)
    async with asking(there) as encoders:
        one = await encoders.described(Asked("review", (), "embedder"))
        found = await encoders.rows(one, rows)
    assert found[:, 0].tolist()[::2] == [1.0, 4.0]
    assert np.isnan(found[1]).all()
    assert found[3, 0] == 2.0
