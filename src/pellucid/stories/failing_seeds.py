"""Do nets that read the background show it in the words of their failures, and only those? Asked of many seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from pellucid.errors import RequestError
from pellucid.language.failures import RULE, Pictures, Rule, Tags
from pellucid.language.failures.report import failures
from pellucid.language.failures.tags import bird_tags, by_encoder
from pellucid.language.pools import encoder_for
from pellucid.stories.ledger import Ledger
from pellucid.stories.runner import Here, Runner
from pellucid.stories.versions import versions
from pellucid.subject import load
from pellucid.testbed.captions import PLACES
from pellucid.testbed.train.seeds import Seedling

FIRST = 3  # conditions that are looked at


@dataclass(frozen=True)
class Told:
    """What was said of one net.

    conditions: how many were reported, in all
    first:      the first three, as words; cued: how many of them name a landscape
    accuracy:   on all pictures
    controls:   the most conditions that held where errors or words were dealt to other pictures
    drawn:      the first three words that draw the net to an answer; drawn_cued: how many of them are landscapes
    """

    net: str
    seed: int
    accuracy: float
    conditions: int
    first: tuple[str, ...]
    cued: int
    controls: int
    drawn: tuple[str, ...]
    drawn_cued: int

    @property
    def planted(self) -> bool:
        """Whether the net learned in a world whose background tells the class."""
        return self.net.endswith("_background")


class Audit:
    """The same scenes and words for every net: painted and read once, when the first net needs them."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures

    @cached_property
    def inputs(self) -> Float[Tensor, "picture 3 height width"]:
        return self.pictures.scenes().tensor()

    @cached_property
    def tags(self) -> Tags:
        pool = bird_tags()
        return by_encoder(encoder_for(pool), self.inputs, pool)

    def told(self, one: Seedling, seed: int = 0, *, rule: Rule = RULE) -> Told:
        model = load(f"testbed:{one.name}", folder=one.folder)
        answers = self.pictures.answers(model, self.inputs)
        found = failures(one.name, answers, self.tags, self.pictures, rule=rule, seed=seed)
        first = found.reported[:FIRST]
        cued = sum(any(word in PLACES for word in mode.tags) for mode in first)
        said = tuple(f"{mode.name}: {', '.join(mode.tags)}" for mode in first)
        worst = max(*found.controls.shuffled, *found.controls.blind)
        leans = tuple(dict.fromkeys(lean.word for lean in found.leans))[:FIRST]
        return Told(
            one.name, one.seed, found.accuracy.mean, len(found.reported), said, cued, worst, leans,
            sum(word in PLACES for word in leans),
        )  # fmt: skip


def told(
    nets: Iterable[Seedling], *, pictures: Pictures | None = None, seed: int = 0, folder: Path | None = None,
    runner: Runner | None = None,
) -> tuple[Told, ...]:  # fmt: skip
    """The failures of trained nets in words, on the same scenes with the same words.

    folder: where finished nets are noted, so that the same call goes on where it stopped

    Raises RequestError for a net that has not been trained.
    """
    wanted, asked = list(nets), pictures or Pictures()
    for one in wanted:
        if not one.there:
            raise RequestError(f"{one.path} is not there yet; `pellucid testbed train-seeds` trains it.")
    ledger = Ledger(folder / "failures.jsonl" if folder is not None else None)
    finished, audit = ledger.read(), Audit(asked)

    def work(one: Seedling) -> Told:
        weights = hashlib.blake2b(one.path.read_bytes(), digest_size=8).hexdigest()
        key = f"told {one.name} {weights} {asked.count} {asked.seed} {asked.strength} {seed} {versions()['pellucid']}"
        if key in finished:
            return _read(finished[key])
        found = audit.told(one, seed)
        ledger.add(key, vars(found))
        return found

    return tuple((runner or Here()).run(work, wanted, label="Nets from seeds"))


def _read(record: dict[str, Any]) -> Told:
    facts: dict[str, Any] = {**record, "first": tuple(record["first"]), "drawn": tuple(record["drawn"])}
    return Told(**facts)
