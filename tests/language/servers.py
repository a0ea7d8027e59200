"""Servers that speak the OpenAI chat protocol on this machine, and answer by rule: truly, falsely, or not at all."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pellucid.language.narrators import Clue, read_clues
from pellucid.testbed.fields import SPECIES

OTHER_WORDS = (
    (r"^The model sees", "The network predicts"), (r"\bfalls\b", "drops"), (r"\brests most on\b", "depends mostly on"),
    (r"Shown alone, with everything else blurred, that region keeps", "On its own, that region keeps"),
    (r"The two are separated most by", "They are told apart most by"), (r"\bon where it looked\b", "on where it looks"),
    (r"The map points at", "The map highlights"), (r"with that blurred", "when that is blurred"),
)  # fmt: skip
Say = Callable[[dict[str, Any]], str]


def retold(clue: Clue) -> str:
    """The clue in other words that mean the same."""
    text = clue.says
    for old, new in OTHER_WORDS:
        text = re.sub(old, new, text)
    return text


@dataclass
class Liar:
    """Retells the clues, a share of its sentences false; it keeps what it said and whether that was true."""

    rate: float
    seed: int = 0
    said: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])

    def __call__(self, request: dict[str, Any]) -> str:
        chance = random.Random(f"{self.seed} {request['seed']} {request['messages'][1]['content']}")
        lines: list[str] = []
        for clue in read_clues(request["messages"][1]["content"]):
            for sentence in re.split(r"(?<=[.])\s+(?=[A-Z])", retold(clue)):
                lying = chance.random() < self.rate
                told = lie(sentence, chance) if lying else sentence
                self.said.append((told, told == sentence))
                lines.append(f"{told} [{clue.id}]")
        return "\n".join(lines)


def lie(sentence: str, chance: random.Random) -> str:
    """The sentence with one thing in it changed, so that it is false."""
    ways = [
        way for way in (_other_number, _other_name, _other_sense, _other_place) if way(sentence, chance) != sentence
    ]
    return chance.choice(ways)(sentence, chance)


def _other_number(sentence: str, chance: random.Random) -> str:
    found = list(
        re.finditer(r"(?<![\w.])-?\d+(?:\.\d+)?(?=[%);,. ])", re.sub("“[^”]*”", lambda m: "x" * len(m[0]), sentence))
    )
    if not found:
        return sentence
    one = chance.choice(found)
    digits = len(one[0].partition(".")[2])
    by = chance.choice([3, 7, 11, 20]) / 10**digits
    return sentence[: one.start()] + f"{float(one[0]) + by:.{digits}f}" + sentence[one.end() :]


def _other_name(sentence: str, chance: random.Random) -> str:
    names = re.findall("“([^”]*)”", sentence)
    return (
        sentence.replace(names[0], chance.choice([one for one in SPECIES if one not in names])) if names else sentence
    )


def _other_sense(sentence: str, _: random.Random) -> str:
    for old, new in (("depends mostly", "does not depend"), ("keeps", "does not keep"), (" drops ", " rises "),
                     ("agree", "do not agree"), ("hardly do not", "do")):  # fmt: skip
        if old in sentence:
            return sentence.replace(old, new, 1).replace("hardly do not agree", "agree")
    return sentence


def _other_place(sentence: str, _: random.Random) -> str:
    swaps = {"upper": "lower", "lower": "upper", "right": "left", "left": "right", "centre": "upper edge"}
    for old, new in swaps.items():
        if re.search(rf"the (?:upper |lower )?{old}\b", sentence):
            return re.sub(rf"\b{old}\b", new, sentence, count=1)
    return sentence


@dataclass
class Served:
    """A running server: where it is, and what it was asked."""

    url: str
    asked: list[dict[str, Any]]
    headers: list[dict[str, str]]


@contextmanager
def serving(say: Say, *, troubles: tuple[str, ...] = ()) -> Iterator[Served]:
    """A server whose first answers are `troubles` (a status, `slow`, `garbage`, `empty`), all later ones `say`."""
    ahead = list(troubles)
    served = Served("", [], [])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.asked.append(request)
            served.headers.append(dict(self.headers))
            trouble = ahead.pop(0) if ahead else ""
            if trouble == "slow":
                time.sleep(0.5)
            status = int(trouble) if trouble.isdigit() else 200
            body = {"choices": [{"message": {"role": "assistant", "content": say(request)}}]}
            text = {"garbage": "<html>not json", "empty": json.dumps({"choices": []})}.get(trouble, json.dumps(body))
            try:
                self.send_response(status if self.path.endswith("/v1/chat/completions") else 404)
                self.end_headers()
                self.wfile.write(text.encode())
            except OSError:  # the client has hung up
                pass

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
