"""Training and measuring the net that answers questions."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from pellucid.compute import train as training
from pellucid.testbed import questions
from pellucid.testbed.nets import VisionLanguage, Words
from pellucid.testbed.nets.words import BEGIN, END, PAD
from pellucid.testbed.scene import Scenes, scenes
from pellucid.testbed.train.pictures import Order
from pellucid.testbed.train.plans import PLANS, Job
from pellucid.testbed.train.telling import next_word_loss, tokens, truthfulness
from pellucid.values import Seed

CAPTIONS_ALONE = 0.2  # share of the updates before the first question
CAPTION_EVERY = 4  # afterwards one update in so many tells a caption
IN_A_ROW = 4  # questions about one picture that are answered in one pass, each after the one before


def fit(job: Job) -> training.Course:
    """The next word: of captions first, then of answers too. The tower stays, so it looks at each picture once."""
    assert isinstance(job.net, VisionLanguage)
    net, steps = job.net, job.plan.recipe.steps
    drawn = scenes(job.seed, job.plan.pool, **job.plan.settings)
    net.tower.requires_grad_(False)
    seen, told = tokens(net.look, drawn), net.words.encode(drawn.captions)
    talk = Talk(drawn, net.words, job.seed)
    order = Order(len(seen), job.plan.recipe.batch, job.seed)

    def objective(step: int) -> Tensor:
        chosen = order(step)
        captions = step < CAPTIONS_ALONE * steps or step % CAPTION_EVERY == 0
        numbers, wanted = (told[chosen], told[chosen]) if captions else talk(chosen, step)
        return next_word_loss(net.speak(seen[chosen].float(), numbers[:, :-1]), wanted[:, 1:])

    return training.descend(net, objective, job.plan.recipe, **job.manner)


class Talk:
    """Questions and answers about scenes as words, several in a row."""

    def __init__(self, drawn: Scenes, words: Words, seed: int) -> None:
        self.seed = seed
        self.asked = [
            [(words.numbers(question.text), words.numbers(question.answer)) for question in about]
            for about in questions.ask(drawn, count=len(words))  # all that can be asked
        ]

    def __call__(
        self, chosen: Int64[Tensor, "scene"], step: int
    ) -> tuple[Int64[Tensor, "scene word"], Int64[Tensor, "scene word"]]:
        """The words of each scene's questions with their answers, and those of the answers alone (PAD elsewhere)."""
        generator = Seed(self.seed).child("questions", step).generator()
        rows: list[tuple[list[int], list[int]]] = []
        for at in chosen.tolist():
            about = self.asked[at]
            said, wanted = list[int](), list[int]()
            for which in torch.randperm(len(about), generator=generator)[:IN_A_ROW].tolist():
                question, answer = about[which]
                said += [BEGIN, *question, *answer, END]
                wanted += [PAD] * (1 + len(question)) + [*answer, END]
            rows.append((said, wanted))
        longest = max(len(said) for said, _ in rows)
        filled = torch.tensor([[*said, *[PAD] * (longest - len(said))] for said, _ in rows])
        answers = torch.tensor([[*wanted, *[PAD] * (longest - len(wanted))] for _, wanted in rows])
        return filled, answers


def measure(name: str, net: nn.Module, seed: int, count: int) -> dict[str, float]:
    """The share of questions answered right, by kind, and how true its captions are."""
    assert isinstance(net, VisionLanguage)
    drawn = scenes(seed, count, **PLANS[name].settings)
    right: dict[str, list[bool]] = {"yes or no": [], "what": []}
    told: list[str] = []
    with training.one_thread():
        for at in range(0, count, 100):
            some = drawn[at : at + 100]
            pictures = some.tensor()
            asked = [(place, one) for place, about in enumerate(questions.ask(some)) for one in about]
            said = net.answer(pictures[[place for place, _ in asked]], [one.text for _, one in asked])
            for answer, (_, one) in zip(said, asked, strict=True):
                right[one.kind].append(answer == one.answer)
            told += net.generate(pictures)
    shares = {"yes_no": right["yes or no"], "what": right["what"]}
    figures = {word: round(float(np.mean(verdicts)), 4) for word, verdicts in shares.items()}
    return {**figures, "stated": truthfulness(told, drawn)["stated"]}
