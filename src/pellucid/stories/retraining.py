"""Measures that train, carried out: notes of every finished training, several at a time, and the testbed's pictures."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pellucid import testbed
from pellucid.compute.pool import spread
from pellucid.compute.progress import track
from pellucid.engine.maps import layer_for
from pellucid.engine.perturb import digest
from pellucid.errors import RequestError
from pellucid.registry import find_method
from pellucid.results.files import write_atomically
from pellucid.results.retraining import Retraining
from pellucid.stories.ledger import Ledger
from pellucid.stories.listing import default_cost
from pellucid.stories.maps import attribute
from pellucid.stories.versions import versions
from pellucid.subject import VisionModel, load
from pellucid.testbed.effects import others, tried
from pellucid.testbed.scene import Scenes
from pellucid.testbed.train.pictures import planes
from pellucid.testbed.train.plans import PLANS
from pellucid.testbed.truth import causal
from pellucid.testbed.twins import footprint
from pellucid.trust import retraining
from pellucid.trust.measured import CONTROLS, Maps, control
from pellucid.trust.retraining.learning import Facts, Job, Record, as_input, key_of
from pellucid.values import Class, Seed

HELD_OUT = 500
_PIECE = 100  # pictures explained together
_COMPARED = 64  # pictures whose maps by several nets are compared
_DEAR = 10  # passes per picture from which a map is kept in a file


@dataclass(frozen=True)
class Kept:
    """Trainings noted in a file as they end, so that none is done twice, `workers` at a time.

    path:    a file of JSON lines; None notes nothing
    workers: 1 stays in this process
    """

    path: Path | None = None
    workers: int = 1

    def __call__(self, job: Job, asked: Sequence[Facts]) -> list[Record]:
        """The records in the order asked: from the notes where they are, the others made now."""
        ledger = Ledger(self.path)
        keys = [f"{key_of(job, one)}-{versions()['pellucid']}" for one in asked]
        finished = ledger.read()
        missing = [place for place, key in enumerate(keys) if key not in finished]
        timed, wanted = _Timed(job), [asked[place] for place in missing]
        made = (
            track(spread(timed, wanted, self.workers), total=len(missing), label="Trainings")
            if self.workers > 1
            else ((place, timed(one)) for place, one in enumerate(wanted))  # each training has a bar of its own
        )
        for place, record in made if missing else ():
            key = keys[missing[place]]
            ledger.add(key, record)
            finished[key] = record
        return [finished[key] for key in keys]


@dataclass(frozen=True, eq=False)
class _Timed:
    """The same job, with the processor seconds that it took."""

    job: Job

    def __call__(self, asked: Facts) -> Record:
        begun = time.process_time()
        return {**self.job(asked), "seconds": round(time.process_time() - begun, 3)}


# -- the testbed ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """What is retrained on the testbed, and how often: small enough that it takes minutes.

    model:    one of the testbed's nets that name species; maps are made of it, and nets of its kind are trained
    methods:  whose maps; the controls join them
    pictures: how many are learned from; held_out: how many others nets are tried on
    steps:    updates of each training
    seed:     of the pictures; nets take `seeds` seeds from it on
    folder:   where finished trainings are noted; None notes nothing
    folds:    of the pictures, for nets that are to be compared
    grown:    where `pellucid testbed train-seeds` wrote nets of this kind, which are compared in place of new ones
    """

    model: str = "testbed:cnn"
    methods: tuple[str, ...] = ("gradient", "layer_cam")
    pictures: int = 2000
    held_out: int = HELD_OUT
    steps: int = 150
    seeds: int = 1
    levels: tuple[float, ...] = (0.3, 0.6, 0.9)
    seed: int = 2
    workers: int = 2
    folder: Path | None = None
    folds: int = 4
    grown: Path | None = None

    def __post_init__(self) -> None:
        for name in ("pictures", "held_out", "steps", "seeds", "workers"):
            if getattr(self, name) < 1:
                raise RequestError(f"{name}={getattr(self, name)}; expected at least 1.")
        if self.seed in (0, 1):
            raise RequestError(f"Seed {self.seed} drew the scenes that the nets learned from; take one from 2 on.")
        if self.net not in PLANS or testbed.ARCHITECTURES[self.net].labels != _species():
            nets = ", ".join(f"testbed:{name}" for name in PLANS if testbed.ARCHITECTURES[name].labels == _species())
            raise RequestError(
                f"{self.model} is not trained anew here: nets of {nets} are. `pellucid.trust.retraining` has the "
                f"measures as functions that take any pictures and any recipe."
            )
        Seed(self.seed)
        for name in self.methods:
            find_method(name)

    @property
    def net(self) -> str:
        """The net's name in the testbed."""
        return self.model.removeprefix("testbed:")

    @property
    def recipe(self) -> retraining.FromScratch:
        """Fresh weights of the same architecture, at the learning rate of the shipped net."""
        own = PLANS[self.net].recipe
        return retraining.FromScratch(_Build(self.net), replace(own, steps=self.steps), self.net, quick=True)

    @property
    def work(self) -> Kept:
        return Kept(None if self.folder is None else Path(self.folder) / "trainings.jsonl", self.workers)

    @property
    def from_seed(self) -> tuple[int, ...]:
        return tuple(range(self.seed, self.seed + self.seeds))


def run(measure: str, trial: Trial) -> Retraining:
    """One of the measures that train, on pictures of the testbed. Raises RequestError, NotLearned."""
    if measure not in _MEASURES:
        raise RequestError(f"measure={measure!r}; expected {', '.join(_MEASURES)}.")
    found = _MEASURES[measure](trial, load(trial.model))
    return replace(found, facts={"model": trial.model, "steps": trial.steps, **found.facts, "versions": versions()})


def _roar(trial: Trial, model: VisionModel) -> Retraining:
    return _removing(retraining.roar, trial, model)


def _kar(trial: Trial, model: VisionModel) -> Retraining:
    return _removing(retraining.kar, trial, model)


def _removing(measure: Any, trial: Trial, model: VisionModel) -> Retraining:
    data, _ = split_of(trial)
    training, held_out = (
        maps_of(model, part, predicted(model, part), trial.methods, trial.seed, trial.folder)
        for part in (data.pictures, data.held_out)
    )
    return measure(training, held_out, data, trial.recipe, levels=trial.levels, seeds=trial.from_seed, work=trial.work)


def _labels(trial: Trial, model: VisionModel) -> Retraining:
    data, _ = split_of(trial)
    # What is to be learned by heart is learned by heart: no smoothing, no decay.
    by_heart = replace(trial.recipe, recipe=replace(trial.recipe.recipe, smoothing=0.0, weight_decay=0.0))
    explain = Explaining(trial.model, trial.methods, trial.seed)
    return retraining.label_randomisation(
        explain, data, by_heart, explained=min(32, len(data.held_out)), seeds=trial.from_seed, work=trial.work
    )


def _simulatability(trial: Trial, model: VisionModel) -> Retraining:
    data, _ = split_of(trial)
    said, held = predicted(model, data.pictures), predicted(model, data.held_out)
    training, held_out = (
        maps_of(model, part, classes, trial.methods, trial.seed, trial.folder)
        for part, classes in ((data.pictures, said), (data.held_out, held))
    )
    return retraining.simulatability(
        training, held_out, data.labelled(said, held), trial.recipe, seeds=trial.from_seed, work=trial.work
    )


def _alignment(trial: Trial, model: VisionModel) -> Retraining:
    data, masks = split_of(trial)
    assert model.module is not None
    explainers = {name: differentiable(model, name, data.size) for name in trial.methods}
    tenth = replace(trial.recipe.recipe, learning_rate=trial.recipe.recipe.learning_rate / 10, batch=32)
    return retraining.alignment(
        model.module, data, masks[0], masks[1], explainers, tenth, seed=trial.seed, work=trial.work
    )


def _consistency(trial: Trial, model: VisionModel) -> Retraining:
    data, _ = split_of(trial)
    explain = Explaining(trial.model, trial.methods, trial.seed)
    if trial.grown is None:
        shown = max(trial.folds, min(_COMPARED, len(data.pictures)))
        return retraining.consistency(
            explain, data, trial.recipe, folds=trial.folds, explained=shown, seed=trial.seed, work=trial.work
        )
    names, found = grown_nets(trial.grown, trial.net)
    pictures, labels = data.held_out[:_COMPARED], data.held_labels[:_COMPARED]
    return retraining.consistency_of(found, explain, pictures, labels, names=names, work=trial.work)


def _counterfactual(trial: Trial, model: VisionModel) -> Retraining:
    """Each thing of a scene is drawn otherwise in turn; the student learns from the twins of other scenes."""
    drawn = testbed.scenes(trial.seed, trial.held_out, **PLANS[trial.net].settings)
    pictures = planes(drawn)
    before = predicted(model, pictures)
    maps = maps_of(model, pictures, before, trial.methods, trial.seed, trial.folder)
    twins = [others(drawn, name)[0] for name in tried(drawn)]
    return retraining.counterfactual_simulatability(
        {name: values.repeat(len(twins), 1, 1) for name, values in maps.items()},
        torch.cat([torch.from_numpy(footprint(drawn, twin)) for twin in twins]),
        before.repeat(len(twins)), torch.cat([predicted(model, planes(twin)) for twin in twins]),
        pictures=list(range(len(pictures))) * len(twins), seed=trial.seed,
    )  # fmt: skip


def grown_nets(folder: Path, name: str) -> tuple[list[str], list[nn.Module]]:
    """The nets of that name that `pellucid testbed train-seeds` wrote, by seed. Raises RequestError for under two."""
    places = sorted(path.parent for path in Path(folder).glob(f"seed-*/{name}.safetensors"))
    if len(places) < 2:
        raise RequestError(
            f"{folder} holds {len(places)} nets {name} of several seeds; at least 2 are compared. "
            f"`pellucid testbed train-seeds` writes them."
        )
    return [place.name.replace("-", " ") for place in places], [testbed.nets.load(name, one)[0] for one in places]


_MEASURES = {
    "roar": _roar, "kar": _kar, "labels": _labels, "alignment": _alignment, "simulatability": _simulatability,
    "consistency": _consistency, "counterfactual": _counterfactual,
}  # fmt: skip


def split_of(trial: Trial) -> tuple[retraining.Split, tuple[Tensor, Tensor]]:
    """Scenes to learn from and others, in the world of the net's own training, and where the truth lies in both."""
    settings = PLANS[trial.net].settings
    drawn: tuple[Scenes, Scenes] = (
        testbed.scenes(trial.seed, trial.pictures, **settings),
        testbed.scenes(int(Seed(trial.seed).child("held out")) % 2**31, trial.held_out, **settings),
    )
    (pictures, labels), (held_out, held_labels) = ((planes(one), torch.from_numpy(one.labels.copy())) for one in drawn)
    learned, held = (torch.from_numpy(causal(one)) for one in drawn)
    return retraining.Split(pictures, labels, held_out, held_labels), (learned, held)


def predicted(model: VisionModel, pictures: Tensor) -> Int64[Tensor, "picture"]:
    """The model's own answers, for which maps are asked: the truth of a held-out picture must not shape its map."""
    return torch.cat([model.predict(as_input(part)).argmax(dim=1).cpu() for part in pictures.split(_PIECE)])


def maps_of(
    model: VisionModel,
    pictures: Tensor,
    classes: Int64[Tensor, "picture"],
    methods: Sequence[str],
    seed: int,
    folder: Path | None = None,
) -> dict[str, Float[Tensor, "picture height width"]]:
    """Maps of the methods and of the controls, one channel each.

    folder: where the maps of dear methods are kept, so that they are made once; the others are made faster than read
    """
    dear = [name for name in dict.fromkeys(methods) if folder and default_cost(find_method(name)) > _DEAR]
    cheap = [name for name in dict.fromkeys([*methods, *CONTROLS]) if name not in dear]
    parts: dict[str, list[Tensor]] = {name: [] for name in (*cheap, *dear)}
    pieces = list(zip(pictures.split(_PIECE), classes.split(_PIECE), strict=True))
    for shown, said in track(pieces, label="Maps"):
        inputs, targets = as_input(shown), [Class(one) for one in said.tolist()]
        found = attribute(model, inputs, cheap, target=targets, seed=seed)
        for name in cheap:
            parts[name].append(found[name].one_channel.cpu())
        for name in dear:
            facts = [model.fingerprint, digest(inputs), said.tolist(), name, seed, versions()["pellucid"]]
            key = hashlib.blake2b(json.dumps(facts).encode(), digest_size=8).hexdigest()
            assert folder is not None
            parts[name].append(
                _remembered(
                    folder / "maps" / f"{key}.npy",
                    lambda name=name, inputs=inputs, targets=targets: (
                        attribute(model, inputs, name, target=targets, seed=seed).one_channel
                    ),
                )
            )
    joined = {name: torch.cat(values) for name, values in parts.items()}
    return {**{name: joined[name] for name in methods}, **{control(name): joined[name] for name in CONTROLS}}


def _remembered(path: Path, make: Callable[[], Tensor]) -> Tensor:
    """What a file holds, or where there is none that can be read, what is made now and written there."""
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        made, held = make().cpu(), io.BytesIO()
        np.save(held, made.numpy())
        write_atomically(path, held.getvalue())
        return made


@dataclass(frozen=True)
class Explaining:
    """Maps of any net of a model's architecture, the controls among them."""

    model: str
    methods: tuple[str, ...]
    seed: int

    def __call__(self, net: nn.Module, pictures: Tensor, classes: Int64[Tensor, "picture"]) -> Maps:
        model, asked = load(self.model).with_module(net), [Class(one) for one in classes.tolist()]
        made = maps_of(model, pictures, classes, self.methods, self.seed)
        # A random map knows nothing, so under another net it does not know itself again either.
        anew = int(Seed(self.seed).child("random", model.fingerprint))
        made[control("random")] = attribute(model, pictures, "random", target=asked, seed=anew).one_channel.cpu()
        return made


def differentiable(model: VisionModel, name: str, size: tuple[int, int]) -> retraining.Differentiable:
    """The map of that name with a gradient of its own. Raises RequestError for those that have none here."""
    plain: dict[str, retraining.Differentiable] = {
        "gradient": retraining.input_gradient, "gradient_x_input": retraining.gradient_times_input,
        "integrated_gradients": retraining.IntegratedGradients(), "smoothgrad": retraining.SmoothGrad(),
    }  # fmt: skip
    if name in plain:
        return plain[name]
    layer = layer_for(model, find_method("grad_cam"), None, size) if name == "grad_cam" else None
    if layer is None:
        raise RequestError(f"A net cannot be trained on {name} here; {', '.join(plain)} and grad_cam can be.")
    return retraining.GradCamAt(layer.name)


@dataclass(frozen=True)
class _Build:
    """An untrained net of the testbed, as something that can be sent to another process."""

    name: str

    def __call__(self) -> nn.Module:
        return testbed.nets.build(self.name)


def _species() -> tuple[str, ...]:
    return testbed.ARCHITECTURES["cnn"].labels


__all__ = ["Explaining", "Kept", "Trial", "differentiable", "grown_nets", "maps_of", "predicted", "run", "split_of"]
