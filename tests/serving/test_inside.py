"""A replica asks its own listener as everybody would: with a key, and trusting the very certificate that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.access.keys import decode
from serving.access.roles import Role
from serving.access.verifier import Verifier
from serving.control.credentials import Credentials
from serving.errors import SluiceError, StartFailed
from serving.gateway.credentials import Credentials as KnownKeys
from serving.inside import OwnListener
from serving.own_keys import make
from serving.tls import HTTP_1
from tests.serving.certificates import Authority
from tests.serving.gateway.rig import eventually, running
from tests.serving.gateway.upstream import answers
from tests.serving.gateway.wire import ok


def test_an_own_key_is_known_by_its_record_alone() -> None:
    """Which travels as JSON, has nothing secret in it, and ends when it was told to."""
    own = make("gateway replica", Role.PREDICT, 100.0, lives_s=10.0)
    encoded = own.record.encode()
    assert own.shown.secret not in encoded
    assert own.shown.secret not in f"{own!r}"
    verifier = Verifier([decode(encoded)])
    shown = f"Bearer {own.shown.text}".encode()
    found = verifier.verify(shown, 105.0)
    assert (getattr(found, "name", ""), getattr(found, "role", None)) == ("gateway replica", Role.PREDICT)
    assert getattr(verifier.verify(shown, 111.0), "kind", "") == "expired"
    assert make("x", Role.PREDICT, 0.0).record.expires_s is None


def test_a_worker_knows_it_beside_the_keys_of_the_store(tmp_path: Path) -> None:
    """Whatever the store has, and it is neither counted nor kept with them."""
    own, given = make("gateway replica", Role.PREDICT, 0.0), []
    file = tmp_path / "keys.json"
    known = KnownKeys("", str(file), lambda verifier, ids: given.append((verifier, ids)), own.record.encode())
    known.take(b"1", [], None)
    [(verifier, ids)] = given
    assert getattr(verifier.verify(f"Bearer {own.shown.text}".encode(), 1.0), "role", None) is Role.PREDICT
    assert ids == frozenset()
    assert own.record.digest not in file.read_text()


async def test_it_asks_with_its_key_and_a_callers_own_goes_before() -> None:
    """A gateway that asks everybody lets both in, and an error is its sentence."""
    own = make("gateway replica", Role.PREDICT, 0.0)
    async with running(access_required=True) as rig:
        rig.worker.admission.use(Verifier([own.record]))
        rig.upstream.usual = answers(ok(b'{"model_name": "m"}'))
        asked = OwnListener(f"http://127.0.0.1:{rig.port}", Credentials(own.shown.text, insecure=True), 5.0)
        assert await asked.infer("m", {"inputs": []}, 1, {"sluice-unit": "u"}) == {"model_name": "m"}
        with pytest.raises(SluiceError, match="no model 'nobody'"):
            await asked.infer("nobody", {}, None, {})
        with pytest.raises(SluiceError):
            await asked.infer("m", {}, None, {"authorization": "Bearer wrong"})
        await asked.close()


async def test_it_trusts_the_certificate_that_is_there_now(tmp_path: Path) -> None:
    """Whatever name it is for, renewed or not, and no other."""
    authority = Authority(tmp_path)
    files = authority.issue("gateway.example.com")
    async with running(tls_certificate=str(files.certificate), tls_key=str(files.key)) as rig:
        rig.upstream.usual = answers(ok(b"{}"))
        asked = OwnListener(f"https://127.0.0.1:{rig.port}", Credentials(certificate=files.certificate), 5.0)
        assert await asked.infer("m", {}, None, {}) == {}
        authority.issue("gateway.example.com")
        certificate = rig.worker._certificates[HTTP_1]
        assert certificate is not None
        assert certificate.renew()
        for client in list(rig.worker.clients):
            client.cut()
        await eventually(lambda: not rig.worker.clients)
        assert await asked.infer("m", {}, None, {}) == {}
        await asked.close()
        stranger = authority.issue("gateway.example.com", called="stranger")
        wary = OwnListener(f"https://127.0.0.1:{rig.port}", Credentials(certificate=stranger.certificate), 5.0)
        with pytest.raises(SluiceError, match="did not answer"):
            await wary.infer("m", {}, None, {})
        await wary.close()


def test_a_certificate_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    """At the beginning."""
    with pytest.raises(StartFailed, match="none"):
        OwnListener("https://127.0.0.1:1", Credentials(certificate=tmp_path / "none.pem"), 1.0)
