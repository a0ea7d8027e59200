"""Pictures seen through maps: on a linear model what comes through is a weighted sum."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from pellucid.engine import Evidence, look
from pellucid.errors import RequestError
from pellucid.subject import wrap
from pellucid.trust.masking import FAKE, average_drop, average_gain, increase_in_confidence, win_share
from pellucid.values import Class
from tests.oracles.nets import Pixels, pictures
from tests.trust.linear import noise

WHOLE = (1.0,)


def brightness() -> Evidence:
    """The probability of class 0 is the mean brightness of the picture, so a mask of level m leaves m of it."""
    model = wrap(
        Pixels(lambda inputs: torch.logit(inputs.mean(dim=(1, 2, 3)).clamp(1e-6, 1 - 1e-6))), input_size=(6, 8),
        activation="softmax",
    )  # fmt: skip
    inputs = torch.rand(3, 3, 6, 8, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    return look(model, inputs, Class(0))


def test_the_drop_is_the_brightness_that_the_map_hides() -> None:
    evidence = brightness()
    values = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(2))
    scaled = (values - values.amin((1, 2), True)) / (values.amax((1, 2), True) - values.amin((1, 2), True))
    before, after = (one.mean(dim=(1, 2, 3)) for one in (evidence.inputs, evidence.inputs * scaled[:, None]))
    found = average_drop(evidence, {"map": values}, areas=WHOLE)
    assert_close(found.values["map"], (before - after) / before, rtol=1e-3, atol=1e-4)


def test_all_ones_lose_nothing_and_all_zeros_everything() -> None:
    evidence = brightness()
    maps = {"ones": torch.ones(3, 6, 8), "zeros": torch.zeros(3, 6, 8)}
    lost, rose = (measure(evidence, maps, areas=WHOLE) for measure in (average_drop, increase_in_confidence))
    assert_close(lost.values["ones"], torch.zeros(3), atol=1e-6, rtol=0)
    assert_close(lost.values["zeros"], torch.ones(3), atol=1e-3, rtol=0)
    assert not rose.values["ones"].any() and not rose.values["zeros"].any()


def test_the_map_of_all_ones_but_one_pixel_stands_beside_every_figure() -> None:
    evidence = brightness()
    found = average_drop(evidence, {"map": noise(evidence)}, areas=WHOLE)
    fake = torch.tensor(found.curves["map"][FAKE])[0, :, 0]
    corner = evidence.inputs[:, :, 0, 0].sum(dim=1) / evidence.inputs.flatten(1).sum(dim=1)
    assert_close(fake, corner, rtol=1e-2, atol=1e-4)
    assert FAKE in found.notes[0] and set(found.values) == {"map"}


def test_a_fill_that_is_brighter_than_the_picture_raises_confidence_by_a_known_part() -> None:
    evidence = brightness()
    maps = {"zeros": torch.zeros(3, 6, 8)}
    dim = evidence.inputs.mean(dim=(1, 2, 3))
    assert_close(increase_in_confidence(evidence, maps, areas=WHOLE, fill="white").values["zeros"], torch.ones(3))
    won = average_gain(evidence, maps, areas=WHOLE, fill="white").values["zeros"]
    assert_close(won, torch.ones(3), rtol=1e-3, atol=1e-3)
    assert_close(average_drop(evidence, maps, areas=WHOLE, fill="white").values["zeros"], torch.zeros(3))
    half = {"half": torch.full((3, 6, 8), 0.5)}
    won = average_gain(evidence, half, areas=WHOLE, fill="white").values["half"]
    assert_close(won, ((dim + 1) / 2 - dim) / (1 - dim), rtol=1e-3, atol=1e-3)


def test_an_area_shows_the_strongest_pixels_only() -> None:
    evidence = brightness()
    values = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(2))
    scaled = (values - values.amin((1, 2), True)) / (values.amax((1, 2), True) - values.amin((1, 2), True))
    found = average_drop(evidence, {"map": values}, areas=(1.0, 0.25))
    top = torch.zeros(3, 48).scatter_(1, values.flatten(1).topk(12).indices, 1).view(3, 6, 8)
    left = torch.stack([(evidence.inputs * (scaled * keep)[:, None]).mean(dim=(1, 2, 3)) for keep in (1, top)])
    expected = 1 - left / evidence.inputs.mean(dim=(1, 2, 3))
    assert_close(torch.tensor(found.curves["map"]["by area"])[0].T, expected, rtol=1e-3, atol=1e-4)
    assert_close(found.values["map"], expected.mean(dim=0), rtol=1e-3, atol=1e-4)


def test_wins_are_counted_among_all_maps_and_ties_by_half() -> None:
    evidence = brightness()
    maps = {
        "most": torch.full((3, 6, 8), 0.9), "less": torch.full((3, 6, 8), 0.5), "same": torch.full((3, 6, 8), 0.5),
        "least": torch.full((3, 6, 8), 0.1), "none": torch.full((3, 6, 8), torch.nan),
    }  # fmt: skip
    found = win_share(evidence, maps, areas=WHOLE).values
    for name, share in (("most", 1.0), ("less", 0.5), ("same", 0.5), ("least", 0.0)):
        assert_close(found[name], torch.full((3,), share))
    assert found["none"].isnan().all()
    with pytest.raises(RequestError, match="at least two"):
        win_share(evidence, {"alone": maps["most"]})


def test_the_four_share_their_pictures() -> None:
    evidence = brightness()
    maps = {"one": noise(evidence, 1), "other": noise(evidence, 2)}
    average_drop(evidence, maps)
    asked = evidence.passes.forwards
    for measure in (increase_in_confidence, average_gain, win_share):
        measure(evidence, maps)
    assert evidence.passes.forwards == asked == 1 + 3 + 2 * 3


def test_a_score_that_is_not_above_zero_has_no_parts() -> None:
    model = wrap(Pixels(lambda inputs: inputs.mean(dim=(1, 2, 3))), input_size=(6, 8), activation="none")
    inputs = pictures(2, 6, 8).abs()
    inputs[1] *= -1
    found = average_drop(look(model, inputs, Class(0)), {"map": torch.rand(2, 6, 8)})
    assert found.values["map"].isnan().tolist() == [False, True] and list(found.skipped) == [1]


@pytest.mark.parametrize("areas", [(), (0.0,), (0.5, 1.5)])
def test_areas_that_are_none_are_refused(areas: tuple[float, ...]) -> None:
    evidence = brightness()
    with pytest.raises(RequestError, match="areas"):
        average_drop(evidence, {"map": noise(evidence)}, areas=areas)
