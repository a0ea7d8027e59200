"""A model behind a URL, against a real server on this machine."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.errors import AmbiguousOutput, LoadError, ModelError, RemoteError
from pellucid.subject.loaders import http, load

pytest.importorskip("httpx")

WEIGHTS = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, -0.5]], np.float32)
Answer = Callable[[dict[str, Any]], tuple[int, bytes]]


def honest(body: dict[str, Any]) -> tuple[int, bytes]:
    """What a server of the protocol does: decode, predict, encode."""
    inputs = np.load(io.BytesIO(base64.b64decode(body["inputs"])), allow_pickle=False)
    assert inputs.dtype == np.float32
    return 200, json.dumps({"outputs": (inputs.mean((2, 3)) @ WEIGHTS).tolist()}).encode()


@contextmanager
def serving(answer: Answer = honest, labels: Any = None, seen: list[Any] | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if seen is not None:
                seen.append((self.path, dict(self.headers)))
            self._send(*answer(body))

        def do_GET(self) -> None:
            if labels is None or self.path != "/predict/labels":
                self._send(404, b"nothing here")
            else:
                self._send(200, labels if isinstance(labels, bytes) else json.dumps(labels).encode())

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/predict"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_FIRST_PAUSE_SECONDS", 0.01)


def test_it_answers_what_the_server_computes() -> None:
    pictures = torch.rand(5, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    with serving() as url:
        model = load(url, input_size=(6, 4))
        distance = (model.predict(pictures) - pictures.mean((2, 3)) @ torch.from_numpy(WEIGHTS)).abs().max()
        assert float(distance) < 1e-6
        assert list(model.labels) == ["class 0", "class 1"]
        assert not model.differentiable
        assert model.spec == url


def test_a_server_that_knows_its_labels_and_preprocessing_says_so() -> None:
    with serving(labels=["cat", "dog"]) as url:
        assert load(url).labels["dog"] == 1
    told = {"labels": ["cat", "dog"], "preprocess": {"size": [32, 32], "resize": 36}, "activation": "softmax"}
    with serving(labels=told) as url:
        model = load(url)
        assert model.preprocess is not None
        assert model.preprocess.size == (32, 32)
        assert load(url, labels=["a", "b"]).labels["b"] == 1


def test_headers_are_sent_and_nothing_but_the_address_is_called() -> None:
    seen: list[Any] = []
    with serving(seen=seen) as url:
        load(url, headers={"Authorization": "Bearer word"}).predict(torch.zeros(1, 3, 4, 4))
    assert {path for path, _ in seen} == {"/predict"}
    assert all(headers["Authorization"] == "Bearer word" for _, headers in seen)


def test_a_busy_server_is_asked_again_but_not_for_ever() -> None:
    calls: list[int] = []

    def busy_until(count: int) -> Answer:
        calls.clear()

        def answer(body: dict[str, Any]) -> tuple[int, bytes]:
            calls.append(1)
            return (503, b"loading") if len(calls) <= count else honest(body)

        return answer

    pictures = torch.zeros(1, 3, 4, 4)
    with serving(busy_until(2)) as url:
        assert http.load(url)._call(pictures).shape == (1, 2)
    assert len(calls) == 3
    with serving(busy_until(9)) as url, pytest.raises(RemoteError, match=r"status 503: loading Gave up after 3 tries"):
        http.load(url)._call(pictures)
    assert len(calls) == 3


BAD_ANSWERS: dict[str, tuple[int, bytes, str]] = {
    "an error": (500, b"boom in line 3", "status 500: boom in line 3"),
    "not there": (404, b"", "status 404: an empty answer"),
    "redirected": (302, b"", "status 302"),
    "no JSON": (200, b"<html>hello</html>", "no JSON came back: <html>"),
    "a list": (200, b"[1, 2]", "no key outputs"),
    "another key": (200, b'{"result": []}', "no key outputs"),
    "ragged rows": (200, b'{"outputs": [[1, 2], [3]]}', "no rows of numbers of one length"),
    "words": (200, b'{"outputs": [["a", "b"]]}', "no rows of numbers"),
    "too few rows": (200, b'{"outputs": [[1, 2]]}', "shape [1, 2] for 2 pictures"),
    "flat": (200, b'{"outputs": [1, 2]}', "shape [2] for 2 pictures"),
    "no columns": (200, b'{"outputs": [[], []]}', "shape [2, 0]"),
    "not a number": (200, b'{"outputs": [[NaN, 1], [1, 2]]}', "NaN or infinite"),
}


@pytest.mark.parametrize("kind", BAD_ANSWERS)
def test_an_answer_that_was_not_agreed_is_an_error_that_quotes_it(kind: str) -> None:
    status, content, says = BAD_ANSWERS[kind]
    with serving(lambda _body: (status, content)) as url:
        network = http.load(url)._call
        with pytest.raises(RemoteError) as caught:
            network(torch.zeros(2, 3, 4, 4))
    assert says in str(caught.value)
    assert url in str(caught.value)


def test_a_remote_error_reaches_the_caller_as_a_model_error_that_keeps_its_words() -> None:
    with serving(lambda _body: (500, b"boom")) as url, pytest.raises(ModelError, match="status 500: boom"):
        load(url).predict(torch.zeros(1, 3, 4, 4))


def test_a_slow_server_is_given_up_in_time() -> None:
    def slow(body: dict[str, Any]) -> tuple[int, bytes]:
        time.sleep(0.5)
        return honest(body)

    with serving(slow) as url:
        network = http.load(url, timeout=0.1, retries=1)._call
        start = time.perf_counter()
        with pytest.raises(RemoteError, match=r"no answer within 0\.1 seconds\. Gave up after 2 tries"):
            network(torch.zeros(1, 3, 4, 4))
        assert time.perf_counter() - start < 2


def test_a_server_that_is_not_there_is_named() -> None:
    with serving() as url:
        pass
    with pytest.raises(RemoteError, match=r"cannot be reached.*Gave up after 1 try"):
        load(url, retries=0)


@pytest.mark.parametrize(
    ("labels", "error", "says"),
    [
        (b"no json", RemoteError, "no JSON came back"),
        (b"3", RemoteError, "Expected a list of class names"),
        ([1, 2], LoadError, "no list of words"),
        ({"lables": ["a"]}, LoadError, "Nearest: labels"),
        ({"preprocess": {"size": 3}}, LoadError, "size is 3"),
    ],
)
def test_labels_that_make_no_sense_are_refused(labels: Any, error: type[Exception], says: str) -> None:
    with serving(labels=labels) as url, pytest.raises(error) as caught:
        load(url)
    assert says in str(caught.value)


def test_labels_of_another_number_are_refused() -> None:
    with serving(labels=["a", "b", "c"]) as url, pytest.raises(ModelError, match="3 labels for a model of 2 classes"):
        _ = load(url).labels


def test_eight_threads_get_their_own_answers() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with serving() as url:
        model = load(url, input_size=(4, 4))
        _ = model.labels
        inputs = [torch.full((1, 3, 4, 4), index / 8) for index in range(8)]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(model.predict, inputs))
    for picture, answer in zip(inputs, answers, strict=True):
        assert torch.allclose(answer, picture.mean((2, 3)) @ torch.from_numpy(WEIGHTS), atol=1e-6)


def test_a_url_keeps_its_own_question_mark() -> None:
    seen: list[Any] = []
    with serving(seen=seen) as url:
        model = load(f"{url}?version=3&model=a", activation="none")
        model.predict(torch.zeros(1, 3, 4, 4))
        assert model.spec == f"{url}?version=3&model=a"
    assert seen[0][0] == "/predict?version=3&model=a"


def test_outputs_stay_unambiguous() -> None:
    """One array per answer is all the protocol has, so a server can never be ambiguous."""
    with serving() as url:
        try:
            _ = load(url).outputs
        except AmbiguousOutput as error:  # pragma: no cover
            pytest.fail(str(error))
