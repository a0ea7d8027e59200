"""A model's answer as a function of named features that are there or not: what self-explanations are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float

from pellucid.engine import look
from pellucid.errors import RequestError
from pellucid.subject import VisionModel
from pellucid.testbed.fields import SPECIES
from pellucid.testbed.nets.language import VisionLanguage
from pellucid.testbed.scene import Scenes

PARTS = ("wing", "tail", "crest", "beak", "bib", "body", "head", "feet", "background")
NAMES = {"crest": "plume", "background": "landscape"}
_LEAST_PIXELS = 6

Ask = Callable[[Bool[np.ndarray, "case feature"]], Float[np.ndarray, "case class"]]


@dataclass(frozen=True, eq=False)
class Decision:
    """One picture, or one text, and how the model answers when some of its features are gone.

    names:  the features
    ask:    which features are there [case feature] -> probabilities [case class]
    labels: of the classes
    values: what is seen in each feature, for models that are told it in words; empty where they look for themselves
    truth:  the right class, where it is known
    """

    names: tuple[str, ...]
    ask: Ask
    labels: tuple[str, ...]
    values: tuple[str, ...] = ()
    truth: int | None = None
    _known: dict[bytes, np.ndarray] = field(default_factory=dict[bytes, np.ndarray], init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.names) < 2 or len(set(self.names)) != len(self.names):
            raise RequestError(
                f"A decision needs two or more features of different names; got {', '.join(self.names)}."
            )

    def probabilities(self, present: Bool[np.ndarray, "case feature"]) -> Float[np.ndarray, "case class"]:
        """Of all classes; each case is asked once. Raises RequestError where they are no finite numbers."""
        rows = np.ascontiguousarray(present, dtype=bool)
        new = {row.tobytes(): row for row in rows if row.tobytes() not in self._known}
        if new:
            found = np.asarray(self.ask(np.stack(list(new.values()))), dtype=np.float64)
            if found.shape != (len(new), len(self.labels)) or not np.isfinite(found).all():
                raise RequestError(f"The model gave {found.shape} for {len(new)} cases, {len(self.labels)} classes.")
            self._known.update(zip(new, found, strict=True))
        return np.stack([self._known[row.tobytes()] for row in rows])

    def occlusion(self) -> Float[np.ndarray, "feature"]:
        """How far the answer falls without each feature."""
        count = len(self.names)
        shares = self.probabilities(np.vstack([np.ones((1, count), dtype=bool), ~np.eye(count, dtype=bool)]))
        answer = int(shares[0].argmax())
        return shares[0, answer] - shares[1:, answer]

    def lime(self, *, samples: int = 64, ridge: float = 1e-3, seed: int = 0) -> Float[np.ndarray, "feature"]:
        """Weights of a ridge regression of the answer on which features are there, near cases counting more.

        Ribeiro et al., 2016; the kernel is exp(-d^2 / .25^2) of the share of features that are gone.
        """
        rng, count = np.random.default_rng(seed), len(self.names)
        present = np.vstack([np.ones((1, count), dtype=bool), rng.random((samples, count)) < 0.5])
        shares = self.probabilities(present)
        near = np.exp(-((1 - present.mean(axis=1)) ** 2) / 0.25**2)[:, None]
        design = np.hstack([present, np.ones((len(present), 1))])
        gram = design.T @ (near * design) + ridge * np.diag([1.0] * count + [0.0])
        return np.linalg.solve(gram, design.T @ (near[:, 0] * shares[:, int(shares[0].argmax())]))[:-1]


def scene_decisions(model: VisionModel, drawn: Scenes, *, fill: str = "blur") -> list[Decision]:
    """A vision model's answers to scenes whose parts can be taken away; parts that hardly show are no features.

    fill: what removed pixels become: any fill of the engine
    """
    found: list[Decision] = []
    for scene in drawn:
        masks = {part: torch.from_numpy(scene.mask(part)[0]) for part in PARTS}
        shown = [part for part in PARTS if int(masks[part].sum()) >= _LEAST_PIXELS]
        inputs = scene.tensor() if model.input_size == (64, 64) else model.prepare(scene.frames())
        if tuple(inputs.shape[-2:]) != tuple(scene.parts.shape[-2:]):
            raise RequestError("Scenes must be of the size that the model takes: draw them with size=.")
        filled = look(model, inputs, 0).fill(fill)
        names = tuple(NAMES.get(part, part) for part in shown)
        ask = _without(model, inputs, torch.stack([masks[part] for part in shown]), filled)
        truth = int(scene.true_labels[0]) if scene.names[0] in model.labels.names else None
        found.append(Decision(names, ask, tuple(model.labels.names), truth=truth))
    return found


def _without(model: VisionModel, inputs: torch.Tensor, masks: torch.Tensor, filled: torch.Tensor) -> Ask:
    def ask(present: Bool[np.ndarray, "case feature"]) -> Float[np.ndarray, "case class"]:
        gone = torch.from_numpy(~present).float() @ masks.flatten(1).float() > 0
        gone = gone.reshape(len(present), 1, *masks.shape[1:]).to(inputs.device)
        shares = [model.probabilities(model.predict(torch.where(part, filled, inputs))) for part in gone.split(64)]
        return torch.cat(shares).double().cpu().numpy()

    return ask


SPECIES_QUESTION = "what kind of bird is this ?"


def vlm_as_model(net: VisionLanguage) -> Callable[[torch.Tensor], torch.Tensor]:
    """A vision-language model that is asked which species it sees, as a function of pictures: logits of all species.

    A logit is the log probability of that answer, word by word. So no rounding stands between it and what it says.
    """
    asked = net.words.numbers(SPECIES_QUESTION)
    answers = [net.words.numbers(name) for name in SPECIES]

    @torch.no_grad()
    def ask(pictures: torch.Tensor) -> torch.Tensor:
        seen = net.look(pictures)
        logits = [_log_probability(net, seen, asked, answer) for answer in answers]
        return torch.stack(logits, dim=1)

    return ask


def _log_probability(
    net: VisionLanguage, seen: torch.Tensor, asked: Sequence[int], answer: Sequence[int]
) -> Float[torch.Tensor, "picture"]:
    from pellucid.testbed.nets.words import BEGIN, END

    said = torch.tensor([[BEGIN, *asked, *answer, END]]).expand(len(seen), -1)
    logs = net.speak(seen, said[:, :-1]).log_softmax(dim=-1)[:, len(asked) :]
    return logs.gather(2, said[:, len(asked) + 1 :, None])[..., 0].sum(dim=1)
