"""Explainers that are fitted to a model once: a small net learns what to show, and then tells it in one pass.

What is fitted is declared with the method that reads it (`registry.Fitting`); everything else is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.compute.early import Early
from pellucid.compute.train import Recipe, descend, seeded
from pellucid.engine import Evidence, look
from pellucid.engine.edits import Edit
from pellucid.engine.through import through
from pellucid.errors import FileError, MethodUnavailable, RequestError
from pellucid.images import Frame, read
from pellucid.registry import Fitting, Learning, find_method, methods
from pellucid.results.weights import read_weights, write_weights
from pellucid.subject import VisionModel
from pellucid.values import Activation, Seed

_KIND = "explainer"
_REMEDY = "Give a file that Explainer.save or `pellucid fit` wrote."
Pictures = Tensor | Sequence[Frame | Path]
"""Model input [picture channel height width], or pictures that become it; files are read when their turn comes."""


class Explainer:
    """A net that was fitted to a model, to explain that model. It saves and loads; a method reads it.

    method:      which one
    shape:       what the net is like, as plain values
    model:       the name of the model it was fitted to, and `fingerprint` of its weights
    losses:      of every update; judged: loss of the held-out pictures after each round, empty where none were
    """

    def __init__(
        self, method: str, net: nn.Module, shape: Mapping[str, Any], *, model: str, fingerprint: str,
        losses: Sequence[float] = (), judged: Sequence[float] = (),
    ) -> None:  # fmt: skip
        self.method, self.net, self.shape = method, net, dict(shape)
        self.model, self.fingerprint = model, fingerprint
        self.losses, self.judged = tuple(losses), tuple(judged)

    def __repr__(self) -> str:
        return f"Explainer({self.method} of {self.model}, {len(self.losses)} updates)"

    def save(self, path: str | Path) -> Path:
        """Write weights and facts as .safetensors; `load` reads them."""
        about = {key: value for key, value in vars(self).items() if key != "net"}
        return write_weights(path, _KIND, about, self.net.state_dict())

    @classmethod
    def load(cls, path: str | Path) -> Explainer:
        """The explainer that `save` wrote. Raises FileError for anything else."""
        about, state = read_weights(path, _KIND, _REMEDY)
        name, shape = about.pop("method"), about.pop("shape")
        if name not in methods() or methods()[name].fitting is None:
            raise FileError(path, f"it is read by {name}, which this version does not have.", _REMEDY)
        net = _built(fitting_of(name), shape, Seed(0))
        net.load_state_dict(state)
        return cls(name, net.eval(), shape, **about)


class Lesson:
    """One batch of pictures as a loss sees it.

    evidence: what the model makes of them; generator: for whatever the loss draws
    """

    def __init__(self, evidence: Evidence, generator: torch.Generator) -> None:
        self.evidence, self.generator = evidence, generator
        self.model, self.inputs = evidence.model, evidence.inputs

    @property
    def outputs(self) -> Float[Tensor, "batch classes"]:
        """The model's answer to the pictures as they are."""
        return self.evidence.output().clone()

    def features(self, layers: Sequence[str]) -> list[Float[Tensor, "batch channel h w"]]:
        """What layers put out for the pictures as they are."""
        return features(self.evidence, layers)

    def answers(
        self, inputs: Float[Tensor, "batch channel height width"], edits: Sequence[Edit] = ()
    ) -> Float[Tensor, "batch classes"]:
        """The model's answer to other pictures or with edits inside, with a graph back to what is changed."""
        return through(self.model, inputs, edits)

    def under(
        self, mask: Float[Tensor, "batch height width"], baseline: str = "mean"
    ) -> Float[Tensor, "batch channel height width"]:
        """The pictures where the mask is 1, the fill where it is 0."""
        return under(self.evidence, self.inputs, mask, baseline)


def under(
    evidence: Evidence, shown: Float[Tensor, "batch channel height width"], mask: Float[Tensor, "batch height width"],
    baseline: str = "mean",
) -> Float[Tensor, "batch channel height width"]:  # fmt: skip
    """What is shown where the mask is 1, the fill of the evidence's pictures where it is 0."""
    share = mask[:, None]
    return share * shown + (1 - share) * evidence.fill(baseline)


def features(evidence: Evidence, layers: Sequence[str]) -> list[Float[Tensor, "batch channel h w"]]:
    """What layers put out, as plain tensors that a net may learn from."""
    evidence.keep(layers)
    return [evidence.activation(name).clone() for name in layers]


def fit(
    method: str, model: VisionModel, pictures: Pictures, *, learning: Learning | None = None, seed: int = 0,
    checkpoint: str | Path | None = None, **settings: Any,
) -> Explainer:  # fmt: skip
    """An explainer for a method, fitted to a model that stays as it is.

    method:     one that needs it, such as `t_tame`
    pictures:   model input, or Frames and paths, which are read when their turn comes; no answers are needed, the
                model's own are what is explained
    learning:   None is what the method is usually fitted with
    checkpoint: a file that says how far it came; where it lies already, fitting goes on from it
    settings:   the method's own; its card lists them

    Raises RequestError for a method that needs no explainer, MethodUnavailable for a black box or a model whose inside
    the method cannot read.
    """
    fitting = fitting_of(method)
    begun = unfitted(method, model, _size_of(model, pictures), seed=seed, **settings)
    plan = learning or fitting.learning
    order = torch.randperm(len(pictures), generator=Seed(seed).child(method, "split").generator()).tolist()
    held, learned = order[: round(plan.held_out * len(order))], order[round(plan.held_out * len(order)) :]
    if not learned:
        raise RequestError(f"{len(pictures)} pictures; an explainer is fitted to 2 at least, of which some only judge.")

    def loss(chosen: Sequence[int], draw: Seed) -> Tensor:
        evidence = look(model, _shown(model, pictures, chosen), needs=[Activation], seed=draw)
        return fitting.loss(begun.net, Lesson(evidence, draw.generator()))

    def objective(step: int) -> Tensor:
        draw = Seed(seed).child(method, step)
        places = torch.randint(len(learned), (plan.batch,), generator=draw.child("batch").generator())
        return loss([learned[at] for at in places.tolist()], draw)

    def judge() -> float:
        parts = [held[at : at + plan.batch] for at in range(0, len(held), plan.batch)]
        draw = Seed(seed).child(method, "judged")
        return sum(float(loss(part, draw.child(at))) * len(part) for at, part in enumerate(parts)) / len(held)

    early = Early(judge, every=plan.every, patience=plan.patience) if held else None
    recipe = Recipe(plan.updates, plan.learning_rate, batch=plan.batch, weight_decay=plan.weight_decay)
    course = descend(begun.net, objective, recipe, label=f"Fitting {method}", early=early,
                     checkpoint=None if checkpoint is None else Path(checkpoint))  # fmt: skip
    begun.losses, begun.judged = course.losses, tuple(early.judged) if early else ()
    return begun


def unfitted(method: str, model: VisionModel, size: tuple[int, int], *, seed: int = 0, **settings: Any) -> Explainer:
    """The explainer before its first update, for inputs of `size` (rows, columns)."""
    if not model.differentiable:
        raise MethodUnavailable(method, "it looks inside the model, and this one is a black box.", ("occlusion",))
    fitting = fitting_of(method)
    shape = fitting.shape(model, size, **settings)
    net = _built(fitting, shape, Seed(seed)).to(model.device).eval()
    return Explainer(method, net, shape, model=model.name, fingerprint=model.fingerprint)


def fitting_of(method: str) -> Fitting:
    """How the explainer of a method comes about. Raises UnknownMethod, RequestError where it needs none."""
    found = find_method(method).fitting
    if found is None:
        able = ", ".join(name for name, entry in methods().items() if entry.fitting is not None)
        raise RequestError(f"{method} explains any model as it is and needs nothing fitted. These are fitted: {able}.")
    return found


def attach(model: VisionModel, files: Sequence[str | Path]) -> VisionModel:
    """The model with explainers that were fitted to it: methods read them unasked. Raises FileError, RequestError.

    The model under study is the same object; only what pellucid knows of it grows.
    """
    for file in files:
        found = Explainer.load(file)
        if found.fingerprint != model.fingerprint:
            raise RequestError(
                f"{file} was fitted to {found.model}; {model.name} is another model, or its weights have changed. "
                f"`pellucid fit {found.method}` fits one."
            )
        model.explainers[found.method] = Path(file).expanduser()
    return model


def explainer_of(evidence: Evidence, method: str, given: Explainer | str | Path | None) -> Explainer:
    """The explainer that a method reads: the one given, else the one that came with the model.

    Raises MethodUnavailable where there is none, RequestError for one of another method.
    """
    model = evidence.model
    source = model.explainers.get(method) if given is None else given
    if source is None:
        raise MethodUnavailable(
            method, f"no explainer was fitted to {model.name}; `pellucid fit {method}` fits one.", ("occlusion", "rise")
        )
    found = source if isinstance(source, Explainer) else Explainer.load(source)
    if found.method != method:
        raise RequestError(f"{method} was given an explainer of {found.method}; fit one with `pellucid fit {method}`.")
    evidence.note(f"Read by an explainer that was fitted to {found.model} in {len(found.losses)} updates.")
    if found.fingerprint != model.fingerprint:
        evidence.note(f"The explainer was fitted to other weights than {model.name} has now; fit it again.")
    found.net.to(evidence.inputs.device)
    return found


def same_build(explainer: Explainer, **model: int) -> None:
    """Raises RequestError where an explainer was fitted to a model whose parts have other sizes, by their names."""
    for name, found in model.items():
        if explainer.shape[name] != found:
            raise RequestError(
                f"The explainer was fitted to {explainer.model}, with {name} {explainer.shape[name]}; this model has "
                f"{found}. Fit one with `pellucid fit {explainer.method}`."
            )


def _built(fitting: Fitting, shape: Mapping[str, Any], seed: Seed) -> nn.Module:
    with seeded(int(seed)):
        return fitting.build(**shape)


def _size_of(model: VisionModel, pictures: Pictures) -> tuple[int, int]:
    shown = _shown(model, pictures, [0])
    return int(shown.shape[-2]), int(shown.shape[-1])


def _shown(
    model: VisionModel, pictures: Pictures, chosen: Sequence[int]
) -> Float[Tensor, "batch channel height width"]:
    if isinstance(pictures, Tensor):
        return pictures[list(chosen)]
    asked = [pictures[at] for at in chosen]
    return model.prepare([one if isinstance(one, Frame) else read(one) for one in asked])
