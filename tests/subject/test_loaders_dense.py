"""Detectors and segmenters of torchvision and transformers: what is read is what they themselves answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import pellucid as pl
from pellucid.errors import LoadError
from pellucid.subject.places import box_iou
from pellucid.values import Box, Pixels, Proposals

COMPARED = 40  # detections
DETECTORS: dict[str, tuple[int, int]] = {  # input at which their own transform changes no size; background
    "fasterrcnn_mobilenet_v3_large_320_fpn": (320, 1),
    "ssdlite320_mobilenet_v3_large": (320, 1),
    "retinanet_resnet50_fpn": (128, 0),
    "fcos_resnet50_fpn": (128, 0),
}
SEGMENTERS = ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50")


def picture(side: int) -> torch.Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))


def inside(model: pl.VisionModel, name: str) -> Any:
    """torchvision's own module, in the one that reads it."""
    assert model.network is not None
    return model.network.get_submodule(name)


def own_detections(detector: Any, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """What torchvision answers, with whatever it is unsure of."""
    heads = getattr(detector, "roi_heads", detector)
    heads.score_thresh = 0.0
    if detector.transform.fixed_size is None:
        detector.transform.min_size, detector.transform.max_size = (inputs.shape[-2],), inputs.shape[-1]
    with torch.no_grad():
        return detector(list(inputs))[0]


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detection_is_among_the_proposals(name: str) -> None:
    """With its box and its score; of two stages where the box is that of the region's likeliest class."""
    side, background = DETECTORS[name]
    inputs = picture(side)
    model = pl.load(f"torchvision:{name}@random", seed=2)
    assert model.places is not None and model.layers_at((side, side)).default is not None
    said = model.read_layer(inputs, "proposals")
    proposals = Proposals.unpacked(said, model.places.classes)
    own = own_detections(inside(model, "detector"), inputs)
    chances = proposals.odds[0].sigmoid()
    if name.startswith("fcos"):
        chances = (chances * proposals.objectness[0][:, None]).sqrt()
    boxes, labels, scores = (own[key][:COMPARED] for key in ("boxes", "labels", "scores"))
    assert len(boxes) == COMPARED
    agreed = 0
    for box, label, score in zip(boxes, (labels - background).tolist(), scores, strict=True):
        near = (proposals.boxes[0] - box).abs().amax(dim=1) < 1e-2
        agreed += bool(((chances[near, label] - score).abs() < 1e-5).any())
    least = COMPARED if background == 0 or name.startswith("ssd") else COMPARED // 8
    assert agreed >= least, f"{agreed} of {COMPARED}"


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn"])
def test_a_box_has_a_gradient_and_a_cam(name: str) -> None:
    inputs = picture(DETECTORS[name][0])
    model = pl.load(f"torchvision:{name}@random")
    ((first, *_),) = model.finds(inputs, least=0.0)
    assert isinstance(first, Box) and model.target_name(first)
    heats = pl.attribute(model, inputs, ["grad_cam", "gradient"], target=first)
    assert sum(heat.cost["forwards"] for heat in heats.values()) == 1
    assert all(heat.values.isfinite().all() for heat in heats.values()) and heats["gradient"].values.any()


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_segmenter_is_read_at_every_pixel(name: str) -> None:
    inputs = picture(64)
    model = pl.load(f"torchvision:{name}@random")
    assert len(model.labels) == 21
    with torch.no_grad():
        own = inside(model, "segmenter")(inputs)["out"]
    torch.testing.assert_close(model.read_layer(inputs, "pixels"), own)
    found = model.finds(inputs)[0]
    assert sum(int(one.mask.sum()) for one in found if isinstance(one, Pixels) and one.mask is not None) == 64 * 64
    heat = pl.attribute(model, inputs, "gradient", target=found[0])
    assert heat.values.any()


def test_a_module_of_ones_own_is_read_the_same_way() -> None:
    from torchvision.models import get_model

    module = get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=4)
    model = pl.wrap(module, labels=["fin", "tail", "eye"])
    assert model.name == "SSD" and model.input_size == (320, 320) and model.activation == "sigmoid"
    ((first, *_),) = model.finds(picture(320), least=0.0)
    assert isinstance(first, Box) and len(first.chances) == 3
    assert module.training  # as it was given: looked at in evaluation mode, and left as it was


def test_an_untrained_detector_says_so() -> None:
    assert "never trained" in pl.load("torchvision:ssdlite320_mobilenet_v3_large@random").notes[0]


TINY: dict[str, Any] = {
    "use_timm_backbone": False, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_queries": 9, "num_labels": 5,
}  # fmt: skip


@pytest.mark.parametrize("kind", ["Detr", "ConditionalDetr"])
def test_queries_of_a_transformer_are_its_proposals(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], out_features=["stage4"]
    )
    config = getattr(transformers, f"{kind}Config")(backbone_config=backbone, **TINY)
    torch.manual_seed(0)
    net = getattr(transformers, f"{kind}ForObjectDetection")(config).eval()
    net.save_pretrained(tmp_path)
    model = pl.load(f"hf:{tmp_path}", input_size=(64, 96))
    inputs = torch.rand(2, 3, 64, 96)
    proposals = Proposals.unpacked(model.read_layer(inputs, "proposals"), 5)
    with torch.no_grad():
        own = net(pixel_values=inputs)
    chances = own.logits.softmax(dim=-1)[..., :-1] if kind == "Detr" else own.logits.sigmoid()
    torch.testing.assert_close(proposals.odds[:, :9].sigmoid(), chances, rtol=1e-4, atol=1e-5)
    middle = own.pred_boxes[..., :2] * torch.tensor([96.0, 64.0])
    torch.testing.assert_close(proposals.boxes[:, :9].unflatten(2, (2, 2)).mean(dim=2), middle, rtol=1e-4, atol=1e-3)
    assert not proposals.objectness[:, 9:].any()
    layer = model.layers.default
    assert layer is not None and layer.name == "detector.model.encoder.layers.0" and layer.grid == (2, 3)
    boxes = [found[0] for found in model.finds(inputs, least=0.0)]
    assert pl.attribute(model, inputs, "grad_cam", target=boxes).values.isfinite().all()


def test_a_detector_that_is_read_another_way_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.YolosConfig(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                                      image_size=[64, 96], num_detection_tokens=7, num_labels=5)  # fmt: skip
    transformers.YolosForObjectDetection(config).save_pretrained(tmp_path)
    with pytest.raises(LoadError, match="yolos detector. Read are detr, conditional_detr"):
        pl.load(f"hf:{tmp_path}")


def test_overlaps_are_those_of_the_boxes() -> None:
    one = torch.tensor([[0.0, 0.0, 4.0, 4.0], [8.0, 8.0, 9.0, 9.0]])
    other = torch.tensor([[2.0, 0.0, 6.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(box_iou(one, other), torch.tensor([[1 / 3, 0.0], [0.0, 0.0]]))
