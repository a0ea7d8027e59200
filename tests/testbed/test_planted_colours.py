"""Detectors of colour: proven over the whole palette, with the margin they were built with."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pellucid.errors import SceneError
from pellucid.testbed import scenes, truth
from pellucid.testbed.fields import HUES, LANDS
from pellucid.testbed.palette import PART_IDS
from pellucid.testbed.planted import codes, colours, hues, logic
from pellucid.testbed.planted.separation import STEEPNESS, Concept, Palette, told_apart, widest
from tests.testbed.planted_runs import activations, drawn

WORLDS = {
    "hues": (colours.concepts(), {name: colour[None] for name, colour in colours.flat_palette().items()}),
    "codes": ((*codes.HUE, *codes.WING, *codes.TAIL, codes.PLUME, codes.STANDING, *codes.LAND), codes.code_palette()),
}


@lru_cache(maxsize=2)
def built(world: str) -> tuple[nn.Module, tuple[float, ...]]:
    """The detectors of one world, and their margins."""
    if world == "hues":
        net = hues()
        return net.module.detect, tuple(unit.margin for unit in net.units)  # type: ignore[return-value]
    found = told_apart(*WORLDS["codes"])
    return found.layers(), found.margins


def detect(world: str, points: np.ndarray) -> np.ndarray:
    """What the detectors of one world say to single colours [point 3]: [point concept]."""
    with torch.no_grad():
        return built(world)[0](torch.tensor(points, dtype=torch.float32).T[None, :, :, None])[0, :, :, 0].T.numpy()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("share", [0.0, 0.99])
def test_over_the_whole_palette_a_detector_is_one_on_its_paints_and_zero_on_all_others(
    world: str, share: float
) -> None:
    """Every colour there is, and every corner of the box of the margin around it: nothing is left to chance."""
    concepts, palette = WORLDS[world]
    for number, (concept, margin) in enumerate(zip(concepts, built(world)[1], strict=True)):
        corners = share * margin * np.array(list(product((-1, 1), repeat=3)))
        points = np.concatenate([palette[name][0] + corners for name in palette])
        values = detect(world, points)[:, number].reshape(len(palette), -1)
        expected = np.array([name in concept.paints for name in palette], dtype=np.float32)[:, None]
        assert (values == expected).all(), concept.name


@given(st.lists(st.floats(-0.99, 0.99), min_size=3, max_size=3))
@settings(max_examples=25, deadline=None)
def test_within_the_margin_no_answer_changes(step: list[float]) -> None:
    concepts, palette = WORLDS["hues"]
    shifts = np.array(built("hues")[1])[:, None, None] * np.array(step)
    values = detect("hues", (np.stack([palette[name][0] for name in palette]) + shifts).reshape(-1, 3))
    values = values.reshape(len(concepts), len(palette), -1)
    for number, concept in enumerate(concepts):
        assert np.array_equal(values[number, :, number], [name in concept.paints for name in palette]), concept.name


def test_flat_scenes_show_no_colour_that_the_palette_lacks() -> None:
    shown = drawn("flat")
    red, green, blue = (shown.pixels[..., channel].astype(np.uint32) for channel in range(3))
    known = {code for paint in colours.flat_palette() for code in colours.codes_of(paint)}
    assert set(np.unique(red << 16 | green << 8 | blue).tolist()) <= known


def test_a_hue_fires_where_a_part_of_that_hue_shows() -> None:
    """Without clutter the attribute table says it all: visible parts of the hue, the wing but for its cream."""
    shown = scenes(901, 200, flat=True, clutter=0.0, size=32)
    units = activations(hues(), shown, "detect.units")["detect.units"].numpy()
    for hue in range(len(HUES)):
        expected = np.zeros(shown.parts.shape, dtype=bool)
        for part, field in codes.HUE_FIELDS.items():
            if part in ("cue", "beak"):
                continue
            expected |= shown.mask(part) & (shown.fields[field] == hue)[:, None, None]
        beaks = shown.mask("beak") & (shown.fields["beak_hue"] == {0: 2, 1: 0}.get(hue, -1))[:, None, None]
        fires = units[:, hue] > 0.5
        cream = shown.mask("wing") & (shown.pixels == (252, 243, 224)).all(axis=-1)
        assert np.array_equal(fires, (expected | beaks) & ~cream), HUES[hue]


def test_a_landscape_fires_whichever_bird_stands_before_it() -> None:
    net = hues()
    shown = drawn("flat")[:40]
    before = activations(net, shown)["logits"][:, len(HUES) :]
    for land in range(len(LANDS)):
        after = activations(net, truth.paste_land(shown, land))["logits"][:, len(HUES) :]
        assert torch.equal(after, torch.eye(len(LANDS))[land].expand(len(shown), -1))
    assert torch.equal(before.argmax(dim=1), torch.tensor(shown.fields["land"]))


def test_inside_a_paint_gradients_vanish_and_occlusion_does_not() -> None:
    net = hues()
    pictures = drawn("flat", count=40, side=64)[:4].tensor().requires_grad_()
    net.module(pictures)[:, : len(HUES)].sum().backward()
    assert pictures.grad is not None and pictures.grad.abs().max() == 0
    assert (net.module(pictures)[:, : len(HUES)].sum(dim=1) >= 2).all()
    assert net.module(torch.zeros_like(pictures)).max() == 0


def test_on_lit_paper_most_of_a_hue_is_found_though_no_longer_all() -> None:
    """Soft edges mix paints, so the figure is a rate: docs/planted.md gives those of 1,000 scenes."""
    lit = scenes(902, 80, camera=0.0)
    units = activations(hues(), lit, "detect.units")["detect.units"].numpy() > 0.5
    for hue, unit in enumerate(hues().units[: len(HUES)]):
        true = unit.where(lit.with_world(flat=True))  # type: ignore[misc]
        assert 0.75 < (units[:, hue] & true).sum() / true.sum() < 1, unit.name


def test_the_stored_margin_is_that_of_the_planes() -> None:
    """Recomputed from the weights: a plane's distance in the largest-channel sense is the sum of its weights' sizes."""
    found = told_apart(codes.WING, codes.code_palette())
    layers = found.layers()
    weight = layers.separate.weight.detach().double()[:, :, 0, 0]
    scale = 1 / weight.abs().sum(dim=1)  # normals were unit in that sense before they were divided by the margin
    owner = -layers.gather.weight.detach()[:, :, 0, 0]
    for number, margin in enumerate(found.margins):
        widest_step = STEEPNESS * float(scale[owner[number] > 0].min())
        assert (1 - 1 / STEEPNESS) * widest_step == pytest.approx(margin, rel=1e-5)


def test_two_points_are_parted_halfway() -> None:
    plane = widest(np.array([[0.2, 0.5, 0.5]]), np.array([[0.6, 0.5, 0.5]]))
    assert plane.margin == pytest.approx(0.2)
    assert np.abs(plane.normal).sum() == pytest.approx(1)
    assert plane.normal @ [0.4, 0.5, 0.5] + plane.offset == pytest.approx(0, abs=1e-9)


def test_a_paint_between_two_others_is_refused() -> None:
    palette: Palette = {
        "dark": np.array([[0.1] * 3]), "grey": np.array([[0.5] * 3]), "light": np.array([[0.9] * 3]),
    }  # fmt: skip
    both = Concept("either end", (), ("dark", "light"), lambda drawn: drawn.mask("wing"))
    with pytest.raises(SceneError, match="dark, light cannot be told from grey"):
        told_apart([both], palette)


# -- coded pictures ----------------------------------------------------------------------------------------------------


def test_a_coded_picture_says_what_every_pixel_shows() -> None:
    shown = drawn("coded")[:50]
    said = shown.pixels
    names = {tuple((colour[0] * 255).round().astype(int)): name for name, colour in codes.code_palette().items()}
    for at, picture in enumerate(said):
        for row, column in ((3, 3), (16, 16), (20, 12), (28, 9)):
            part, kind, hue = names[tuple(picture[row, column].tolist())].split()
            assert PART_IDS[part] == shown.parts[at, row, column]
            if part in codes.KIND_FIELDS:
                assert int(kind) == shown.fields[codes.KIND_FIELDS[part]][at]
            if part in ("body", "head", "wing", "tail", "crest", "bib"):
                assert int(hue) == shown.fields[codes.HUE_FIELDS[part]][at]


def test_codes_are_whole_bytes_so_a_saved_picture_is_the_same() -> None:
    for colour in codes.code_palette().values():
        assert np.array_equal((colour * 255).round(), np.round(colour * 255, 9))
    shown = drawn("coded")[:3]
    assert torch.equal(shown.tensor(), torch.tensor(shown.pixels).permute(0, 3, 1, 2) / 255)
    assert np.array_equal(shown.frames()[1].pixels, shown.pixels[1])


def test_every_code_of_a_scene_is_in_the_palette() -> None:
    known = {tuple((colour[0] * 255).round().astype(int)) for colour in codes.code_palette().values()}
    for kind in ("coded", "tagged"):
        shown = np.unique(drawn(kind)[:300].pixels.reshape(-1, 3), axis=0)
        assert {tuple(colour) for colour in shown.tolist()} <= known


def test_coding_scenes_changes_nothing_but_their_pictures() -> None:
    plain = scenes(5, 6, size=32)
    told = codes.coded(plain)
    assert np.array_equal(told.parts, plain.parts) and np.array_equal(told.labels, plain.labels)
    assert told.captions == plain.captions
    bare = truth.remove(told, "wing")
    assert isinstance(bare, codes.CodedScenes) and isinstance(told[2:4], codes.CodedScenes)
    outside = ~truth.footprint(told, bare)
    assert np.array_equal(bare.pixels[outside], told.pixels[outside])
    assert not np.array_equal(bare.pixels, told.pixels)


def test_flocks_are_refused() -> None:
    with pytest.raises(SceneError, match="mode='solo'"):
        codes.coded(scenes(3, 2, mode="flock"))


def test_a_missing_part_is_not_detected() -> None:
    shown = truth.remove(drawn("coded")[:60], "wing")
    units = activations(logic(), shown, "present")["present"]
    dotted = [unit.index for unit in logic().units if unit.name == "dotted wings"]
    assert units[:, dotted].max() == 0
