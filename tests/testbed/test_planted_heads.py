"""Attention set by hand: which token reads which, what cutting an edge does, and which methods see it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import pellucid as pl
from pellucid import hooks
from pellucid.engine import Ablate, look
from pellucid.testbed.planted import BUILDERS, Planted, Tiles, heads
from pellucid.values import Class

NAMES = ("head", "head_decoy", "head_two_hops")
COUNT = 60


@pytest.fixture(scope="module", params=NAMES)
def planted(request: pytest.FixtureRequest) -> Planted:
    return BUILDERS[request.param]()


def hops(planted: Planted) -> int:
    return 2 if planted.name == "head_two_hops" else 1


def shown(planted: Planted) -> Tiles:
    return planted.stimuli(5, COUNT)


def attention(planted: Planted, pictures: Tensor) -> list[Tensor]:
    """Probabilities [picture head query key] of every block, as the engine captures them."""
    seen: list[Tensor] = []
    with torch.no_grad(), hooks.captured_attention(lambda found: seen.append(found.probabilities)):
        planted.module(pictures)
    return seen


def expected(planted: Planted, tiles: Tiles) -> np.ndarray:
    source = tiles.colours[np.arange(len(tiles)), tiles.source(hops(planted))]
    return source[:, 1:] * [4, 3] + [-1, 0.5]


def test_logits_are_the_deciding_tiles_green_and_blue(planted: Planted) -> None:
    tiles = planted.stimuli(6, 1000)
    with torch.no_grad():
        logits = planted.module(planted.pictures(tiles)).numpy()
    assert np.abs(logits - expected(planted, tiles)).max() < 1e-6


def test_every_head_attends_where_it_is_said_to(planted: Planted) -> None:
    """All heads, all queries: the named token gets all attention but 1e-7."""
    tiles = shown(planted)
    seen = attention(planted, planted.pictures(tiles))
    assert len(seen) == (3 if hops(planted) == 2 else 1)
    for head in planted.heads:
        block = int(head.layer.split(".")[1])
        wanted = torch.tensor(head.looks_at(tiles))
        got = seen[block][:, head.head].gather(2, wanted[..., None])[..., 0]
        assert float(got.min()) > 1 - 1e-7, f"{head.layer} head {head.head}: {head.name}"


def test_capture_sees_what_attention_modules_compute(planted: Planted) -> None:
    for probabilities in attention(planted, planted.pictures(shown(planted))):
        assert probabilities.shape == (COUNT, 4, 17, 17)
        torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(COUNT, 4, 17))


def test_cutting_the_reading_edge_turns_the_logits_to_their_bias_and_no_other_edge_does_anything() -> None:
    """Every edge of the class token and of two tiles, in all four heads: 4 x 3 x 17."""
    planted = BUILDERS["head"]()
    tiles = planted.stimuli(7, 30)
    pictures = planted.pictures(tiles)
    allowed = planted.module.blocks[0].attn.allowed  # type: ignore[index, union-attr]
    with torch.no_grad():
        clean = planted.module(pictures)
        for head, query, key in np.ndindex(4, 3, 17):
            allowed[head, query, key] = False
            cut = planted.module(pictures)
            allowed[head, query, key] = True
            reads = (head == heads.WORKING) & (query == 0) & torch.tensor(key == tiles.marked + 1)
            wanted = torch.where(reads[:, None], torch.tensor(heads.BIASES), clean)
            assert (cut - wanted).abs().max() < 1e-6, (head, query, key)


def test_cutting_either_half_of_the_first_hop_takes_its_colour() -> None:
    """Marked tile <- source in block 1 carries green, in block 2 blue; class token <- marked tile carries both."""
    planted = BUILDERS["head_two_hops"]()
    tiles = planted.stimuli(8, 20)
    pictures = planted.pictures(tiles)
    green, blue = (np.array([heads.BIASES[at]]) for at in (0, 1))
    with torch.no_grad():
        clean = planted.module(pictures).numpy()
        for at in range(len(tiles)):
            marked, source = tiles.marked[at] + 1, tiles.source(2)[at] + 1
            for block, query, key, want in (
                (0, marked, source, [green[0], clean[at, 1]]), (1, marked, source, [clean[at, 0], blue[0]]),
                (2, 0, marked, heads.BIASES), (0, source, heads.TARGETS[source - 1] + 1, clean[at]),
                (2, marked, source, clean[at]),
            ):  # fmt: skip
                allowed = planted.module.blocks[block].attn.allowed  # type: ignore[index, union-attr]
                allowed[:, query, key] = False
                cut = planted.module(pictures[at : at + 1])[0].numpy()
                allowed[:, query, key] = True
                assert np.abs(cut - want).max() < 1e-6, (block, query, key)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", range(4))
def test_only_the_working_head_has_an_effect(name: str, head: int) -> None:
    """Knocked out through the engine: the head's values of all tiles become 0."""
    planted, model = BUILDERS[name](), pl.load(f"testbed:planted_{name}")
    tiles = shown(planted)
    evidence = look(model, planted.pictures(tiles), Class(0))
    channels = range(head * heads.WIDTH, (head + 1) * heads.WIDTH)
    edits = [
        Ablate(model.layers[f"blocks.{block}.attn.value"], channels=channels)
        for block in range(len(planted.module.blocks))  # type: ignore[arg-type]
    ]
    with evidence.edited(*edits) as without:
        effect = (evidence.score() - without.score()).numpy()
    works = any(known.works for known in planted.heads if known.head == head)
    wanted = expected(planted, tiles)[:, 0] - heads.BIASES[0] if works else 0
    assert np.abs(effect - wanted).max() < 1e-6


# -- which methods see it ----------------------------------------------------------------------------------------------


def cells(planted: Planted, method: str, tiles: Tiles, **asked: object) -> np.ndarray:
    """A method's map, one number per tile (at its middle): [picture tile]."""
    model = pl.load(f"testbed:planted_{planted.name}")
    heat = pl.attribute(model, planted.pictures(tiles), method, target=0, **asked)
    return np.asarray(heat.values).reshape(len(tiles), 4, 16, 4, 16).mean(axis=(2, 4)).reshape(len(tiles), 16)


def on_grid(planted: Planted, tiles: Tiles) -> np.ndarray:
    """Rollout before it is drawn on the pixels, [picture tile]."""
    model = pl.load(f"testbed:planted_{planted.name}")
    evidence = look(model, planted.pictures(tiles), Class(0), needs=[pl.methods()["attention_rollout"].needs[0]])
    return pl.methods()["attention_rollout"].function(evidence).flatten(1).numpy()


def test_rollout_finds_the_source_and_the_last_blocks_attention_does_not() -> None:
    """A of A -> B -> class token: rollout gives A a quarter, B and A's own target an eighth each; the last block's
    attention lies on B whole."""
    planted = BUILDERS["head_two_hops"]()
    tiles = shown(planted)
    source, marked = tiles.source(2), tiles.marked
    rows = np.arange(COUNT)
    flow = on_grid(planted, tiles)
    assert np.array_equal(flow.argmax(axis=1), source)
    wanted = np.zeros((COUNT, 16))
    wanted[rows, source] = 0.25
    wanted[rows, marked] = wanted[rows, np.array(heads.TARGETS)[source]] = 0.125
    assert np.abs(flow - wanted).max() < 1e-6
    last = attention(planted, planted.pictures(tiles))[-1][:, :, 0, 1:].mean(dim=1).numpy()
    assert np.array_equal(last.argmax(axis=1), marked)
    assert last[rows, source].max() < 1e-8
    assert (source != marked).all()


def test_rollouts_map_points_at_the_source() -> None:
    """The public door: the largest tile of the upsampled map."""
    planted = BUILDERS["head_two_hops"]()
    tiles = shown(planted)
    assert np.array_equal(cells(planted, "attention_rollout", tiles).argmax(axis=1), tiles.source(2))


@pytest.mark.parametrize("name", NAMES)
def test_occlusion_tells_what_the_tile_is_worth_and_finds_no_other(name: str) -> None:
    """Black over a tile takes 4 times the source's green; over the marked tile it takes the mark, and so everything."""
    planted = BUILDERS[name]()
    tiles = shown(planted)
    found = cells(planted, "occlusion", tiles, window=16, stride=16, baseline="zero")
    worth = expected(planted, tiles)[:, 0] - heads.BIASES[0]
    wanted = np.zeros((COUNT, 16))
    wanted[np.arange(COUNT), tiles.source(hops(planted))] = worth
    wanted[np.arange(COUNT), tiles.marked] = worth
    assert np.abs(found - wanted).max() < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_gradient_lies_on_the_sources_green_alone(name: str) -> None:
    planted = BUILDERS[name]()
    tiles = shown(planted)
    pictures = planted.pictures(tiles).requires_grad_()
    planted.module(pictures)[:, 0].sum().backward()
    assert pictures.grad is not None
    slopes = pictures.grad.reshape(COUNT, 3, 4, 16, 4, 16).sum(dim=(3, 5)).flatten(2)
    wanted = torch.zeros(COUNT, 3, 16)
    wanted[torch.arange(COUNT), 1, torch.tensor(tiles.source(hops(planted)))] = 4
    assert (slopes - wanted).abs().max() < 1e-4


def test_where_idle_heads_stare_attention_misleads_and_its_gradient_does_not() -> None:
    """Rollout gives the staring heads' tile three times what the deciding one gets; Chefer gives it nothing."""
    planted = BUILDERS["head_decoy"]()
    tiles = shown(planted)
    told = tiles.colours[np.arange(COUNT), tiles.marked, 1] > 0
    elsewhere = tiles.marked != 0
    flow = on_grid(planted, tiles)
    assert (flow[elsewhere].argmax(axis=1) == 0).all()
    assert flow[elsewhere, 0] == pytest.approx(3 / 8, abs=1e-6)
    assert flow[np.arange(COUNT), tiles.marked][elsewhere] == pytest.approx(1 / 8, abs=1e-6)
    found = cells(planted, "chefer", tiles)
    assert (found[told].argmax(axis=1) == tiles.marked[told]).all()


def test_targets_are_a_permutation_without_fixed_points() -> None:
    assert sorted(heads.TARGETS) == list(range(16))
    assert all(tile != target for tile, target in enumerate(heads.TARGETS))


def test_without_a_mark_the_class_token_reads_nothing(planted: Planted) -> None:
    tiles = shown(planted)
    unmarked = Tiles(tiles.colours * [0, 1, 1], tiles.marked)
    with torch.no_grad():
        logits = planted.module(planted.pictures(unmarked))
    assert (logits - torch.tensor(heads.BIASES)).abs().max() < 1e-6
