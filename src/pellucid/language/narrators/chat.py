"""A narrator behind a server that speaks the OpenAI chat protocol (`POST URL/chat/completions`).

Nothing is asked unless such a narrator is named. What is sent are the instructions, the clues as JSON and, only with
`send_images=True`, the picture. Redirects are not followed and no other address is called. The key stands in no error
message and in no result.
"""

from __future__ import annotations

import base64
import importlib
import os
import time
import weakref
from typing import Any

from pellucid.errors import MissingExtra, RemoteError, RequestError
from pellucid.language.narrators.protocol import INSTRUCTIONS, Brief

URL_VARIABLE, KEY_VARIABLE = "PELLUCID_NARRATOR_URL", "PELLUCID_NARRATOR_KEY"
_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
_LONGEST_PAUSE_SECONDS = 8.0
_LONGEST_ANSWER = 20_000  # characters that are read of an answer


class Chat:
    """A model on a server, as a narrator; safe to call from several threads.

    model:       its name, as the server knows it
    url:         the address before `/chat/completions`, such as http://127.0.0.1:8000/v1; None is the environment's
                 PELLUCID_NARRATOR_URL
    key:         sent as `Authorization: Bearer`; None is PELLUCID_NARRATOR_KEY, and none where that is not set
    timeout:     seconds to wait for each answer
    retries:     how often a request is sent again when the server is busy, fails or cannot be reached
    pause:       seconds before the first of these, twice as long before every next; a server's Retry-After counts
    send_images: whether the picture is sent along

    Raises RequestError where no address is known, MissingExtra without httpx.
    """

    def __init__(
        self, model: str, *, url: str | None = None, key: str | None = None, timeout: float = 60.0, retries: int = 3,
        pause: float = 0.5, most_tokens: int = 800, send_images: bool = False,
    ) -> None:  # fmt: skip
        address = url or os.environ.get(URL_VARIABLE, "")
        if not address:
            raise RequestError(f"The narrator chat:{model} has no server: set {URL_VARIABLE}, or give url=.")
        if not (retries >= 0 and timeout > 0 and pause >= 0 and most_tokens > 0):
            raise RequestError(f"timeout={timeout}, retries={retries}, pause={pause}, most_tokens={most_tokens}; "
                               "expected numbers of 0 or more.")  # fmt: skip
        self._httpx = _library()
        parsed = self._checked(address)
        self.model, self.send_images = model, send_images
        self.url = f"{str(parsed).rstrip('/')}/chat/completions"
        self._retries, self._pause, self._most_tokens = retries, pause, most_tokens
        secret = key or os.environ.get(KEY_VARIABLE, "")
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        self._client = self._httpx.Client(headers=headers, timeout=timeout, follow_redirects=False)
        weakref.finalize(self, self._client.close)

    @property
    def name(self) -> str:
        return f"chat{'+picture' * self.send_images}:{self.model}"

    def say(self, brief: Brief) -> str:
        """What the server makes of the clues. Raises RemoteError where it does not answer as agreed."""
        user = {"role": "user", "content": self._content(brief)}
        body = {
            "model": self.model, "temperature": 0.0 if brief.attempt == 0 else 0.7, "seed": brief.attempt,
            "max_tokens": self._most_tokens, "stream": False,
            "messages": [{"role": "system", "content": INSTRUCTIONS}, user],
        }  # fmt: skip
        return self._text(self._asked(body))

    def _content(self, brief: Brief) -> str | list[dict[str, Any]]:
        if not self.send_images or brief.frame is None:
            return brief.evidence
        picture = "data:image/png;base64," + base64.b64encode(brief.frame.png_bytes()).decode("ascii")
        return [{"type": "text", "text": brief.evidence}, {"type": "image_url", "image_url": {"url": picture}}]

    def _checked(self, address: str) -> Any:
        try:
            parsed = self._httpx.URL(address)
        except (self._httpx.InvalidURL, TypeError, ValueError) as error:
            raise RequestError("The narrator's address is no URL. For example http://127.0.0.1:8000/v1.") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise RequestError(f"{address!r} is no address of a server. For example http://127.0.0.1:8000/v1.")
        if parsed.userinfo:
            raise RequestError(f"The narrator's address holds a password; give key= or {KEY_VARIABLE} instead.")
        return parsed

    def _asked(self, body: dict[str, Any]) -> Any:
        problem, wait = "", 0.0
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(min(_LONGEST_PAUSE_SECONDS, max(wait, self._pause * 2 ** (attempt - 1))))
            try:
                response = self._client.post(self.url, json=body)
            except self._httpx.TimeoutException:
                problem, wait = f"no answer within {self._client.timeout.read:g} seconds.", 0.0
                continue
            except self._httpx.TransportError as error:
                problem, wait = f"it cannot be reached: {type(error).__name__}.", 0.0
                continue
            if response.status_code == 200:
                return response
            problem = f"status {response.status_code}: {_excerpt(response.text)}"
            if response.status_code not in _RETRIED:
                raise RemoteError(self.url, problem, "Check the model's name, the key and the server's own log.")
            wait = _retry_after(response.headers.get("retry-after", ""))
        tries = f"{self._retries + 1} tries" if self._retries else "1 try"
        remedy = "Check the address; timeout= and retries= allow more."
        raise RemoteError(self.url, f"{problem} Gave up after {tries}.", remedy)

    def _text(self, response: Any) -> str:
        agreed = 'Expected {"choices": [{"message": {"content": "..."}}]}.'
        try:
            content = response.json()["choices"][0]["message"]["content"]
        except ValueError as error:
            raise RemoteError(self.url, f"no JSON came back: {_excerpt(response.text)}", agreed) from error
        except (KeyError, IndexError, TypeError) as error:
            raise RemoteError(self.url, f"the answer holds no message: {_excerpt(response.text)}", agreed) from error
        if not isinstance(content, str) or not content.strip():
            raise RemoteError(self.url, "the message is empty, or no text.", agreed)
        return content[:_LONGEST_ANSWER]


def _library() -> Any:
    try:
        return importlib.import_module("httpx")
    except ModuleNotFoundError as error:
        raise MissingExtra("httpx", "http", "A narrator behind a server") from error


def _retry_after(header: str) -> float:
    try:
        return max(0.0, float(header))
    except ValueError:
        return 0.0


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return f"{line[:120]}..." if len(line) > 120 else line or "an empty answer"
