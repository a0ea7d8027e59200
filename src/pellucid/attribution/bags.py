"""Which instances decide for a bag: nets that attend to instances, fitted to bags of features, read out with sign.

Ilse et al., ICML 2018 (ABMIL, one attention); Zhang et al., ECCV 2024 (ACMIL, several).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.compute.bags import AttentionBags, bag_loss
from pellucid.compute.early import Early
from pellucid.compute.train import Recipe, descend, seeded
from pellucid.errors import RequestError, ShapeError
from pellucid.images import Frame
from pellucid.results.bag import Bag
from pellucid.results.weights import read_weights, write_weights
from pellucid.values import Seed

_KIND = "bag explainer"
_REMEDY = "Give a file that BagExplainer.save wrote."


@dataclass(frozen=True)
class Attending:
    """What the net is like.

    branches:  how many attentions; 1 is ABMIL
    hidden:    to how many numbers an instance is brought; `gate`, how many the attention is made of
    top:       while learning, of how many highest attentions of each branch some are masked
    mask_drop: which share of those
    """

    branches: int = 5
    hidden: int = 128
    gate: int = 64
    top: int = 10
    mask_drop: float = 0.6


@dataclass(frozen=True)
class Learning:
    """How it learns: AdamW and a cosine over the learning rate, one bag at a time.

    rounds:   how often every bag is seen, at most
    held_out: share of the bags that only judge; 0 runs all rounds
    patience: how many rounds in a row the held-out bags may get no better
    """

    rounds: int = 50
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    held_out: float = 0.2
    patience: int = 8


@dataclass(frozen=True, eq=False)
class BagExplainer:
    """A fitted net over bags. It saves and loads, and reads bags.

    judged: loss of the held-out bags after each round; empty where none were held out
    losses: of every update
    """

    net: AttentionBags
    labels: tuple[str, ...]
    attending: Attending = field(default_factory=Attending)
    losses: tuple[float, ...] = ()
    judged: tuple[float, ...] = ()

    @torch.no_grad()
    def read(
        self, features: Float[Tensor, "instance features"], *, frames: Sequence[Frame] = (),
        places: Sequence[tuple[int, int]] | None = None,
    ) -> Bag:  # fmt: skip
        """The answer for one bag, the attention of each branch and what each instance adds, with sign.

        frames: the instances' pictures, if they have any; places: row and column of each on its slide
        """
        _check(features, self.net.features)
        for name, given in (("frames", frames or None), ("places", places)):
            if given is not None and len(given) != len(features):
                raise ShapeError(name, got=len(given), expected=f"{len(features)}, one per instance")
        found = self.net.look(features.float())
        names = tuple(frame.name for frame in frames) or tuple(f"instance {at}" for at in range(len(features)))
        return Bag(
            self.labels, found.logits.numpy(), found.attention.numpy(), self.net.contributions(found).numpy(), names,
            tuple(frames), None if places is None else torch.tensor(places).numpy(),
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write weights and settings as .safetensors; `load` reads them."""
        about = {"labels": self.labels, "features": self.net.features, **asdict(self.attending),
                 "losses": self.losses, "judged": self.judged}  # fmt: skip
        return write_weights(path, _KIND, about, self.net.state_dict())

    @classmethod
    def load(cls, path: str | Path) -> BagExplainer:
        """The explainer that `save` wrote. Raises FileError for anything else."""
        about, state = read_weights(path, _KIND, _REMEDY)
        attending = Attending(**{name: about[name] for name in asdict(Attending())})
        net = _net(about["features"], len(about["labels"]), attending, seed=0)
        net.load_state_dict(state)
        return cls(net.eval(), tuple(about["labels"]), attending, tuple(about["losses"]), tuple(about["judged"]))


def fit(
    bags: Sequence[Float[Tensor, "_ features"]], answers: Sequence[int], labels: Sequence[str], *,
    attending: Attending | None = None, learning: Learning | None = None, seed: int = 0,
    checkpoint: str | Path | None = None,
) -> BagExplainer:  # fmt: skip
    """A net that answers for bags, fitted to bags of features of which only the whole has an answer.

    bags:       [instances features] each, of varying number
    answers:    the class of each bag, a position in `labels`
    checkpoint: a file that says how far it came; where it lies already, fitting goes on from it

    Raises RequestError for bags without answers and answers without label, ShapeError for bags that do not fit.
    """
    attending, learning = attending or Attending(), learning or Learning()
    _check_bags(bags, answers, labels)
    width = bags[0].shape[1]
    net = _net(width, len(labels), attending, seed)
    given, wanted = [bag.detach().float() for bag in bags], torch.tensor(list(answers))
    order = torch.randperm(len(bags), generator=Seed(seed).child("bags", "split").generator()).tolist()
    held, learned = order[: round(learning.held_out * len(bags))], order[round(learning.held_out * len(bags)) :]

    def objective(step: int) -> Tensor:
        turn, at = divmod(step, len(learned))
        shuffled = torch.randperm(len(learned), generator=Seed(seed).child("bags", turn).generator())
        bag = learned[int(shuffled[at])]
        masking = Seed(seed).child("masking", step).generator() if attending.top else None
        return bag_loss(net.look(given[bag], masking), wanted[bag])

    def judge() -> float:
        return float(torch.stack([bag_loss(net.look(given[bag]), wanted[bag]) for bag in held]).mean())

    early = Early(judge, every=len(learned), patience=learning.patience) if held else None
    recipe = Recipe(learning.rounds * len(learned), learning.learning_rate, batch=1, weight_decay=learning.weight_decay)
    course = descend(net, objective, recipe, label="Fitting bags", early=early,
                     checkpoint=None if checkpoint is None else Path(checkpoint))  # fmt: skip
    judged = tuple(early.judged) if early else ()
    return BagExplainer(net, tuple(labels), attending, course.losses, judged)


def _net(features: int, classes: int, attending: Attending, seed: int) -> AttentionBags:
    with seeded(seed):
        return AttentionBags(features, classes, **asdict(attending))


def _check_bags(bags: Sequence[Tensor], answers: Sequence[int], labels: Sequence[str]) -> None:
    if len(bags) < 2 or len(bags) != len(answers):
        raise RequestError(f"{len(bags)} bags and {len(answers)} answers; expected two bags or more, with one each.")
    if wrong := sorted({answer for answer in answers if not 0 <= answer < len(labels)}):
        raise RequestError(f"Answer {wrong[0]} has no label: there are {len(labels)}, 0 to {len(labels) - 1}.")
    for bag in bags:
        _check(bag, bags[0].shape[1] if bags[0].ndim == 2 else 0)


def _check(features: Tensor, width: int) -> None:
    if features.ndim != 2 or len(features) == 0 or features.shape[1] != width:
        raise ShapeError("A bag", got=tuple(features.shape), expected=f"[instances {width}], at least one instance")
