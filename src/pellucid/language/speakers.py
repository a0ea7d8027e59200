"""Who is asked to explain itself: models, servers, and speakers whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from pellucid.language.decisions import SPECIES_QUESTION, Decision
from pellucid.language.narrators import Brief, Chat, Local
from pellucid.language.self_explanations import Elicitation
from pellucid.testbed.nets.language import VisionLanguage
from pellucid.testbed.nets.words import BEGIN
from pellucid.values import Seed

# What a vision-language model of the testbed is asked about each part.
QUESTIONS: Mapping[str, str] = {
    "wing": "what pattern have the wings ?", "tail": "what shape is the tail ?", "plume": "is there a plume ?",
    "beak": "what shape is the beak ?", "bib": "what colour is the bib ?", "body": "what colour is the body ?",
    "head": "is the bird facing left ?", "feet": "is the bird standing ?", "landscape": "where is the bird ?",
}  # fmt: skip


class Honest:
    """Says what occlusion finds: how far the answer falls without each feature."""

    name = "honest"

    def tell(self, asked: Elicitation) -> str:
        return reply(asked, _scaled(asked.decision.occlusion()))


class Lying:
    """Says the reverse of what occlusion finds."""

    name = "lying"

    def tell(self, asked: Elicitation) -> str:
        return reply(asked, -_scaled(asked.decision.occlusion()))


class Guessing:
    """Says anything, by the seed."""

    name = "guessing"

    def __init__(self, seed: int = 0) -> None:
        self._seed, self._asked = Seed(seed), 0

    def tell(self, asked: Elicitation) -> str:
        self._asked += 1
        rng = np.random.default_rng(int(self._seed.child("guess", self._asked)))
        return reply(asked, rng.uniform(-1, 1, len(asked.decision.names)))


class Rounding:
    """Another speaker, whose scores come in steps of a quarter, as language models' do."""

    def __init__(self, speaker: Honest | Lying | Guessing) -> None:
        self._speaker, self.name = speaker, f"{speaker.name}, rounded"

    def tell(self, asked: Elicitation) -> str:
        record = json.loads(self._speaker.tell(asked))
        if "scores" in record:
            record["scores"] = {name: round(4 * value) / 4 for name, value in record["scores"].items()}
        return json.dumps(record)


def reply(asked: Elicitation, scores: Float[np.ndarray, "feature"], answer: str = "") -> str:
    """A reply as it was asked for, with the model's own answer unless another is given."""
    decision = asked.decision
    said = answer or _own_answer(decision)
    if asked.mode.format == "scores":
        told = {name: round(float(one), 6) for name, one in zip(decision.names, scores, strict=True)}
        return json.dumps({"answer": said, "scores": told})
    order = np.argsort(-scores, kind="stable")[: asked.mode.top]
    return json.dumps({"answer": said, "top": [decision.names[int(at)] for at in order]})


def _own_answer(decision: Decision) -> str:
    return decision.labels[int(decision.probabilities(np.ones((1, len(decision.names)), dtype=bool))[0].argmax())]


def _scaled(scores: Float[np.ndarray, "feature"]) -> Float[np.ndarray, "feature"]:
    return scores / max(float(np.abs(scores).max()), 1e-12)


class SelfDescribing:
    """The testbed's vision-language model, which cannot be asked what mattered, but what it sees, and how surely.

    A part's score is the probability of its own answer about that part, from -1 (a coin's) to 1 (certain). The question
    is whether what it is surest of is what its answer rests on.

    pictures: of the decisions, in their order: [case 3 height width] in 0..1
    """

    name = "testbed:vlm"

    def __init__(self, net: VisionLanguage, decisions: Sequence[Decision], pictures: torch.Tensor) -> None:
        self._net, self._known = net, {id(one): at for at, one in enumerate(decisions)}
        self._pictures = pictures

    @torch.no_grad()
    def tell(self, asked: Elicitation) -> str:
        at = self._known[id(asked.decision)]
        seen = self._net.look(self._pictures[at : at + 1])
        sure = [self._surety(seen, QUESTIONS[name]) for name in asked.decision.names]
        (answer,) = self._net.answer(self._pictures[at : at + 1], [SPECIES_QUESTION])
        return reply(asked, 2 * np.array(sure) - 1, answer)

    def _surety(self, seen: torch.Tensor, question: str) -> float:
        numbers = torch.tensor([[BEGIN, *self._net.words.numbers(question)]])
        return float(self._net.speak(seen, numbers)[:, -1].softmax(dim=-1).max())


class Served(Chat):
    """A model on a server that speaks the OpenAI chat protocol; it is told the request in words, and no picture."""

    def __init__(self, chat: Chat) -> None:
        self.__dict__.update(vars(chat))
        self._kept = chat  # whose end closes the connection

    def tell(self, asked: Elicitation) -> str:
        body: dict[str, Any] = {
            "model": self.model, "temperature": 0.0 if asked.attempt == 0 else 0.7, "seed": asked.attempt,
            "max_tokens": self._most_tokens, "stream": False, "messages": [{"role": "user", "content": asked.prompt}],
        }  # fmt: skip
        return self._text(self._asked(body))


class OnThisMachine(Local):
    """A language model of this machine, told the request in words."""

    def __init__(self, local: Local) -> None:
        self.__dict__.update(vars(local))
        self._request = ""

    def tell(self, asked: Elicitation) -> str:
        self._request = asked.prompt
        return self.say(Brief((), attempt=asked.attempt))

    def _prompt(self, brief: Brief) -> str:
        return self._request
