"""One probing pass finds kinds, grids and the layer to look at, for every family of model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pellucid.errors import MethodUnavailable, UnknownLayer
from pellucid.subject import wrap
from tests.guests import unchanged
from tests.nets import Shared, TinyViT, Twin

timm = pytest.importorskip("timm", exc_type=ImportError)

# architecture, its size, the default layer, kind, order, grid, prefix tokens
FAMILIES = [
    ("resnet18", {}, (64, 96), "layer4", "map", "nchw", (2, 3), 0),
    (
        "vit_tiny_patch16_224",
        {"img_size": (64, 96), "depth": 3},
        (64, 96),
        "blocks.2.norm1",
        "tokens",
        "btc",
        (4, 6),
        1,
    ),
    (
        "deit_tiny_distilled_patch16_224",
        {"img_size": 64, "depth": 2},
        (64, 64),
        "blocks.1.norm1",
        "tokens",
        "btc",
        (4, 4),
        2,
    ),
    (
        "vit_small_patch14_reg4_dinov2",
        {"img_size": 70, "depth": 2, "num_classes": 5},
        (70, 70),
        "blocks.1.norm1",
        "tokens",
        "btc",
        (5, 5),
        5,
    ),
    ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2}, (64, 64), "norm", "map", "nhwc", (2, 2), 0),
    ("convnext_atto", {}, (97, 131), "stages", "map", "nchw", (3, 4), 0),
    ("mixer_s32_224", {"img_size": 64}, (64, 64), "norm", "tokens", "btc", (2, 2), 0),
    ("resnetv2_50x1_bit", {"num_classes": 5}, (64, 64), "norm", "map", "nchw", (2, 2), 0),
    ("poolformer_s12", {}, (64, 64), "stages", "map", "nchw", (2, 2), 0),
    ("levit_128s", {"img_size": 224}, (224, 224), "stages", "tokens", "btc", (4, 4), 0),
]


@pytest.mark.parametrize("case", FAMILIES, ids=lambda case: case[0])
def test_the_grid_and_default_layer_of_every_family(case: tuple) -> None:
    name, options, size, layer, kind, order, grid, prefix = case
    net = timm.create_model(name, **options)
    with unchanged(net):
        found = wrap(net, input_size=size).layers.default
    assert found is not None
    assert (found.name, found.kind, found.order, found.grid, found.prefix_tokens) == (layer, kind, order, grid, prefix)


def test_torchvision_transformers_of_rows_without_batch_first() -> None:
    torchvision = pytest.importorskip("torchvision", exc_type=ImportError)
    net = torchvision.models.VisionTransformer(64, 16, 2, 2, 24, 48, num_classes=3)
    found = wrap(net, input_size=(64, 64)).layers.default
    assert found is not None and found.name == "encoder.layers.encoder_layer_1.ln_1" and found.grid == (4, 4)


def test_a_layer_that_is_called_twice_has_two_addresses() -> None:
    tree = wrap(Shared(), input_size=(8, 9)).layers
    assert tree["conv#1"].index < tree["conv#2"].index
    assert [layer.name for layer in tree.grid_layers] == ["stem", "conv#1", "conv#2"]


def test_a_patch_layer_and_blocks_share_the_grid() -> None:
    tree = wrap(TinyViT(), input_size=(12, 16)).layers
    assert tree["patch"].grid == tree["blocks.1"].grid == (3, 4)
    assert tree.blocks == ("blocks.0", "blocks.1")
    assert "blocks.1" in tree.silent and "blocks.0" not in tree.silent
    assert "patch tokens" in tree.why


def test_a_model_without_a_grid_says_so() -> None:
    perceptron = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 7), nn.ReLU(), nn.Linear(7, 4))
    tree = wrap(perceptron, input_size=(8, 8)).layers
    assert tree.default is None
    with pytest.raises(MethodUnavailable, match=r"grad_cam.*none of its layers lies on a grid.*integrated_gradients"):
        tree.chosen("grad_cam")


def test_an_unknown_layer_names_the_nearest() -> None:
    with pytest.raises(UnknownLayer, match=r"no layer 'secnd'\. Nearest: second"):
        wrap(Twin(), input_size=(8, 8)).layers["secnd"]


def test_a_black_box_has_no_layers() -> None:
    with pytest.raises(MethodUnavailable, match="black box"):
        wrap(lambda inputs: inputs.mean((2, 3)), input_size=(8, 8)).layers


def test_attention_weights_are_not_taken_for_a_picture() -> None:
    net = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1)
    net.blocks[0].attn.fused_attn = False
    tree = wrap(net, input_size=(64, 64)).layers
    assert tree["blocks.0.attn.attn_drop"].kind == "none"


def test_the_card_of_a_model_may_name_the_layer() -> None:
    tree = wrap(Twin(), input_size=(8, 8), default_layer="first", why_layer="measured").layers
    assert tree.default is not None and (tree.default.name, tree.why) == ("first", "measured")


def test_grids_follow_the_size_of_the_input() -> None:
    model = wrap(Twin())
    assert model.layers_at((32, 48))["second"].grid == (16, 24)
    assert model.layers_at((33, 21))["second"].grid == (17, 11)


def test_a_model_of_grey_pictures_is_probed_with_one_channel() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model = wrap(net, input_size=(28, 28))
    assert model.channels == 1 and model.layers.default is not None
    assert model.predict(torch.zeros(2, 1, 28, 28)).shape == (2, 2)
