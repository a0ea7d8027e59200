"""Dual encoders of open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pellucid.compute.train import seeded
from pellucid.errors import LoadError, UnknownModel
from pellucid.subject.loaders import dual
from pellucid.subject.loaders.architecture import untrained
from pellucid.subject.loaders.libraries import first_line, library
from pellucid.values import Preprocess

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel

PREFIX = "open_clip"
EXAMPLE = "open_clip:ViT-B-32@laion2b_s34b_b79k?texts=a cat|a dog"
HELP = "an open_clip model and the weights after @, compared with texts; @random leaves it untrained"


def load(
    name: str, *, weights: bool | str = True, seed: int = 0, texts: Sequence[str] | None = None, **wrapping: Any
) -> VisionModel:
    """A picture encoder against texts: `ViT-B-32@openai`, `hf-hub:owner/name`, `local-dir:folder`.

    Raises LoadError for unknown names and weights, without texts, and when the download fails.
    """
    spec = f"{PREFIX}:{name}"
    names = dual.checked(spec, texts)
    clip = library("open_clip", "clip", spec)
    net = _create(clip, name, weights, seed)
    tokenizer = clip.get_tokenizer(name)

    def encode(texts: Sequence[str]) -> Float[Tensor, "text dim"]:
        place = next(net.parameters()).device
        with torch.no_grad():
            return functional.normalize(net.encode_text(tokenizer(list(texts)).to(place)).float(), dim=-1)

    scale, bias = net.logit_scale.detach().exp(), getattr(net, "logit_bias", None)
    wrapping = {"name": name.rpartition(":")[2], **wrapping}
    if wrapping.get("preprocess") is None:
        wrapping["preprocess"] = _preprocess(spec, net.visual.preprocess_cfg)
    return dual.wrapped(
        spec, net.visual, encode, names, scale=float(scale), bias=None if bias is None else float(bias.detach()),
        notes=(untrained(seed),) if weights is False else (), **wrapping,
    )  # fmt: skip


def _create(clip: Any, name: str, weights: bool | str, seed: int) -> Any:
    spec = f"{PREFIX}:{name}"
    built_in = ":" not in name
    if built_in and name not in clip.list_models():
        raise UnknownModel(spec, "open_clip has no model of that name.", asked=name, known=clip.list_models(),
                           remedy="open_clip.list_models() lists all.")  # fmt: skip
    tags = clip.list_pretrained_tags_by_model(name) if built_in else []
    listing = f"It has {', '.join(tags)}, and @random." if tags else f"{spec}@random is an untrained one."
    if built_in and weights is True:
        raise LoadError(spec, "no weights are chosen.", listing)
    if built_in and isinstance(weights, str) and weights not in tags and not Path(weights).is_file():
        raise LoadError(spec, f"it has no weights {weights!r}.", listing)
    try:
        with seeded(seed):
            net = clip.create_model(
                name, pretrained=weights if isinstance(weights, str) else None, load_weights=weights is not False,
                require_pretrained=weights is not False, pretrained_text=False, weights_only=True,
            )  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:
        raise LoadError(
            spec, f"open_clip could not load it: {first_line(error)}",
            "Check the name and the connection; weights in a local file go after the @.",
        ) from error  # fmt: skip
    return net.eval().float()


def _preprocess(spec: str, config: dict[str, Any]) -> Preprocess:
    """The value of open_clip's `preprocess_cfg`. Raises LoadError for what Preprocess cannot say."""
    side = config["size"]
    height, width = (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))
    interpolation = "bilinear" if config["interpolation"] == "bilinear" else "bicubic"  # whatever else it says
    colours: dict[str, Any] = {"mean": tuple(config["mean"]), "std": tuple(config["std"]), "size": (height, width),
                               "interpolation": interpolation}  # fmt: skip
    mode = config["resize_mode"]
    if mode == "squash":
        return Preprocess(**colours, fit="stretch")
    if mode == "shortest" and height == width:
        return Preprocess(**colours, resize=height)
    if mode == "shortest":
        colours["interpolation"] = "bicubic"  # whatever it says: open_clip does not hand it on here
        return Preprocess(**colours, fit="cover")
    raise LoadError(spec, f"its preprocessing cannot be followed: {config}.", "Say it yourself: preprocess=.")
