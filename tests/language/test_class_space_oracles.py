"""A transformer in the space of its classes: sums are checked, ranks have a known mean, planted values are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import RequestError, ShapeError, TowerUnsupported
from pellucid.language.class_space import ClassSpace, _gap, class_space
from pellucid.language.class_tokens import kept, token_importance
from pellucid.stories.blocks import describe_blocks
from pellucid.subject import VisionModel, wrap
from pellucid.testbed import scenes
from pellucid.values import Seed
from tests.language.test_textspan_oracles import TOWERS, noise
from tests.oracles.nets import Twin, pictures, tiny_vit

LABELS = torch.tensor([1, 3, 0])


def net() -> tuple[Any, VisionModel]:
    network = tiny_vit().double()
    return network, wrap(network, input_size=(32, 32))


@pytest.mark.parametrize("kind", TOWERS)
def test_read_block_by_block_a_tower_says_what_it_says_as_a_whole(kind: str) -> None:
    found = class_space(TOWERS[kind](), noise(), LABELS, batch=2)
    assert found.error < 1e-9 and found.classes == 4
    for block in found.blocks:
        shares = [block.patches, block.attention.raises, block.mlp.first, block.mlp.keyed, block.attention.composed]
        assert all(0 <= share <= 1 for share in shares), block
    has_class_token = "mean" not in kind and "registers" not in kind
    assert all((block.read == block.read) == has_class_token for block in found.blocks)


def test_ranks_are_those_of_the_map_and_of_the_model() -> None:
    """The same ranks come from the engine, which runs the model's own head."""
    _, model = net()
    inputs = noise()
    found = class_space(model, inputs, LABELS)
    for block in found.blocks:
        maps = pl.attribute(model, inputs.float(), "class_embedding", target=[pl.Class(one) for one in LABELS.tolist()],
                            block=block.block, measure="rank")  # fmt: skip
        cells = functional.interpolate(maps.values[:, None], size=(4, 4), mode="area")
        assert block.patches == pytest.approx(float(cells.mean()), abs=0.02)
    said = model.predict(inputs)
    ranks = (said > said.gather(1, LABELS[:, None])).sum(dim=1)
    assert found.blocks[-1].read == pytest.approx(float((1 - ranks / 5).mean()))


def test_over_all_classes_the_mean_rank_is_chance() -> None:
    _, model = net()
    every = [class_space(model, noise(), torch.full((3,), label)) for label in range(5)]
    for place in range(3):
        assert sum(one.blocks[place].patches for one in every) / 5 == pytest.approx(every[0].chance)
    assert every[0].chance == pytest.approx(0.6)
    for one in every:
        for block in one.blocks:  # the other four of five classes, at the class token
            rest = block.controls.controls["of other classes"]
            assert 0.2 <= rest <= 1 and (block.read + 4 * rest) / 5 == pytest.approx(one.chance)


def test_an_mlp_that_adds_nothing_raises_nothing() -> None:
    network, model = net()
    with torch.no_grad():
        network.blocks[1].mlp.fc2.weight.zero_()
        network.blocks[1].mlp.fc2.bias.zero_()
    found = class_space(model, noise(), LABELS).blocks[1].mlp
    assert found.raises == 0 and found.composed == 0 and found.value == 0


def test_what_attention_raises_is_counted_token_by_token() -> None:
    network, model = net()
    inputs = noise()
    tokens = network._pos_embed(network.patch_embed(inputs))
    say = lambda stream: network.head(network.norm(stream)).gather(2, LABELS[:, None, None].expand(-1, 17, 1))
    after = tokens + network.blocks[0].attn(network.blocks[0].norm1(tokens))
    expected = float((say(after) > say(tokens)).double().mean())
    assert class_space(model, inputs, LABELS).blocks[0].attention.raises == pytest.approx(expected)


def planted() -> tuple[Any, VisionModel]:
    """The first five keys of the second MLP add the directions of the five classes."""
    network, model = net()
    with torch.no_grad():
        directions = functional.normalize(network.head.weight * network.norm.weight, dim=1)
        network.blocks[1].mlp.fc2.weight[:, :5] = 3 * directions.T
    return network, model


def test_planted_values_are_found_and_shuffled_ones_are_not() -> None:
    _, model = planted()
    found = class_space(model, noise(), LABELS).blocks[1].mlp
    assert found.value == pytest.approx(1) and found.shuffled < 0.9 and found.p < 0.5


def test_keys_that_fire_for_a_class_are_counted_for_it_alone() -> None:
    """Key k is made to fire at pictures of class k only: the bias of the keys decides."""
    network, model = planted()
    with torch.no_grad():
        network.blocks[1].mlp.fc1.weight.zero_()
        network.blocks[1].mlp.fc1.bias.fill_(-5.0)
        network.blocks[1].mlp.fc1.bias[3] = 5.0
        network.blocks[1].mlp.fc2.weight[:, 5:] = 0  # so that only five values are like any class
    found = class_space(model, noise(), torch.tensor([3, 3, 3])).blocks[1].mlp
    assert found.keyed == 1


def test_gaps_between_object_and_ground_are_tested_by_shuffling() -> None:
    objects = torch.zeros(4, 32, 32, dtype=torch.bool)
    objects[:, 8:24, 8:24] = True
    inside = torch.nn.functional.adaptive_avg_pool2d(objects[:, None].double(), (4, 4)).flatten(1)
    high, low, p = _gap(inside, objects, Seed(0))
    assert (high, low) == (1, 0) and p == pytest.approx(1 / 301)
    assert _gap(torch.full((4, 16), 0.3), objects, Seed(0))[2] == 1
    assert all(value != value for value in _gap(inside, None, Seed(0)))


# -- tokens that speak for the class --------------------------------------------------------------------------------


def test_importance_is_the_slope_of_the_cross_entropy_on_attention() -> None:
    """By finite differences: one link of one head of each block at a time, in double precision."""
    network, model = net()
    inputs = noise(1)
    found = token_importance(model, inputs, torch.tensor([2]))
    assert found.shape == (1, 16)
    expected = torch.zeros(16, dtype=torch.float64)
    tokens = network._pos_embed(network.patch_embed(inputs))
    with torch.no_grad():
        for block in network.blocks:
            query, key, value = (
                block.attn.qkv(block.norm1(tokens)).unflatten(2, (3, 2, 8)).permute(2, 0, 3, 1, 4).unbind(0)
            )
            links = (query @ key.transpose(2, 3) * 8**-0.5).softmax(dim=-1)
            for patch in range(16):
                for head in range(2):
                    step = torch.zeros_like(links)
                    step[0, head, 0, 1 + patch] = 1e-5
                    more, less = (loss(network, block, links + sign * step, value) for sign in (1, -1))
                    expected[patch] -= (more - less) / 2e-5
            tokens = block(tokens)
    assert_close(found[0].double(), expected, rtol=1e-4, atol=1e-7)


def loss(network: Any, block: Any, links: Tensor, value: Tensor) -> Tensor:
    added = block.attn.proj((links @ value).transpose(1, 2).flatten(2))[:, 0]
    return functional.cross_entropy(network.head(network.norm(added)), torch.tensor([2]))


def test_the_patches_that_speak_for_the_class_keep_it() -> None:
    model, drawn = pl.load("testbed:dual"), scenes(4200, 60)
    inputs, labels = torch.as_tensor(drawn.tensor()), torch.from_numpy(drawn.labels.copy()).long()
    half, quarter = kept(model, inputs, labels)
    assert quarter.whole > 0.9 and quarter.most > quarter.any + 0.1 and quarter.least < quarter.any - 0.1
    assert half.most > half.least + 0.2
    assert "25%" in str(quarter)


# -- as a story -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told() -> ClassSpace:
    return describe_blocks(pl.load("testbed:vit"), scenes_drawn=60).space


def test_the_testbeds_net_tells_the_class_at_its_class_token_before_its_patches(told: ClassSpace) -> None:
    """The answer of 60 scenes: read at the last block it is nearly always first, and was so before."""
    assert told.error < 1e-4 and len(told.blocks) == 4
    assert told.blocks[-1].read > 0.99 and told.blocks[0].patches < told.blocks[0].read
    assert told.blocks[-1].mlp.value > told.blocks[-1].mlp.shuffled
    assert all(block.p <= 0.05 and block.inside < block.beside for block in told.blocks)
    assert told.beats_controls and told.blocks[-1].controls.own > 0.99 > 0.7 > told.blocks[-1].shuffled
    assert "by chance" in str(told) and set(told.to_dict()) >= {"blocks", "chance", "error"}


def test_pictures_of_ones_own_are_of_the_class_of_their_folder_or_the_first(tmp_path: Path) -> None:
    model, drawn = pl.load("testbed:vit"), scenes(9, 3)
    for place, name in enumerate((model.labels[2], model.labels[5], "elsewhere")):
        (tmp_path / name).mkdir()
        Image.fromarray(drawn.pixels[place]).save(tmp_path / name / "a.png")
    found = describe_blocks(model, [str(tmp_path / "*" / "*.png")])
    assert found.space.pictures == 3 and "1 of 3 pictures" in found.notes[0]
    assert all(block.inside != block.inside for block in found.space.blocks)


def test_what_cannot_be_read_is_refused() -> None:
    _, model = net()
    with pytest.raises(ShapeError, match="labels"):
        class_space(model, noise(), LABELS[:2])
    with pytest.raises(ShapeError, match="objects"):
        class_space(model, noise(), LABELS, objects=torch.zeros(3, 16, 16, dtype=torch.bool))
    with pytest.raises(TowerUnsupported):
        class_space(wrap(Twin("module"), input_size=(32, 32)), pictures(3, 32, 32), LABELS)
    with pytest.raises(RequestError, match="Give pictures"):
        describe_blocks(model)
    assert isinstance(model.network, nn.Module)
