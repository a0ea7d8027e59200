"""A dual encoder's embedding as a sum of its parts, and its heads in texts: sums are exact, planted heads are found."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from open_clip.transformer import VisionTransformer
from torch import nn
from torch.nn import functional

import pellucid as pl
from pellucid.errors import ModelError, RequestError, TowerUnsupported
from pellucid.language.residual import Contributions, Head, decompose
from pellucid.language.textspan import heads_naming, rebuilt, spell_heads, text_span, zero_shot_masks
from pellucid.subject.loaders.dual import DualEncoder
from pellucid.testbed import scenes
from pellucid.testbed.captions import PLACES
from pellucid.testbed.fields import HUES, WORDS

EXACT, CLOSE = 1e-10, 1e-4
SIZE, DIM = 32, 16
SEED = 7000


def noise(count: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wrapped(tower: nn.Module) -> pl.VisionModel:
    """A tower with random weights, in float64, as it is loaded: beside texts."""
    torch.manual_seed(0)
    for parameter in tower.parameters():  # biases and norms that begin at 0 and 1 would hide mistakes
        nn.init.normal_(parameter, std=0.2)
    net = DualEncoder(tower, functional.normalize(torch.randn(4, DIM), dim=1), scale=1.0)
    return pl.wrap(net.double().eval(), input_size=(SIZE, SIZE))


def of_open_clip(**settings: object) -> pl.VisionModel:
    return wrapped(VisionTransformer(SIZE, 8, 48, 3, 4, 2.0, output_dim=DIM, **settings))  # type: ignore[arg-type]


def of_timm(**settings: object) -> pl.VisionModel:
    usual: dict[str, object] = {"embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": DIM}
    return wrapped(timm.models.VisionTransformer(SIZE, 8, **{**usual, **settings}))  # type: ignore[arg-type]


def of_transformers() -> pl.VisionModel:
    from transformers import CLIPVisionConfig
    from transformers.models.clip.modeling_clip import CLIPVisionModel

    class PictureSide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
            self.vision_model = CLIPVisionModel(CLIPVisionConfig(image_size=SIZE, patch_size=8, **sizes))
            self.visual_projection = nn.Linear(48, DIM, bias=False)

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.visual_projection(self.vision_model(pixel_values=pictures).pooler_output)

    return wrapped(PictureSide())


TOWERS = {
    "open_clip, class token": of_open_clip,
    "open_clip, mean": lambda: of_open_clip(pool_type="avg"),
    "open_clip, norm after the mean": lambda: of_open_clip(pool_type="avg", final_ln_after_pool=True),
    "open_clip, layer scale": lambda: of_open_clip(ls_init_value=0.1),
    "timm, class token": of_timm,
    "timm, mean": lambda: of_timm(global_pool="avg"),
    "timm, mean of normalised tokens": lambda: of_timm(global_pool="avg", fc_norm=False),
    "timm, registers": lambda: of_timm(reg_tokens=2, class_token=False, global_pool="avg"),
    "timm, queries and keys normalised, layer scale": lambda: of_timm(qk_norm=True, init_values=0.1),
    "transformers, CLIP": of_transformers,
}


@pytest.mark.parametrize("kind", TOWERS)
def test_parts_of_a_tower_add_up_to_its_embedding(kind: str) -> None:
    model, pictures = TOWERS[kind](), noise()
    parts = decompose(model, pictures, batch=2)
    with torch.no_grad():
        assert model.network is not None
        embedding = model.network.image(pictures)
    assert relative(parts.total, embedding) < EXACT
    torch.testing.assert_close(parts.patches.sum(dim=1) + parts.prefix, parts.heads.sum(dim=(1, 2)))
    torch.testing.assert_close(parts.normalised().total, functional.normalize(embedding, dim=1))
    assert parts.grid == (4, 4)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


@pytest.fixture(scope="module")
def dual() -> pl.VisionModel:
    return pl.load("testbed:dual")


@pytest.fixture(scope="module")
def seen(dual: pl.VisionModel) -> Contributions:
    return decompose(dual, scenes(SEED, 200).tensor())


def test_parts_of_the_testbeds_encoder_add_up_in_either_precision(dual: pl.VisionModel, seen: Contributions) -> None:
    assert seen.error < CLOSE and relative(seen.total, seen.embedding) < CLOSE
    assert dual.network is not None
    fine = dual.with_module(copy.deepcopy(dual.network).double())
    assert decompose(fine, scenes(SEED, 4).tensor().double()).error < EXACT


def test_what_is_read_at_patches_and_prefix_is_what_mlps_and_the_start_write() -> None:
    parts = decompose(of_timm(global_pool="avg"), noise())  # the class token is not read, so patches hold all of it
    torch.testing.assert_close(parts.places.sum(dim=1), parts.mlps.sum(dim=1) + parts.start)


def test_a_head_that_writes_nothing_gets_nothing() -> None:
    """The paper's equal shares of the mean would give it something."""
    model = of_timm()
    attention = model.network.image.blocks[1].attn  # type: ignore[union-attr]
    with torch.no_grad():
        attention.proj.weight[:, 16:32] = 0  # the second head's columns
        attention.proj.bias.zero_()
    assert float(decompose(model, noise()).of(Head(1, 1)).abs().max()) == 0


def test_ablating_a_head_of_the_last_layer_is_what_running_without_it_gives_but_for_the_norm() -> None:
    """Without a last norm direct and total effect of the last layer's heads agree exactly, up to the last MLP."""
    model = of_timm(final_norm=False)
    block = model.network.image.blocks[1]  # type: ignore[union-attr]
    with torch.no_grad():
        block.mlp.fc2.weight.zero_()
    pictures, whole = noise(), decompose(model, noise())
    with torch.no_grad():
        block.attn.proj.weight[:, :16] = 0
        without = model.network.image(pictures)  # type: ignore[union-attr]
        block.attn.proj.bias.zero_()
        bias = without - model.network.image(pictures)  # type: ignore[union-attr]
    torch.testing.assert_close(whole.total - whole.of(Head(1, 0)), without - bias / 3)


def test_mean_ablation_of_everything_leaves_one_embedding_for_all(seen: Contributions) -> None:
    left = seen.ablated(seen.all_heads, mlps=range(4), start=True)
    torch.testing.assert_close(left, seen.embedding.mean(dim=0).expand_as(left), rtol=1e-4, atol=1e-4)


def test_towers_that_are_no_sum_are_refused_with_the_reason() -> None:
    with pytest.raises(TowerUnsupported, match="pools by attention"):
        decompose(of_timm(global_pool="map", class_token=False), noise())
    with pytest.raises(TowerUnsupported, match="pools by attention"):
        decompose(of_open_clip(attentional_pool=True), noise())
    with pytest.raises(TowerUnsupported, match="no vision transformer"):
        decompose(pl.load("testbed:cnn"), scenes(1, 2).tensor())
    with pytest.raises(TowerUnsupported, match="black box"):
        decompose(pl.wrap(lambda pictures: pictures.mean(dim=(2, 3)), labels=["a", "b", "c"]), noise())


def test_a_block_that_does_more_than_it_says_is_caught() -> None:
    model = of_timm()

    class Louder(type(model.network.image.blocks[0])):  # type: ignore[union-attr,misc]
        def forward(self, tokens: torch.Tensor, **settings: object) -> torch.Tensor:
            return 1.01 * super().forward(tokens)

    Louder.__name__ = "Block"
    model.network.image.blocks[0].__class__ = Louder  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="add up to something else"):
        decompose(model, noise())


def test_the_model_is_left_as_it_was(dual: pl.VisionModel) -> None:
    assert dual.network is not None
    before = {name: value.clone() for name, value in dual.network.state_dict().items()}
    dual.network.train()
    decompose(dual, scenes(SEED, 2).tensor())
    assert all(module.training for module in dual.network.modules())
    dual.network.eval()
    assert all(torch.equal(before[name], value) for name, value in dual.network.state_dict().items())


def planted(red: torch.Tensor, strength: float = 5.0) -> tuple[Contributions, Head]:
    """Contributions of 60 pictures in which head (1, 2) writes `red`, more or less of it, and others write noise."""
    draw = torch.Generator().manual_seed(3)
    heads = 0.05 * torch.randn(60, 2, 4, DIM, generator=draw)
    heads[:, 1, 2] += strength * torch.rand(60, 1, generator=draw) * red
    zeros = torch.zeros(60, 2, DIM)
    return Contributions(heads.sum(dim=(1, 2)), heads, zeros, zeros[:, 0], zeros[0, 0], torch.zeros(60, 4, DIM),
                         zeros[:, 0], torch.zeros(60, 4, DIM), (2, 2), 0.0), Head(1, 2)  # fmt: skip


def pool(count: int = 40) -> tuple[list[str], torch.Tensor]:
    directions = torch.randn(count, DIM, generator=torch.Generator().manual_seed(9))
    return ["red", *[f"word {number}" for number in range(1, count)]], functional.normalize(directions, dim=1)


def test_the_first_text_of_a_head_that_writes_red_is_red() -> None:
    texts, directions = pool()
    parts, head = planted(directions[0])
    spelled = {one.head: one for one in spell_heads(parts, texts, directions, count=3)}
    assert spelled[head].texts[0].text == "red"
    assert spelled[head].texts[0].explained > 0.95 and spelled[head].texts[0].stability == 1
    assert spelled[head].beats_controls
    assert heads_naming(spelled.values(), lambda text: text == "red", among=1)[0] == head


def test_a_head_of_noise_does_not_beat_its_controls_more_often_than_by_chance() -> None:
    """Two controls and the texts are drawn alike, so the texts win in a third of the cases."""
    won = 0
    for seed in range(30):
        draw = torch.Generator().manual_seed(seed)
        parts, _ = planted(torch.zeros(DIM))
        directions = functional.normalize(torch.randn(40, DIM, generator=draw), dim=1)
        (one,) = spell_heads(parts, ["word"] * 40, directions, heads=[Head(0, 0)], resamples=0, seed=seed)
        won += one.beats_controls
    assert won <= 18  # more than 18 of 30 at a third each has a chance below 0.2 %


def test_texts_explain_ever_more_and_rebuild_the_head_when_they_span_it() -> None:
    texts, directions = pool()
    parts, head = planted(directions[0])
    rows = parts.of(head)
    found = text_span(rows, directions, DIM)
    assert all(gain >= -1e-6 for gain in found.gains)
    torch.testing.assert_close(rebuilt(rows, directions, DIM), rows, rtol=1e-3, atol=1e-4)
    assert len(texts) == len(directions)


def test_a_text_that_lies_in_the_span_of_those_chosen_is_never_chosen() -> None:
    _, directions = pool(3)
    doubled = torch.cat([directions, 2 * directions, directions.sum(dim=0, keepdim=True)])
    parts, head = planted(directions[0])
    assert len(text_span(parts.of(head), doubled, 7).chosen) == 3


def test_texts_without_an_embedding_each_are_refused() -> None:
    parts, _ = planted(torch.zeros(DIM))
    with pytest.raises(RequestError, match="one each"):
        spell_heads(parts, ["one"], torch.zeros(2, DIM))


def spoken_pool(model: pl.VisionModel) -> tuple[list[str], torch.Tensor]:
    texts = [*PLACES, *(f"a {hue} bird" for hue in HUES), *(f"{wing} wings" for wing in WORDS["wing"]),
             *(f"a {tail} tail" for tail in WORDS["tail"]), *(f"a {beak} beak" for beak in WORDS["beak"]),
             "facing left", "facing right", "hovering", "standing", "no plume"]  # fmt: skip
    assert model.text_encoder is not None
    return texts, torch.stack([model.text_encoder(text) for text in texts])


def test_a_head_of_the_testbeds_encoder_reads_the_tail(dual: pl.VisionModel, seen: Contributions) -> None:
    texts, directions = spoken_pool(dual)
    spelled = spell_heads(seen.normalised(), texts, directions, count=3, resamples=5)
    best = max(spelled, key=lambda one: one.explained)
    assert {said.text for said in best.texts[:2]} == {"a forked tail", "a fanned tail"}, str(best)
    assert best.explained > 0.8 and best.beats_controls


def test_masks_find_where_a_text_lies() -> None:
    """Patches that write a text's direction, and nothing else, are its mask exactly."""
    texts = torch.eye(DIM)[:2]
    parts, _ = planted(torch.zeros(DIM))
    patches = torch.zeros(60, 4, DIM)
    patches[:, 0] = texts[0]
    patches[:, 3] = texts[1]
    from dataclasses import replace

    masks = zero_shot_masks(replace(parts, patches=patches, embedding=torch.ones(60, DIM)), texts)
    assert masks.masks((2, 2))[0, 0].tolist() == [[True, False], [False, False]]
    assert masks.masks((2, 2))[0, 1].tolist() == [[False, False], [False, True]]
