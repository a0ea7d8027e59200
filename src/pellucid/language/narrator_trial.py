"""Narrators that explain the answers of a model of the testbed, all on the same pictures, beside one that guesses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pellucid.errors import RequestError
from pellucid.language.decisions import Decision, scene_decisions, vlm_as_model
from pellucid.language.narrators import Chat, Local
from pellucid.language.self_explanations import MODES, Mode, Speaker, Trial, on_trial
from pellucid.language.speakers import (
    Guessing,
    Honest,
    Lying,
    OnThisMachine,
    Rounding,
    SelfDescribing,
    Served,
)
from pellucid.subject import VisionModel, load, wrap
from pellucid.testbed.fields import SPECIES
from pellucid.testbed.nets import VisionLanguage, loaded
from pellucid.testbed.scene import Scenes, scenes
from pellucid.values import Preprocess

VLM = "testbed:vlm"
_SCRIPTED: dict[str, Callable[[int], Speaker]] = {
    "honest": lambda seed: Honest(),
    "lying": lambda seed: Lying(),
    "guessing": Guessing,
    "rounded": lambda seed: Rounding(Honest()),
}
NARRATORS = ("vlm", *_SCRIPTED, "hf:FOLDER", "chat:MODEL")


@dataclass(frozen=True, eq=False)
class NarratorTrial:
    """What several narrators' explanations of one model's answers are worth.

    trials:   one for each narrator and way of asking
    pictures: how many, of which `features` on average can be taken away
    """

    model: str
    pictures: int
    features: float
    accuracy: float
    trials: tuple[Trial, ...]

    def __str__(self) -> str:
        head = (
            f"{self.model} on {self.pictures} fresh scenes ({self.accuracy:.0%} right), each with "
            f"{self.features:.1f} parts that can be taken away."
        )
        return "\n".join([head, *map(str, self.trials)])

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model, "pictures": self.pictures, "features": self.features, "accuracy": self.accuracy,
            "trials": [one.to_dict() for one in self.trials],
        }  # fmt: skip


def tried(
    narrators: Sequence[str] = ("vlm", "guessing"), model: str = VLM, *, count: int = 24, scene_seed: int = 3400,
    modes: Sequence[Mode] = MODES[:1], fill: str = "blur", repeats: int = 1, seed: int = 0,
) -> NarratorTrial:  # fmt: skip
    """Puts narrators on trial: what each says mattered for the model's answers, held against taking it away.

    narrators: `vlm`, `honest`, `lying`, `guessing`, `rounded`, `hf:FOLDER`, `chat:MODEL`
    model:     whose answers are explained: `testbed:vlm` is asked for the species, any other is a classifier of scenes

    Raises RequestError for a narrator that does not exist.
    """
    drawn = scenes(scene_seed, count, camera=0.0)
    asked = speaking_model() if model == VLM else load(model)
    decisions = scene_decisions(asked, drawn, fill=fill)
    speakers = [speaker_of(name, decisions, drawn, seed=seed) for name in narrators]
    trials = tuple(
        on_trial(decisions, speaker, mode, repeats=repeats, seed=seed) for mode in modes for speaker in speakers
    )
    right = [_answered(asked, one) == one.true_labels[0] for one in drawn]
    return NarratorTrial(
        model, len(drawn), sum(len(one.names) for one in decisions) / len(decisions), sum(right) / len(right), trials
    )


def speaking_model() -> VisionModel:
    """The testbed's vision-language model as a classifier of species: it answers what kind of bird it sees."""
    ask: Callable[[Tensor], Tensor] = vlm_as_model(loaded("vlm", VisionLanguage))
    return wrap(ask, labels=SPECIES, preprocess=Preprocess(size=(64, 64)))


def speaker_of(name: str, decisions: Sequence[Decision], drawn: Scenes, *, seed: int = 0) -> Speaker:
    """The narrator of that name. Raises RequestError where there is none."""
    if name == "vlm":
        return SelfDescribing(loaded("vlm", VisionLanguage), decisions, drawn.tensor())
    if name in _SCRIPTED:
        return _SCRIPTED[name](seed)
    kind, _, rest = name.partition(":")
    if kind == "hf" and rest:
        return OnThisMachine(Local.opened(rest))
    if kind == "chat" and rest:
        return Served(Chat(rest))
    raise RequestError(f"{name!r} names no narrator. There are {', '.join(NARRATORS)}.")


def _answered(model: VisionModel, scene: Scenes) -> int:
    return int(model.predict(scene.tensor())[0].argmax())
