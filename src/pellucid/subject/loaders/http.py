"""A model behind a URL, as a black box.

The protocol. A batch is sent as `POST URL` with the JSON body `{"inputs": "<base64>"}`, where the base64 text is a
NumPy `.npy` file of float32 [batch 3 height width]; the answer is `{"outputs": [[...], ...]}`, one row of finite
numbers per picture. A server may also answer `GET URL/labels`, with a list of class names or an object with the keys of
`pellucid.subject.loaders.config` (`labels`, `preprocess`, `input_size`, `activation`); 404, 405 and 501 mean that it
has nothing to say. Nothing else is asked, redirects are not followed, and no other address is called.
"""

from __future__ import annotations

import base64
import io
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import LoadError, RemoteError
from pellucid.subject.loaders import config
from pellucid.subject.loaders.libraries import first_line, library

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel

PREFIX = "http"
EXAMPLE = "http://127.0.0.1:8000/predict"
HELP = "a model behind a URL; it is sent batches of pictures as JSON and answers one row of numbers for each"

_RETRIED = (429, 502, 503, 504)
_NOTHING_TO_SAY = (404, 405, 501)
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


def load(
    name: str, *, headers: Mapping[str, str] | None = None, timeout: float = 30.0, retries: int = 2, **wrapping: Any
) -> VisionModel:
    """The model that answers at the URL `name`.

    headers: sent with every request, for instance an authorization
    timeout: seconds to wait for each answer
    retries: how often a request is sent again when the server is busy (429, 502, 503, 504) or cannot be reached

    Raises LoadError for what is no URL, RemoteError when the server does not answer as agreed.
    """
    from pellucid.subject.model import wrap

    spec = name if "://" in name else f"{PREFIX}:{name}"
    httpx = library("httpx", "http", spec)
    try:
        url = httpx.URL(name)
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        raise LoadError(spec, f"this is no URL: {error}.", f"For example {EXAMPLE}.") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise LoadError(spec, "this is no address of a server.", f"For example {EXAMPLE}.")
    if url.userinfo:
        raise LoadError(f"{url.scheme}://{url.host}", "its URL holds a password, which every report would repeat.",
                        "Give headers={'Authorization': ...} instead.")  # fmt: skip
    if not (isinstance(retries, int) and retries >= 0 and timeout > 0):
        raise LoadError(spec, f"retries={retries!r}, timeout={timeout!r}.", "Give retries >= 0 and timeout > 0.")
    server = HttpNetwork(httpx, str(url), dict(headers or {}), float(timeout), retries)
    told = server.told()
    usual: dict[str, Any] = {"name": f"{url.host}{url.path}".rstrip("/"), **told.wrapping}
    return wrap(server, **{**usual, **wrapping})


class HttpNetwork:
    """A server that is sent [batch 3 height width] and gives [batch classes]; safe to call from several threads."""

    def __init__(self, httpx: Any, url: str, headers: dict[str, str], timeout: float, retries: int) -> None:
        self.url, self.retries = url, retries
        self._httpx = httpx
        self._client = httpx.Client(headers=headers, timeout=timeout, follow_redirects=False)
        weakref.finalize(self, self._client.close)

    def __call__(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """One request, sent again while the server is busy. Raises RemoteError."""
        file = io.BytesIO()
        np.save(file, pictures.detach().cpu().float().numpy(), allow_pickle=False)
        body = {"inputs": base64.b64encode(file.getvalue()).decode("ascii")}
        return self._rows(self._asked("POST", self.url, body), len(pictures))

    def told(self) -> config.Config:
        """What `GET URL/labels` says; nothing where the server has no such address."""
        address = self.url.rstrip("/") + "/labels"
        response = self._asked("GET", address, None)
        if response.status_code in _NOTHING_TO_SAY:
            return config.Config()
        answer = self._json(response)
        entries = {"labels": answer} if isinstance(answer, list) else answer
        if not isinstance(entries, dict):
            raise RemoteError(address, f"it answered {_excerpt(response)}", "Expected a list of class names.")
        return config.understood(address, entries)

    def _asked(self, verb: str, url: str, body: dict[str, str] | None) -> Any:
        problem = ""
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)))
            try:
                response = self._client.request(verb, url, json=body)
            except self._httpx.TimeoutException:
                problem = f"no answer within {self._client.timeout.read:g} seconds."
                continue
            except self._httpx.TransportError as error:
                problem = f"it cannot be reached: {first_line(error)}"
                continue
            if response.status_code not in _RETRIED:
                return self._accepted(url, response, asked_for_labels=verb == "GET")
            problem = f"it is busy, status {response.status_code}: {_excerpt(response)}"
        tries = f"{self.retries + 1} tries" if self.retries else "1 try"
        raise RemoteError(
            url, f"{problem} Gave up after {tries}.", "Check the address; timeout= and retries= allow more."
        )

    def _accepted(self, url: str, response: Any, *, asked_for_labels: bool) -> Any:
        fine = response.status_code == 200 or (asked_for_labels and response.status_code in _NOTHING_TO_SAY)
        if not fine:
            raise RemoteError(url, f"status {response.status_code}: {_excerpt(response)}", "See the server's own log.")
        return response

    def _json(self, response: Any) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise RemoteError(str(response.url), f"no JSON came back: {_excerpt(response)}",
                              "Check that a model answers at this address.") from error  # fmt: skip

    def _rows(self, response: Any, batch: int) -> Float[Tensor, "batch classes"]:
        answer = self._json(response)
        agreed = 'Expected {"outputs": [[...], ...]}, one row of finite numbers per picture.'
        if not isinstance(answer, dict) or "outputs" not in answer:
            raise RemoteError(self.url, f"the answer has no key outputs: {_excerpt(response)}", agreed)
        try:
            values = np.asarray(answer["outputs"], dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise RemoteError(self.url, "the outputs are no rows of numbers of one length.", agreed) from error
        if values.ndim != 2 or len(values) != batch or values.shape[1] == 0:
            raise RemoteError(self.url, f"the outputs have shape {list(values.shape)} for {batch} pictures.", agreed)
        if not np.isfinite(values).all():
            raise RemoteError(self.url, "the outputs hold NaN or infinite values.", agreed)
        return torch.from_numpy(values)


def _excerpt(response: Any) -> str:
    text = " ".join(response.text.split())
    return f"{text[:120]}..." if len(text) > 120 else text or "an empty answer"
