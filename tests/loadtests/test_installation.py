"""What an operation of the control API came to, as the proofs read it."""

from __future__ import annotations

import httpx
import pytest

from loadtests.installation import Failed, finished

DONE = {"id": "1", "kind": "promote", "model": "m", "state": "done", "words": ""}


def client(*answers: dict[str, object]) -> httpx.AsyncClient:
    """Gives these answers, one after the other."""
    left = list(answers)
    return httpx.AsyncClient(
        base_url="http://api", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=left.pop(0)))
    )


async def test_it_is_asked_until_it_is_done() -> None:
    """And what it said last is given back."""
    async with client({**DONE, "state": "running"}, {**DONE, "result": {"version": 2}}) as control:
        said = await finished(control, httpx.Response(202, json={**DONE, "state": "waiting"}), 5)
    assert said["result"] == {"version": 2}


@pytest.mark.parametrize("state", ["failed", "cancelled"])
async def test_one_that_has_failed_is_no_success(state: str) -> None:
    """The API answers 200, for the operation was found; its own words say why it failed."""
    problem = {"detail": "It did not come up.", "hint": "See its log."}
    async with client({**DONE, "state": state, "problem": problem}) as control:
        with pytest.raises(Failed, match=rf"promote of m {state}: It did not come up\. See its log\."):
            await finished(control, httpx.Response(202, json={**DONE, "state": "running"}), 5)


async def test_one_that_was_refused_says_why() -> None:
    """With the sentence of the refusal."""
    async with client() as control:
        with pytest.raises(Failed, match="Somebody was faster"):
            await finished(control, httpx.Response(409, json={"detail": "Somebody was faster."}), 5)


async def test_one_that_does_not_end_is_given_up() -> None:
    """With what it was doing."""
    async with client({**DONE, "state": "running", "words": "waiting"}) as control:
        with pytest.raises(Failed, match="not done after 0 s: waiting"):
            await finished(control, httpx.Response(202, json={**DONE, "state": "running", "words": "waiting"}), 0)
