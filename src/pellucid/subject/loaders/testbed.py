"""The nets of the rendered world, for which the true answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.errors import LoadError, SceneError, UnknownModel
from pellucid.subject.clips import wrap_clips
from pellucid.subject.loaders import dual
from pellucid.subject.places import DETECTOR, SEGMENTER, Painting, Proposing
from pellucid.values import Preprocess, Proposals

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel
    from pellucid.testbed.nets import Dual
    from pellucid.testbed.planted import Planted

PREFIX = "testbed"
EXAMPLE = "testbed:cnn"
HELP = (
    "a small net that comes with pellucid: cnn, vit, cnn_background (looks at the wrong thing), dual, digits, "
    "detector, segmenter"
)


_DETECTOR_LAYER = ("features", "the last layer before species and box part ways")
_SEGMENTER_LAYER = ("down3", "the coarsest layer, where each cell has seen most of the bird")


def load(
    name: str, *, texts: Sequence[str] | None = None, folder: str | Path | None = None, **wrapping: Any
) -> VisionModel:
    """A net that comes with the package. It takes pictures in 0..1 and normalises inside.

    texts:  for the dual encoders, one class per text, in the words of the captions; None is the names of the species
    folder: where the weights lie, such as one that `testbed.train.train_seeds` wrote; None is those that come along

    Raises LoadError for an unknown name, and for nets that name no classes (`testbed.nets.load` opens those).
    """
    from pellucid.subject.model import wrap
    from pellucid.testbed import nets, planted

    set_by_hand = {f"planted_{short}": builder for short, builder in planted.BUILDERS.items()}
    if name in set_by_hand:
        return _planted(set_by_hand[name](), **wrapping)
    if name not in nets.ARCHITECTURES:
        known = [*nets.ARCHITECTURES, *set_by_hand]
        raise UnknownModel(
            f"{PREFIX}:{name}", "the testbed has no net of that name.", asked=name, known=known,
            remedy=f"It has {', '.join(known)}.",
        )  # fmt: skip
    kind, spec = nets.ARCHITECTURES[name].kind, f"{PREFIX}:{name}"
    if kind not in ("classifier", "dual", "detector", "segmenter", "clip"):
        raise LoadError(
            spec,
            f"the {kind} does not answer with one number per class.",
            f"It opens with testbed.nets.load({name!r}).",
        )
    if texts is not None and kind != "dual":
        raise LoadError(spec, "it is a classifier; it cannot be compared with texts.", "Leave texts out.")
    try:
        net, card = nets.load(name, Path(folder).expanduser() if folder else nets.WEIGHTS)
    except SceneError as error:
        raise LoadError(spec, str(error)) from error
    size = (card.size, card.size)
    files = (Path(folder).expanduser() if folder else nets.WEIGHTS) / "explainers"
    explainers = {file.name.split(".")[1]: file for file in sorted(files.glob(f"{name}.*.safetensors"))}
    usual: dict[str, Any] = {
        "preprocess": Preprocess(size=size, resize=card.size, interpolation="bilinear"),
        "default_layer": card.default_layer, "why_layer": card.why, "name": name,
        "explainers": explainers,
    }  # fmt: skip
    if isinstance(net, nets.Dual):
        return _dual(spec, net, texts, **{**usual, **wrapping})
    usual["labels"] = card.labels
    if isinstance(net, nets.ClipNet):
        usual |= {"default_layer": "features", "why_layer": "the last layer before time and space are pooled"}
        return wrap_clips(net, frames=net.frames, size=size, **{**usual, **wrapping})
    if isinstance(net, nets.Detector):
        usual |= {"default_layer": f"{DETECTOR}{_DETECTOR_LAYER[0]}", "why_layer": _DETECTOR_LAYER[1]}
        return wrap(Proposing(net, _proposals, len(card.labels)), activation="sigmoid", **{**usual, **wrapping})
    if isinstance(net, nets.Segmenter):
        usual |= {"default_layer": f"{SEGMENTER}{_SEGMENTER_LAYER[0]}", "why_layer": _SEGMENTER_LAYER[1]}
        return wrap(Painting(net, _painted, len(card.labels)), activation="softmax", **{**usual, **wrapping})
    return wrap(net, **{**usual, **wrapping})


def _proposals(net: Any, pictures: Tensor) -> Proposals:
    """Every cell of the detector proposes its bird; it has no objectness beside its classes."""
    heat, boxes = (values.flatten(2).transpose(1, 2) for values in net(pictures))
    return Proposals(boxes, boxes.new_ones(boxes.shape[:2]), heat)


def _painted(net: Any, pictures: Tensor) -> Tensor:
    return net(pictures)


def _dual(spec: str, net: Dual, texts: Sequence[str] | None, **wrapping: Any) -> VisionModel:
    """Pictures against sentences of the captions' grammar."""
    from pellucid.testbed.fields import SPECIES

    asked = [f"a {name}" for name in SPECIES] if texts is None else texts

    def encode(said: Sequence[str]) -> Tensor:
        try:
            with torch.no_grad():
                return net.encode_texts(said)
        except SceneError as error:
            raise LoadError(spec, str(error)) from error

    scale = float(net.scale.detach())
    return dual.wrapped(spec, net.image, encode, dual.checked(spec, asked), scale=scale, bias=None, **wrapping)


def _planted(net: Planted, **wrapping: Any) -> VisionModel:
    """A net whose weights were set by hand; its pictures are those of `net.pictures`, not photographs."""
    from pellucid.subject.model import wrap

    usual: dict[str, Any] = {
        "preprocess": Preprocess(size=(net.size, net.size), resize=net.size, interpolation="bilinear"),
        "labels": net.labels, "default_layer": net.default_layer, "name": f"planted_{net.name}",
        "why_layer": "where its units lie on a grid over the picture; its weights were set by hand",
    }  # fmt: skip
    return wrap(net.module.eval(), **{**usual, **wrapping})
