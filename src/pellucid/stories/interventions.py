"""Maps judged by really leaving parts out: the protocols of FunnyBirds on the rendered world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid import testbed
from pellucid.engine import look
from pellucid.engine.maps import layer_for, takes_layer
from pellucid.errors import RequestError
from pellucid.stories.contestants import Contestant, contestants
from pellucid.stories.maps import heatmaps, needs_of
from pellucid.stories.request import Asked, Batch, subject
from pellucid.stories.runner import Here, Runner
from pellucid.subject import VisionModel
from pellucid.testbed.absence import (
    MISSABLE,
    Pair,
    place_of_thing,
    rival_pairs,
    sufficient_sets,
    there,
    without,
)
from pellucid.testbed.scene import Scenes
from pellucid.testbed.twins import PROP_NAMES
from pellucid.trust.measured import with_controls
from pellucid.trust.parts import DILATION, Birds, PartRow, PartTable, Rivals, painted, part_row, part_tables
from pellucid.values import Class, Seed

THINGS = (*MISSABLE, *PROP_NAMES)
TRUE_EFFECTS = "true effects"
STEP = 10  # scenes done together
CAP = 100

Gone = tuple[int, frozenset[int]]


@dataclass(frozen=True)
class PartProtocol:
    """What maps are worth by the protocols of FunnyBirds, controls and a map of the true effects among them.

    total, kept:  scenes drawn, and those whose class can be told and is recognised; only these count
    accuracy:     share of the scenes whose class can be told that the model recognises
    independence: share of background objects that the answer does not need: without them the target falls by less than
                  5 % of its value; NaN where no scene has any
    rows:         per method its figures, best mean first; `control random` and so on are the controls
    left_out:     methods that take more passes than the cap
    """

    model: str
    seed: int
    mode: str
    total: int
    kept: int
    accuracy: float
    independence: float
    rows: Mapping[str, PartRow]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "rows": {name: asdict(row) for name, row in self.rows.items()}}


def part_protocol(
    model: Asked,
    *,
    methods: str | Sequence[str] = "all",
    scenes: int = 100,
    seed: int = 1000,
    mode: str = "parts_missing",
    cap: float = CAP,
    drawn: Scenes | None = None,
    dilation: int = DILATION,
    memory: float | None = None,
    runner: Runner | None = None,
) -> PartProtocol:
    """Completeness, correctness and contrastivity of maps, by leaving parts of birds out and rendering anew.

    methods:  `all`, or names; named ones run whatever they cost
    scenes:   how many to draw; those that the model gets wrong, or whose class cannot be told, are left out
    mode:     of the scenes: `parts_missing`, as in training where removal is to be nothing new, or `solo`: whole birds
    cap:      forward passes a map may take; three maps are made of every scene
    drawn:    scenes of one's own in place of `scenes`, `seed` and `mode`
    dilation: side of the window by which a part is grown before the map is summed over it

    Hesse, Schaub-Meyer, Roth, FunnyBirds, ICCV 2023. Raises RequestError for a model that does not know the task's
    classes or recognises none of the scenes, and whatever naming methods raises.
    """
    under_study = subject(model)
    if seed in (0, 1) and drawn is None:
        raise RequestError(f"Seed {seed} drew the scenes that the nets learned from; take one from 2 on.")
    all_scenes = testbed.scenes(seed, scenes, mode=mode) if drawn is None else drawn
    if tuple(under_study.labels) != tuple(all_scenes.task.labels):
        raise RequestError(f"{under_study.name} does not classify the testbed's birds; try testbed:cnn or testbed:vit.")
    told = all_scenes[np.flatnonzero(all_scenes.decided)]
    right = under_study.predict(told.tensor()).argmax(dim=1).cpu().numpy() == told.true_labels
    kept = told[np.flatnonzero(right)]
    if not len(kept):
        raise RequestError(f"{under_study.name} recognises none of the {len(told)} scenes: nothing to judge.")
    size = (kept.world.size, kept.world.size)
    taking_part, left_out = contestants(under_study, size, methods, cap)

    def work(places: tuple[int, ...]) -> tuple[dict[str, PartTable], tuple[int, int]]:
        trial = _Trial(under_study, kept[list(places)], taking_part, Seed(seed), memory)
        return part_tables(trial.maps(trial.labels, "own"), trial.birds, trial.ask, trial.rival_maps,
                           dilation=dilation), trial.independent()  # fmt: skip

    steps = [tuple(range(len(kept)))[start : start + STEP] for start in range(0, len(kept), STEP)]
    found = list((runner or Here()).run(work, steps, label=f"{under_study.name}: parts left out"))
    rows = {name: part_row(PartTable.joined([tables[name] for tables, _ in found])) for name in found[0][0]}
    idle, objects = (sum(counts[at] for _, counts in found) for at in (0, 1))
    return PartProtocol(
        under_study.name, kept.seed, kept.world.mode, len(all_scenes), len(kept), len(kept) / len(told),
        idle / objects if objects else float("nan"),
        dict(sorted(rows.items(), key=lambda row: -_or_least(row[1].mean))), tuple(name for name, _, _ in left_out),
        _notes(kept),
    )  # fmt: skip


class _Trial:
    """A few scenes: their maps for the class and for two rivals, and what leaving things out does."""

    def __init__(
        self, model: VisionModel, scenes: Scenes, taking_part: Sequence[Contestant], seed: Seed, memory: float | None
    ) -> None:
        self._model, self._scenes, self._taking_part = model, scenes, taking_part
        self._seed, self._memory = seed, memory
        self.labels = [int(label) for label in scenes.true_labels]
        self._pairs = [self._chosen(at, pairs) for at, pairs in enumerate(rival_pairs(scenes))]
        self._known: dict[Gone, Tensor] = {}
        self._has = np.stack([there(scenes, thing) for thing in THINGS], axis=1)
        self.birds = self._birds()

    @property
    def rival_maps(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The maps for both rivals; for scenes without rivals those of their own class."""
        pairs = list(zip(self._pairs, self.labels, strict=True))
        first = self.maps([pair.first if pair else own for pair, own in pairs], "first")
        return first, self.maps([pair.second if pair else own for pair, own in pairs], "second")

    def maps(self, labels: Sequence[int], purpose: str) -> dict[str, Float[Tensor, "scene height width"]]:
        """Maps of all methods for one class per scene from one evidence, the controls and the true effects beside."""
        frames = self._scenes.frames()
        batch = Batch(frames, self._model.prepare(frames))
        asked = [one.method for one in self._taking_part]
        size = (int(batch.inputs.shape[-2]), int(batch.inputs.shape[-1]))
        layers = [layer_for(self._model, method, None, size) for method in asked if takes_layer(method)]
        evidence = look(
            self._model, batch.inputs, [Class(label) for label in labels], needs=needs_of(asked),
            layers=dict.fromkeys(layer.name for layer in layers if layer is not None),
            seed=self._seed.child(purpose), memory=self._memory,
        )  # fmt: skip
        made = {
            one.method.name: heatmaps(evidence, batch, one.method, parameters=one.parameters).one_channel
            for one in self._taking_part
        }
        return with_controls(evidence, {**made, TRUE_EFFECTS: painted(self._falls(labels), self.birds.places)})

    def ask(self, asked: Sequence[Gone]) -> list[bool]:
        """Whether each scene is taken for the same class without those things."""
        outputs = self._outputs(asked)
        return [int(row.argmax()) == self.labels[at] for (at, _), row in zip(asked, outputs, strict=True)]

    def independent(self) -> tuple[int, int]:
        """How many background objects the answer does not need, and how many there are."""
        objects = set(range(self.birds.parts, len(THINGS)))
        idle = [self.birds.irrelevant(at) & objects for at in range(len(self._scenes))]
        return sum(map(len, idle)), int(self._has[:, self.birds.parts :].sum())

    def _birds(self) -> Birds:
        places = np.stack([place_of_thing(self._scenes, thing) for thing in THINGS], axis=1)
        whole = self._outputs([(at, frozenset()) for at in range(len(self._scenes))])
        number = {thing: at for at, thing in enumerate(THINGS)}
        enough = [
            [frozenset(number[part] for part in one) for one in sets] for sets in sufficient_sets(self._scenes)
        ]  # fmt: skip
        self._outputs([*self._singles(), *self._of_pairs()])  # one batch for all that follows
        rivals = [None if pair is None else self._rivals(at, pair) for at, pair in enumerate(self._pairs)]
        value = torch.stack([row[label] for row, label in zip(whole, self.labels, strict=True)])
        has = torch.from_numpy(self._has)
        return Birds(torch.from_numpy(places), len(MISSABLE), has, value, self._falls(self.labels), enough, rivals)

    def _falls(self, labels: Sequence[int]) -> Float[Tensor, "scene thing"]:
        """By how much one class per scene falls without each thing; 0 for what is not there."""
        falls = torch.zeros(len(self._scenes), len(THINGS), dtype=torch.float64)
        for at, things in self._singles():
            whole, other = self._outputs([(at, frozenset()), (at, things)])
            falls[at, list(things)] = whole[labels[at]] - other[labels[at]]
        return falls

    def _singles(self) -> list[Gone]:
        return [(int(at), frozenset([int(thing)])) for at, thing in zip(*np.nonzero(self._has), strict=True)]

    def _of_pairs(self) -> list[Gone]:
        sides = ("shared_by_first", "shared_by_second")
        return [
            (at, _numbers(getattr(pair, side))) for at, pair in enumerate(self._pairs) if pair for side in sides
        ]  # fmt: skip

    def _rivals(self, at: int, pair: Pair) -> Rivals:
        these, those = _numbers(pair.shared_by_first), _numbers(pair.shared_by_second)
        without_these, without_those = self._outputs([(at, these), (at, those)])
        first = without_these[pair.first] < without_those[pair.first]
        second = without_those[pair.second] < without_these[pair.second]
        return Rivals(these, those, bool(first and second))

    def _chosen(self, at: int, pairs: Sequence[Pair]) -> Pair | None:
        """One of the pairs by the seed."""
        if not pairs:
            return None
        draw = self._seed.child("rivals", int(self._scenes.index[at])).generator()
        return pairs[int(torch.randint(len(pairs), (1,), generator=draw))]

    def _outputs(self, asked: Iterable[Gone]) -> list[Float[Tensor, "classes"]]:
        """The model's outputs on scenes without things; what is not known yet is rendered and asked as one batch."""
        wanted = list(asked)
        missing = [one for one in dict.fromkeys(wanted) if one not in self._known]
        if missing:
            twins = without(
                self._scenes, [at for at, _ in missing], [[THINGS[thing] for thing in gone] for _, gone in missing]
            )
            outputs = self._model.predict(twins.tensor()).double().cpu()
            self._known |= dict(zip(missing, outputs, strict=True))
        return [self._known[one] for one in wanted]


def _numbers(parts: Iterable[str]) -> frozenset[int]:
    return frozenset(THINGS.index(part) for part in parts)


def _or_least(value: float) -> float:
    return value if value == value else -1.0


def _notes(kept: Scenes) -> tuple[str, ...]:
    whole = "Scenes without a deciding part tell no class and are left out." if kept.world.parts_missing else ""
    shipped = (
        "A net that never saw birds with parts missing meets pictures of a kind it did not learn when a part is left "
        "out; the protocols are exact for nets trained on scenes of mode parts_missing."
    )
    return tuple(note for note in (whole, shipped) if note)
