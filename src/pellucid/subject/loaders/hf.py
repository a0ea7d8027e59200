"""Image classifiers, detectors and dual encoders of transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pellucid.compute.train import seeded
from pellucid.errors import LoadError, MissingExtra, RequestError, TargetError
from pellucid.images import Frame
from pellucid.subject.labels import Labels
from pellucid.subject.loaders import dense, dual, imagenet
from pellucid.subject.loaders.architecture import untrained
from pellucid.subject.loaders.libraries import first_line, library
from pellucid.values import Preprocess

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel

PREFIX = "hf"
EXAMPLE = "hf:google/vit-base-patch16-224"
HELP = "a transformers classifier, DETR or CLIP-like model, by hub name (@revision) or folder; CLIP takes ?texts=a|b"

# Dual encoders whose picture side can run on its own: model type -> the layers from picture to embedding.
_PICTURE_SIDE: Mapping[str, tuple[str, ...]] = {
    "clip": ("vision_model", "visual_projection"),
    "metaclip_2": ("vision_model", "visual_projection"),
    "chinese_clip": ("vision_model", "visual_projection"),
    "altclip": ("vision_model", "visual_projection"),
    "siglip": ("vision_model",),
}
_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
# Processors resize tensors, we resize with Pillow, and each rounds to whole colours: a few steps of 255 apart.
_COLOUR_STEPS = 6


def load(
    name: str, *, weights: bool | str = True, seed: int = 0, texts: Sequence[str] | None = None,
    trust_remote_code: bool = False, local_only: bool = False, **wrapping: Any,
) -> VisionModel:  # fmt: skip
    """A model of transformers by hub name or folder, in float32.

    weights:    True; False draws them from `seed`; a name is the revision on the hub
    texts:      for CLIP-like models, one class per text
    local_only: never ask the network

    What lies in the local cache is taken without asking the network.
    Raises LoadError for models that are neither classifier nor detector nor dual encoder, and when the download fails.
    """
    hub = _Hub(name, {"revision": weights} if isinstance(weights, str) else {}, trust_remote_code, local_only)
    config = hub.read(hub.transformers.AutoConfig)
    kind = next(iter(config.architectures or ()), "")
    paired = config.model_type in _PICTURE_SIDE and not kind.endswith("ForImageClassification")
    notes = [] if weights is not False else [untrained(seed)]
    processor = _processor(hub, notes)
    if wrapping.get("preprocess") is None and processor is not None:
        wrapping["preprocess"] = preprocess(hub.spec, processor)
    wrapping |= {"name": name.rstrip("/").rpartition("/")[2]}
    drawn = seed if weights is False else None
    if paired:
        return _dual(hub, config, drawn, dual.checked(hub.spec, texts), wrapping, notes)
    if texts is not None:
        raise LoadError(hub.spec, f"it is a {config.model_type} classifier; it cannot be compared with texts.",
                        "Leave texts out.")  # fmt: skip
    if kind.endswith("ForObjectDetection"):
        return _detector(hub, config, drawn, wrapping, notes)
    flipped = bool(getattr(processor, "do_flip_channel_order", False))
    return _classifier(hub, config, drawn, wrapping, notes, flipped=flipped)


@dataclass(frozen=True)
class _Hub:
    """One model on the hub, or in a folder, and how it may be fetched."""

    name: str
    revision: Mapping[str, str]
    trust_remote_code: bool
    local_only: bool

    @property
    def spec(self) -> str:
        return f"{PREFIX}:{self.name}"

    @property
    def transformers(self) -> Any:
        return library("transformers", "hf", self.spec)

    def read(self, kind: Any, **options: Any) -> Any:
        """`kind.from_pretrained`, from the cache where it lies there. Raises LoadError, MissingExtra."""
        stays = self.local_only or Path(self.name).is_dir()
        try:
            return self._read(kind, local=True, **options)
        except OSError as error:
            if stays:
                raise self._failed(error, local=True) from error
        except (ImportError, ValueError, KeyError, RuntimeError) as error:
            raise self._failed(error, local=True) from error
        try:
            return self._read(kind, local=False, **options)
        except (OSError, ImportError, ValueError, KeyError, RuntimeError) as error:
            raise self._failed(error, local=False) from error

    def _read(self, kind: Any, *, local: bool, **options: Any) -> Any:
        return kind.from_pretrained(
            self.name, local_files_only=local, trust_remote_code=self.trust_remote_code, **self.revision, **options
        )

    def _failed(self, error: Exception, *, local: bool) -> LoadError | MissingExtra:
        if isinstance(error, ImportError):  # picture processors run on torchvision
            return MissingExtra(error.name or "torchvision", "torchvision", f"Loading {self.spec}")
        return LoadError(self.spec, first_line(error), _remedy(error, local))


def _remedy(error: Exception, local: bool) -> str:
    if "trust_remote_code" in str(error):
        return "It brings Python code of its own; if you trust its author: pl.load(..., trust_remote_code=True)."
    if isinstance(error, ValueError) and "Unrecognized configuration" in str(error):
        return _KINDS
    if isinstance(error, OSError) and not local:
        return "Check the name and the connection; a downloaded folder loads as hf:FOLDER."
    return "It is not in the local cache; leave local_only out to ask the hub." if local else "Check the name."


class _FlippedColours(nn.Module):
    """A network trained on blue, green, red, for pictures in red, green, blue."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Float[Tensor, "batch 3 height width"]) -> Any:
        return self.network(pixel_values.flip(1))


class _PictureSide(nn.Module):
    """The half of a dual encoder that looks at the picture; its layers keep their names."""

    def __init__(self, net: nn.Module, parts: Sequence[str]) -> None:
        super().__init__()
        self.parts = tuple(parts)
        for part in parts:
            self.add_module(part, net.get_submodule(part))

    def forward(self, pixel_values: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        features = self.get_submodule(self.parts[0])(pixel_values=pixel_values).pooler_output
        for part in self.parts[1:]:
            features = self.get_submodule(part)(features)
        return features


def _classifier(
    hub: _Hub, config: Any, drawn: int | None, wrapping: dict[str, Any], notes: list[str], *, flipped: bool
) -> VisionModel:
    from pellucid.subject.model import wrap

    net = _network(hub, hub.transformers.AutoModelForImageClassification, config, drawn)
    wrapping.setdefault("labels", _labels(config))
    return wrap(_FlippedColours(net) if flipped else net, notes=tuple(notes), **wrapping)


def _detector(hub: _Hub, config: Any, drawn: int | None, wrapping: dict[str, Any], notes: list[str]) -> VisionModel:
    from pellucid.subject.model import wrap

    net = _network(hub, hub.transformers.AutoModelForObjectDetection, config, drawn)
    wrapping.setdefault("labels", _labels(config))
    seen, layer = dense.seen_transformers(hub.spec, net, config)
    usual: dict[str, Any] = {
        "activation": "sigmoid", "default_layer": layer,
        "why_layer": "the last layer of its encoder, whose tokens lie over the picture",
    }  # fmt: skip
    return wrap(seen, notes=tuple(notes), **{**usual, **wrapping})


def _dual(
    hub: _Hub, config: Any, drawn: int | None, texts: Sequence[str], wrapping: dict[str, Any], notes: list[str]
) -> VisionModel:
    net = _network(hub, hub.transformers.AutoModel, config, drawn)
    tokenizer = hub.read(hub.transformers.AutoTokenizer)
    longest = int(config.text_config.max_position_embeddings)
    padding = {"padding": "max_length", "max_length": longest} if config.model_type == "siglip" else {"padding": True}

    def encode(texts: Sequence[str]) -> Float[Tensor, "text dim"]:
        tokens = tokenizer(list(texts), return_tensors="pt", **padding)
        length = tokens["input_ids"].shape[1]
        if length > longest:
            raise TargetError(f"A text is {length} tokens long; {hub.spec} reads at most {longest}. Shorten it.")
        with torch.no_grad():
            answer = net.get_text_features(**tokens.to(net.device))
        features = answer if isinstance(answer, Tensor) else answer.pooler_output
        return functional.normalize(features.float(), dim=-1)

    scale, bias = net.logit_scale.detach().exp(), getattr(net, "logit_bias", None)
    if wrapping.get("preprocess") is None:  # which would say the size
        wrapping.setdefault("input_size", (config.vision_config.image_size,) * 2)
    return dual.wrapped(
        hub.spec, _PictureSide(net, _PICTURE_SIDE[config.model_type]), encode, texts, scale=float(scale),
        bias=None if bias is None else float(bias.detach()), notes=tuple(notes), **wrapping,
    )  # fmt: skip


def _network(hub: _Hub, kind: Any, config: Any, drawn: int | None) -> Any:
    """The trained network, or one drawn from a seed. Raises LoadError where trained weights are incomplete."""
    if drawn is not None:
        try:
            with seeded(drawn):
                return kind.from_config(config, trust_remote_code=hub.trust_remote_code).float().eval()
        except ValueError as error:
            raise LoadError(hub.spec, first_line(error), _KINDS) from error
    with seeded(0):
        net, report = hub.read(kind, output_loading_info=True, dtype=torch.float32)
    missing = sorted(report["missing_keys"])
    if missing:
        # transformers would draw them at random: a classifier head that was never trained.
        raise LoadError(
            hub.spec, f"{len(missing)} of its tensors have no trained weights: {', '.join(missing[:3])}.",
            f"Load a model that was trained to classify. {_KINDS}",
        )  # fmt: skip
    return net.eval()


_KINDS = f"hf: loads image classifiers, detectors of the DETR family and the dual encoders {', '.join(_PICTURE_SIDE)}."


def _labels(config: Any) -> Labels | None:
    names = [str(config.id2label[index]) for index in sorted(config.id2label)]
    unnamed = all(name == f"LABEL_{index}" for index, name in enumerate(names))
    return None if unnamed else imagenet.labels(names)


def _processor(hub: _Hub, notes: list[str]) -> Any:
    """What turns a picture into its input; None, and a note, where it brings nothing of the kind."""
    try:
        return hub.read(hub.transformers.AutoImageProcessor)
    except LoadError as error:
        notes.append(f"It brings no preprocessing: {error.problem}")
        return None


def preprocess(spec: str, processor: Any) -> Preprocess:
    """What a picture processor of transformers does, as a value, checked on a probing picture.

    Raises LoadError for a processor that does something else.
    """
    if hasattr(processor, "data_config"):  # timm's own, in transformers' clothes
        from pellucid.subject.loaders import timm

        return timm.preprocess(spec, processor.data_config)
    settings = processor.to_dict()
    colours = _colours(settings)
    for geometry in _geometries(settings):
        with suppress(RequestError):  # a reading that makes no sense is not the one
            value = Preprocess(**colours, **geometry)
            if _agrees(value, processor):
                return value
    raise LoadError(
        spec, f"its {type(processor).__name__} does something that Preprocess cannot say.",
        "Say what comes closest: pl.load(..., preprocess=pl.Preprocess(size=..., resize=..., mean=..., std=...)).",
    )  # fmt: skip


def _colours(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Mean, std and interpolation; a processor that scales 0..255 otherwise is brought to pixels of 0..1."""
    factor = 255 * float(settings["rescale_factor"]) if settings.get("do_rescale") else 255.0
    shift = 1.0 if settings.get("do_rescale") and settings.get("rescale_offset") else 0.0
    normalised = bool(settings.get("do_normalize"))
    mean = settings["image_mean"] if normalised else (0.0, 0.0, 0.0)
    std = settings["image_std"] if normalised else (1.0, 1.0, 1.0)
    return {
        "mean": tuple((float(value) + shift) / factor for value in mean),
        "std": tuple(float(value) / factor for value in std),
        "interpolation": _INTERPOLATIONS.get(int(settings.get("resample") or 0), "bilinear"),
    }


def _geometries(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Readings of `size` and `crop_size`, of which the processor's own code follows one; likely ones first."""
    size = _lengths(settings.get("size")) if settings.get("do_resize") else {}
    crop = _lengths(settings.get("crop_size")) if settings.get("do_center_crop") else {}
    window = (crop["height"], crop["width"]) if "height" in crop else None
    if "height" in size:
        exact = (size["height"], size["width"])
        return [{"size": window or exact, "resize": exact}]
    if "shortest_edge" not in size:
        return [{"size": window}] if not size else []
    edge, share = size["shortest_edge"], settings.get("crop_pct")
    readings: list[dict[str, Any]] = []
    if share:  # ConvNeXT and PoolFormer
        readings.append({"size": (edge, edge), "resize": (edge, edge)})
        readings.append({"size": window or (edge, edge), "resize": int(edge / share)})
    readings.append({"size": window, "resize": edge})
    readings.append({"size": window, "resize": int(256 / 224 * edge)})  # LeViT
    return readings


def _lengths(size: Any) -> dict[str, int]:
    return {key: int(value) for key, value in dict(size or {}).items() if value is not None}


def _agrees(value: Preprocess, processor: Any) -> bool:
    """Whether both make the same input of a smooth picture, where ways to interpolate hardly differ."""
    rows, columns = np.mgrid[0:301, 0:421] / 421
    waves = [rows * 0.9, columns, 0.5 + 0.4 * np.sin(6 * columns) * np.cos(5 * rows)]
    pixels = (np.stack(waves, axis=-1) * 255).astype(np.uint8)
    theirs = torch.as_tensor(processor(images=pixels, return_tensors="pt")["pixel_values"])[0]
    if getattr(processor, "do_flip_channel_order", False):
        theirs = theirs.flip(0)
    ours = Frame(pixels, "probe").input(value)
    if theirs.shape != ours.shape:
        return False
    return float((theirs - ours).abs().max()) <= _COLOUR_STEPS / 255 / min(value.std)
