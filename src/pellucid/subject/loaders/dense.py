"""Detectors and segmenters of torchvision and transformers: where their answers lie, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.errors import LoadError
from pellucid.subject.places import DETECTOR, SEGMENTER, Painting, Proposing
from pellucid.values import Preprocess, Proposals
from pellucid.values.proposals import log_odds

Read = Callable[[Any, Tensor], Proposals]


@dataclass(frozen=True, eq=False)
class Seen:
    """A detector or segmenter as a model of pictures, and how it is used.

    preprocess: None where the module itself does not say
    """

    module: Proposing | Painting
    default_layer: str
    activation: str
    preprocess: Preprocess | None


def seen(module: Any) -> Seen | None:
    """A detector or segmenter of torchvision as a model of pictures; None for any other module."""
    kind = type(module).__name__
    if not type(module).__module__.startswith("torchvision.models."):
        return None
    if kind in _SEGMENTERS:
        view = Painting(module, _painted, _classes(module))
        return Seen(view, f"{SEGMENTER}{_last_of(module.backbone)}", "softmax", None)
    if kind in _DETECTORS:
        read, background = _DETECTORS[kind]
        view = Proposing(module, read, _classes(module) - background)
        return Seen(view, f"{DETECTOR}{_last_of(module.backbone)}", "sigmoid", _sized(module.transform))
    return None


def _classes(module: Any) -> int:
    """How many it tells apart, background included where that competes."""
    if hasattr(module, "roi_heads"):
        return int(module.roi_heads.box_predictor.cls_score.out_features)
    if hasattr(module, "head"):
        head = module.head.classification_head
        return int(head.num_columns if hasattr(head, "num_columns") else head.num_classes)
    last = getattr(module.classifier, "low_classifier", None) or module.classifier[-1]
    return int(last.out_channels)


def _sized(transform: Any) -> Preprocess:
    """Pictures as large as a detector likes them; it normalises inside."""
    if transform.fixed_size is not None:
        columns, rows = transform.fixed_size
        return Preprocess(size=(rows, columns), fit="stretch", interpolation="bilinear")
    return Preprocess(resize=min(transform.min_size), interpolation="bilinear")


def names_of(module: Any, categories: list[str]) -> list[str]:
    """Class names in the order of what is read: softmax detectors keep background apart from what they find."""
    kind = type(module).__name__
    return categories[_DETECTORS[kind][1] :] if kind in _DETECTORS else categories


def _last_of(backbone: Any) -> str:
    """The last layer of a backbone from which all of its outputs for large things come, by name."""
    if hasattr(backbone, "body"):  # with a feature pyramid behind it
        return f"backbone.body.{list(backbone.body)[-1]}"
    if hasattr(backbone, "features"):  # SSD: up to the map of the first scale
        return "backbone.features" if type(backbone).__name__ == "SSDFeatureExtractorVGG" else "backbone.features.0"
    return f"backbone.{list(backbone)[-1]}"


def _normalised(detector: Any, pictures: Float[Tensor, "batch 3 h w"]) -> tuple[Tensor, Any]:
    """What the detector's own transform makes of pictures, but for the size, which Preprocess decides."""
    from torchvision.models.detection.image_list import ImageList

    inputs = torch.stack([detector.transform.normalize(picture) for picture in pictures])
    return inputs, ImageList(inputs, [(inputs.shape[-2], inputs.shape[-1])] * len(inputs))


def _maps(detector: Any, inputs: Tensor) -> dict[str, Tensor]:
    found = detector.backbone(inputs)
    return {"0": found} if isinstance(found, Tensor) else found


def _two_stages(detector: Any, pictures: Tensor) -> Proposals:
    """Faster R-CNN: each proposed region with the box that is regressed for its likeliest class."""
    inputs, images = _normalised(detector, pictures)
    maps = _maps(detector, inputs)
    regions, _ = detector.rpn(images, maps)
    heads = detector.roi_heads
    pooled = heads.box_head(heads.box_roi_pool(maps, regions, images.image_sizes))
    logits, shifts = heads.box_predictor(pooled)
    boxes = heads.box_coder.decode(shifts, regions)
    likeliest = logits[:, 1:].argmax(dim=1) + 1
    chosen = boxes[torch.arange(len(boxes), device=boxes.device), likeliest]
    odds = log_odds(logits)[:, 1:]
    counts = [len(one) for one in regions]
    most = max(1, *counts)
    parts = [
        Proposals(box[None], box.new_ones(1, len(box)), odd[None]).surest(most)
        for box, odd in zip(_clipped(chosen, inputs).split(counts), odds.split(counts), strict=True)
    ]
    return _stacked(parts)


def _one_stage(detector: Any, pictures: Tensor, *, softmax: bool) -> Proposals:
    """RetinaNet and SSD: each anchor with its shifted box; under a softmax the first class is background."""
    boxes, answers = _shifted(detector, pictures, "decode_single")
    logits = answers["cls_logits"]
    return Proposals(boxes, boxes.new_ones(boxes.shape[:2]), log_odds(logits)[..., 1:] if softmax else logits)


def _centred(detector: Any, pictures: Tensor) -> Proposals:
    """FCOS: each cell with its box; how near the middle it lies is its objectness."""
    boxes, answers = _shifted(detector, pictures, "decode")
    return Proposals(boxes, answers["bbox_ctrness"][..., 0].sigmoid(), answers["cls_logits"])


def _shifted(detector: Any, pictures: Tensor, decode: str) -> tuple[Tensor, dict[str, Tensor]]:
    """The box that every anchor is shifted to, within the picture, and all that the head says of the anchors."""
    inputs, images = _normalised(detector, pictures)
    maps = list(_maps(detector, inputs).values())
    answers = detector.head(maps)
    anchors = detector.anchor_generator(images, maps)
    read = getattr(detector.box_coder, decode)
    boxes = [read(shifts, own) for shifts, own in zip(answers["bbox_regression"], anchors, strict=True)]
    return _clipped(torch.stack(boxes), inputs), answers


def seen_transformers(spec: str, module: nn.Module, config: Any) -> tuple[Proposing, str | None]:
    """A detector of the DETR family as a model of pictures, and its default layer: the encoder's last, if it has one.

    Raises LoadError for one that is read another way.
    """
    read = _QUERIES.get(config.model_type)
    if read is None:
        raise LoadError(spec, f"it is a {config.model_type} detector.", f"Read are {', '.join(_QUERIES)}.")
    layers = [name for name, _ in module.named_modules() if re.fullmatch(r"(.*\.)?encoder\.layers?\.\d+", name)]
    return Proposing(module, read, config.num_labels), f"{DETECTOR}{layers[-1]}" if layers else None


def _queries_by_softmax(detector: Any, pictures: Tensor) -> Proposals:
    """Each query with its box; the last class is "nothing"."""
    answer = detector(pixel_values=pictures)
    return _of_queries(answer, log_odds(answer.logits)[..., :-1], pictures)


def _queries_by_sigmoid(detector: Any, pictures: Tensor) -> Proposals:
    answer = detector(pixel_values=pictures)
    return _of_queries(answer, answer.logits, pictures)


def _of_queries(answer: Any, odds: Tensor, pictures: Tensor) -> Proposals:
    """Boxes come as middle and extent in parts of the picture."""
    height, width = pictures.shape[-2:]
    middle, extent = answer.pred_boxes[..., :2], answer.pred_boxes[..., 2:]
    sides = torch.cat([middle - extent / 2, middle + extent / 2], dim=-1)
    boxes = sides * torch.tensor([width, height, width, height]).to(sides)
    return Proposals(boxes, boxes.new_ones(boxes.shape[:2]), odds)


def _painted(segmenter: Any, pictures: Tensor) -> Float[Tensor, "batch classes h w"]:
    return segmenter(pictures)["out"]


def _clipped(boxes: Tensor, inputs: Tensor) -> Tensor:
    from torchvision.ops import clip_boxes_to_image

    return clip_boxes_to_image(boxes, (inputs.shape[-2], inputs.shape[-1]))


def _stacked(parts: list[Proposals]) -> Proposals:
    return Proposals(
        torch.cat([one.boxes for one in parts]), torch.cat([one.objectness for one in parts]),
        torch.cat([one.odds for one in parts]),
    )  # fmt: skip


# How each is read, and how many of its first classes are background that competes with all others.
_DETECTORS: dict[str, tuple[Read, int]] = {
    "FasterRCNN": (_two_stages, 1),
    "MaskRCNN": (_two_stages, 1),
    "KeypointRCNN": (_two_stages, 1),
    "RetinaNet": (partial(_one_stage, softmax=False), 0),
    "FCOS": (_centred, 0),
    "SSD": (partial(_one_stage, softmax=True), 1),
}
_QUERIES: dict[str, Read] = {
    "detr": _queries_by_softmax,
    "conditional_detr": _queries_by_sigmoid,
}
_SEGMENTERS = ("FCN", "DeepLabV3", "LRASPP")
