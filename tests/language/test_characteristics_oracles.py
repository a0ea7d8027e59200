"""What readings go by, held against readings that are made to go by one thing alone."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import avg_pool2d

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.language.characterising import characterise, probe_for
from pellucid.language.characteristics import CHARACTERISTICS, COLOURS, Profile, Read, beside_chance, pairs, profiles
from pellucid.language.probes import Probe
from pellucid.language.readings import Reader, Reading
from pellucid.language.retouching import SIGNS, Levels, at_random, energy, retouched, undefined
from pellucid.results import Claim
from pellucid.testbed.palette import HUE_COLOURS
from pellucid.testbed.planted.gabor import gratings
from pellucid.values import Seed

FEW = 24


@cache
def birds() -> Tensor:
    return pl.testbed.scenes(3101, FEW, flat=True).tensor()


@cache
def stripes() -> Tensor:
    """Grey gratings of all widths, directions and contrasts, on which the planted filters answer in closed form."""
    return gratings(3102, FEW).tensor()


@cache
def silhouettes() -> tuple[Tensor, Tensor]:
    """Dark shapes of one bird, in colours of their own, on light grounds of their own; and the bird's outline."""
    mask = torch.from_numpy(pl.testbed.scenes(3103, 1).objects[0]).float()
    rng = np.random.default_rng(3104)
    dark, light = (torch.from_numpy(rng.uniform(low, low + 0.25, (FEW, 3, 1, 1))).float() for low in (0.05, 0.6))
    return mask * dark + (1 - mask) * light, mask


def hue_angle(pictures: Tensor) -> Tensor:
    red, green, blue = pictures.unbind(dim=1)
    return torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue)


def of_one_hue(hue: int) -> Read:
    """How much of a patch of 5 x 5 pixels has one of the six hues, whatever its brightness and strength."""
    paint = torch.from_numpy(HUE_COLOURS[hue].astype(np.float32)).reshape(1, 3, 1, 1)
    wanted = float(hue_angle(paint))

    def read(pictures: Tensor) -> Tensor:
        away = torch.remainder(hue_angle(pictures) - wanted + torch.pi, 2 * torch.pi) - torch.pi
        coloured = (pictures.amax(dim=1) - pictures.amin(dim=1)) > 0.02
        return avg_pool2d((torch.exp(-((away / 0.3) ** 2)) * coloured)[:, None], 5)

    return read


def of_outline(mask: Tensor) -> Read:
    """How far brightness goes with an outline, either way: blind to colour, contrast and fine detail."""
    centred = mask - mask.mean()

    def read(pictures: Tensor) -> Tensor:
        grey = pictures.mean(dim=1)
        own = grey - grey.mean(dim=(1, 2), keepdim=True)
        cosine = torch.einsum("hw, b h w -> b", centred.to(own), own) / centred.norm() / own.flatten(1).norm(dim=1)
        return cosine.abs()[:, None, None, None]

    return read


# -- the changes themselves -------------------------------------------------------------------------------------------


def test_a_third_of_the_circle_turns_red_into_green_and_back() -> None:
    red = torch.tensor([0.8, 0.1, 0.1])[None, :, None, None].expand(1, 3, 4, 4)
    third = Levels(hue=1 / 3)
    torch.testing.assert_close(retouched(red, "hue", 1, third), red[:, [1, 0, 2]])
    torch.testing.assert_close(retouched(retouched(red, "hue", 1, third), "hue", -1, third), red)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.95))
def test_turning_the_hue_keeps_the_largest_and_smallest_channel(seed: int, share: float) -> None:
    pictures = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(seed))
    turned = retouched(pictures, "hue", 1, Levels(hue=share))
    torch.testing.assert_close(turned.amax(dim=1), pictures.amax(dim=1), atol=1e-5, rtol=0)
    torch.testing.assert_close(turned.amin(dim=1), pictures.amin(dim=1), atol=1e-5, rtol=0)


def test_saturation_and_contrast_have_the_closed_form_of_a_mixture() -> None:
    pictures = 0.4 + 0.1 * torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))  # far from any cut
    grey = torch.einsum("c, b c h w -> b h w", torch.tensor([0.299, 0.587, 0.114]), pictures)[:, None]
    torch.testing.assert_close(retouched(pictures, "saturation", -1), grey + 0.3 * (pictures - grey))
    mean = grey.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(retouched(pictures, "contrast", 1), mean + 1.45 * (pictures - mean))


def test_bending_makes_no_new_colour_and_a_flat_picture_stays_as_it_is() -> None:
    bent = retouched(birds()[:2], "shape", 1)
    assert not torch.equal(bent, birds()[:2])
    for before, after in zip(birds()[:2], bent, strict=True):
        known = {tuple(pixel) for pixel in before.flatten(1).T.tolist()}
        assert {tuple(pixel) for pixel in after.flatten(1).T.tolist()} <= known
    flat = torch.full((1, 3, 16, 16), 0.5)
    for name in ("contrast", "texture", "shape"):
        torch.testing.assert_close(retouched(flat, name, -1), flat)


def test_stripes_go_with_the_median_and_stay_with_non_local_means() -> None:
    fine = stripes()[gratings(3102, FEW).frequency > 0.2]
    spread = lambda pictures: float(pictures.std(dim=(1, 2, 3)).mean())
    assert spread(retouched(fine, "texture", -1)) < 0.25 * spread(fine)
    assert spread(retouched(fine, "texture", -1, Levels(smoother="nl_means"))) > 0.95 * spread(fine)


def test_a_random_change_has_the_energy_of_the_change_it_stands_beside() -> None:
    for name in CHARACTERISTICS:
        changed = retouched(birds(), name, -1)
        random = at_random(birds(), changed, Seed(3))
        ratio = energy(birds(), random) / energy(birds(), changed)
        assert float((ratio - 1).abs().median()) < 0.03, (name, ratio)
        assert float((random - changed).abs().amax()) > 0.05
    same = at_random(birds(), birds(), Seed(3))
    torch.testing.assert_close(same, birds())


# -- readings that go by one thing ------------------------------------------------------------------------------------


def test_each_unit_of_a_hue_goes_by_colour_and_loses_all_when_it_turns() -> None:
    model = pl.load("testbed:planted_hues")
    readings = [Reading("unit", "detect.units", at) for at in range(6)]
    found = characterise(model, readings, probe=Probe("scenes", 3105, 32, "flat"))
    for one in found.profiles:
        assert one.first in COLOURS and one.importance["hue"].share > 0.95, one.text
        assert one.importance["texture"].anywhere < 0.2 and one.importance["shape"].anywhere < 0.2, one.text


@pytest.mark.parametrize("hue", range(6))
def test_a_reading_of_one_hue_alone_goes_by_hue(hue: int) -> None:
    (found,) = profiles(of_one_hue(hue), birds(), ["a hue"])
    assert found.first == "hue" and found.important()[0] == "hue", found.text
    assert found.importance["saturation"].share < 0.5 * found.importance["hue"].share


def test_each_filter_of_stripes_goes_by_texture() -> None:
    model = pl.load("testbed:planted_edges")
    reader = Reader.of(model, tuple(Reading("unit", "units", at) for at in range(4)))
    for one in profiles(reader, stripes(), [f"filter {at}" for at in range(4)]):
        assert one.first == "texture" and one.important()[0] == "texture", one.text
        assert one.importance["contrast"].share == pytest.approx(0.45, abs=0.02)  # it is linear


def test_each_reading_of_an_outline_goes_by_shape() -> None:
    pictures, mask = silhouettes()
    (found,) = profiles(of_outline(mask), pictures, ["an outline"])
    assert found.first == "shape" and found.important() == ("shape",), found.text


def test_what_a_reading_goes_by_stands_out_and_what_is_dealt_by_lot_does_not() -> None:
    found = profiles(of_one_hue(0), birds(), ["a hue"])
    count, cost = beside_chance(found)
    assert count.own >= 1 and count.controls["with changes and random ones dealt by lot"] == 0
    assert cost.beats and cost.own > 2 * cost.controls["as many characteristics by lot"]
    chance = found[0].dealt(Seed(1))
    assert np.allclose(
        np.sort([chance.local, chance.random], axis=0), np.sort([found[0].local, found[0].random], axis=0)
    )


def test_a_model_that_says_the_same_of_everything_goes_by_nothing() -> None:
    same = lambda pictures: torch.full((len(pictures), 1, 4, 4), 0.7)
    (found,) = profiles(same, birds(), ["the same"])
    assert found.important() == () and found.first == ""
    assert all(one.share == one.anywhere == one.by_chance == 0 for one in found.importance.values())
    (silent,) = profiles(lambda pictures: torch.zeros(len(pictures), 1, 4, 4), birds(), ["nothing"])
    assert silent.silent and "answers to none of 24 pictures" in silent.text


# -- global importance, grey pictures, shared passes ------------------------------------------------------------------


def test_pictures_count_by_their_answer() -> None:
    """Answers 3 and 1 of which 1.5 and 1 are lost: (3 * 1.5 + 1 * 1) / (3 + 1), and of the answer (9 + 1) / 4."""
    falls = np.zeros((2, 5, 2))
    falls[:, 4, 0] = [1.5, 1.0]
    one = Profile("x", np.array([3.0, 1.0]), np.zeros((2, 2), dtype=np.int64), falls, falls, falls, np.zeros((2, 5, 2)))
    shape = one.importance["shape"]
    assert shape.fall == pytest.approx(5.5 / 4) and shape.share == pytest.approx(5.5 / 10) and shape.sign == -1
    against = Profile("x", np.array([3.0, -1.0]), one.place, falls, falls, falls, np.zeros((2, 5, 2)))
    assert against.importance["shape"].share == pytest.approx(0.5)


def test_hue_and_saturation_of_grey_pictures_are_undefined_and_that_is_said() -> None:
    grey = birds().mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    assert undefined(grey).all() and not undefined(birds()).any()
    bright = lambda pictures: pictures.mean(dim=1, keepdim=True)
    (all_grey,) = profiles(bright, grey, ["brightness"])
    assert np.isnan([all_grey.importance[name].share for name in COLOURS]).all()
    assert "Hue and saturation cannot be changed: all pictures that it answers to are grey" in all_grey.text
    (some,) = profiles(bright, torch.cat([grey[:5], birds()[5:]]), ["brightness"])
    assert "5 of 24 pictures are grey" in some.text and some.importance["hue"].pictures == FEW - 5


def test_what_moved_is_lost_at_its_place_and_not_elsewhere() -> None:
    """A dark dot on white: bending moves it away from its place, and it is as dark where it then is."""
    dot = torch.ones(1, 3, 64, 64)
    dot[:, :, 20, 25] = 0.0
    (found,) = profiles(lambda pictures: 1 - pictures.mean(dim=1, keepdim=True), dot, ["dark"])
    assert found.place.tolist() == [[20, 25]]
    assert found.in_place[0, 4].min() == pytest.approx(1.0)
    assert found.local[0, 4].max() == pytest.approx(0.0) and found.anywhere[0, 4].max() == pytest.approx(0.0)


def test_more_readings_cost_no_more_passes() -> None:
    model = pl.load("testbed:cnn")
    layer = model.layers.chosen("describe").name
    asked: list[int] = []

    def counted(readings: tuple[Reading, ...]) -> int:
        reader = Reader.of(model, readings)
        asked.clear()
        profiles(
            lambda pictures: (asked.append(len(pictures)), reader(pictures))[1], birds()[:4], ["x"] * len(readings)
        )
        return sum(asked)

    one = counted((Reading("unit", layer, 0),))
    many = counted((*(Reading("unit", layer, at) for at in range(8)), Reading("class", index=3)))
    assert one == many == 4 * (1 + 2 * len(CHARACTERISTICS) * len(SIGNS))


# -- prototypes, pairs, claims ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("likeness", "most"), [("log", np.log(1 / 1e-4)), ("cosine", 1.0)])
def test_a_patch_is_most_like_itself(likeness: str, most: float) -> None:
    model = pl.load("testbed:cnn")
    layer = model.layers.chosen("describe").name
    (frame,) = pl.testbed.scenes(3106, 1).frames()
    reader = Reader.of(model, (Reading("patch", layer, frame=frame, place=(3, 4), likeness=likeness),))
    grid = reader(model.prepare([frame]))[0, 0]
    assert float(grid[3, 4]) == pytest.approx(most, rel=1e-3) and int(grid.argmax()) == 3 * grid.shape[1] + 4


def test_two_that_look_alike_mislead_or_one_of_them_is_enough() -> None:
    """At the same place: a hue twice, and the outline of what has that hue."""

    def falls(name: str) -> np.ndarray:
        values = np.zeros((FEW, 5, 2))
        values[:, CHARACTERISTICS.index(name), 0] = 0.8
        return values

    place = np.full((FEW, 2), 3, dtype=np.int64)
    made = lambda name, what: Profile(name, np.ones(FEW), place, *[falls(what)] * 3, np.zeros((FEW, 5, 2)))
    found = pairs([made("one", "hue"), made("other", "shape"), made("third", "hue")], birds(), (8, 8))
    assert {(one.one, one.other): one.verdict for one in found} == {
        ("one", "other"): "misleading", ("one", "third"): "redundant", ("other", "third"): "misleading",
    }  # fmt: skip
    assert "go by different characteristics" in str(found[0])


def test_a_claim_is_measured_again_and_does_not_hold_for_another_net() -> None:
    model = pl.load("testbed:cnn")
    layer = model.layers.chosen("describe").name
    (frame,) = pl.testbed.scenes(3107, 1).frames()
    reading = Reading("patch", layer, frame=frame, place=(2, 2))
    found = characterise(model, [reading], probe=Probe("scenes", 3108, 8))
    (kept,) = json.loads(json.dumps(found.to_dict(), default=str))["readings"]
    again = Claim.from_dict(kept["claim"]).recheck(model)
    assert again.verdict == "verified" and again.text == found.claims[0].text == kept["text"]
    assert found.claims[0].recheck(pl.load("testbed:cnn_background")).verdict == "refuted"


def test_codes_have_no_characteristics() -> None:
    with pytest.raises(RequestError, match="in codes"):
        probe_for(pl.load("testbed:planted_mixed"))
    with pytest.raises(RequestError, match="share one layer"):
        Reader.of(pl.load("testbed:cnn"), (Reading("unit", "a", 0), Reading("unit", "b", 0)))
    with pytest.raises(RequestError):
        Levels(window=4)
    with pytest.raises(RequestError):
        retouched(birds(), "smell", 1)
