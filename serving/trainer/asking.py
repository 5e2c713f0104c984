"""How the version that serves answers rows: it is asked through the gateway, as clients ask it, whatever the policy."""

from __future__ import annotations

from http.client import HTTPException
from typing import Final
from urllib.parse import urlsplit

import numpy as np
import tritonclient.http as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from serving.control.credentials import Credentials
from serving.errors import ControlError
from serving.trainer.retraining import INPUT, OUTPUT

_AT_ONCE: Final = 32
"""Rows of a request."""
_PATIENCE_S: Final = 30.0


def answers_of(
    url: str, model: str, version: int, rows: NDArray[np.float32], credentials: Credentials
) -> NDArray[np.int64]:
    """The digits [n] that this version answers to pixels [n, 64].

    The requests are marked synthetic, so that nothing is decided by them: a key has to have the right to operate.

    Args:
        url: where predictions go.
        model: which.
        version: which of it.
        rows: what is asked.
        credentials: that are shown.

    Raises:
        ControlError: it does not answer; with the HTTP status where the gateway refused, None where nobody answered.
    """
    place = urlsplit(url)
    encrypted = place.scheme == "https"
    client = triton.InferenceServerClient(
        place.netloc, ssl=encrypted, ssl_context_factory=credentials.context if encrypted else None,
        connection_timeout=_PATIENCE_S, network_timeout=_PATIENCE_S,
    )  # fmt: skip
    headers = {**credentials.headers_for(url), "sluice-synthetic": "1"}
    try:
        found = [
            _asked(client, model, version, rows[at : at + _AT_ONCE], headers) for at in range(0, len(rows), _AT_ONCE)
        ]
    except (InferenceServerException, HTTPException, OSError) as error:
        sentence = f"version {version} of {model} does not answer: {error}"
        raise ControlError(sentence, "see `sluice status`", _status(error)) from error
    finally:
        client.close()
    return np.concatenate(found)


def _status(error: Exception) -> int | None:
    """Of the answer; None where there was none."""
    said = error.status() if isinstance(error, InferenceServerException) else None
    return int(said) if said and said.isdecimal() else None


def _asked(
    client: triton.InferenceServerClient, model: str, version: int, rows: NDArray[np.float32], headers: dict[str, str]
) -> NDArray[np.int64]:
    tensor = triton.InferInput(INPUT, list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    answer = client.infer(model, [tensor], model_version=str(version), headers=headers)
    return np.asarray(answer.as_numpy(OUTPUT), np.int64).ravel()
