"""Few-shot segmentation: a matching segmenter that is linear in its support, so that its exact map is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pellucid.errors import RequestError, ShapeError
from pellucid.trust.support import Segment, Support
from pellucid.trust.support_infidelity import support_infidelity

SHOTS, SIDE, BASE = 2, 12, 0.55
PLACES = SHOTS * SIDE * SIDE


def exact() -> Tensor:
    """How much of the query's probability each support pixel gives."""
    draw = torch.Generator().manual_seed(3)
    return torch.rand(SHOTS, SIDE, SIDE, generator=draw) * 0.4 / PLACES


def linear(shares: Tensor) -> Segment:
    """The probability of foreground is a sum over the support pixels that are there, each matching a little."""

    def segment(images: Tensor, masks: Tensor) -> Tensor:
        matched = (images.mean(dim=2) * masks * shares.to(images)).sum(dim=(1, 2, 3)).double() + BASE
        logit = (matched / (1 - matched)).log()[:, None, None, None].expand(-1, 1, 3, 5)
        return torch.cat([torch.zeros_like(logit), logit], dim=1)

    return segment


def support(**more: object) -> Support:
    ones = torch.ones(SHOTS, 3, SIDE, SIDE)
    masks = torch.ones(SHOTS, SIDE, SIDE)
    masks[:, :, :2] = 0  # the shares under them count nothing
    return Support(ones, masks, **{"segment": linear(exact()), **more})  # type: ignore[arg-type]


def blocks() -> Tensor:
    """Squares of 4 x 4 pixels: the shots are one colour, so SLIC would have nothing to go by."""
    line = torch.arange(SIDE) // 4
    return (line[:, None] * 3 + line[None]).expand(SHOTS, -1, -1)


@pytest.mark.parametrize("scaling", ["none", "optimal"])
def test_the_exact_map_of_a_linear_matching_segmenter_misses_nothing(scaling: str) -> None:
    held = support()
    found = support_infidelity(held, {"exact": exact() * held.masks}, segments=blocks(), scaling=scaling)
    assert found.values["exact"] < 1e-14 * max(1.0, found.nothing) and found.nothing > 1e-4
    assert found.cells == 2 * 9 and found.changes == 100
    assert found.beats_controls("exact") and found.values["control random"] > 1e-6


def test_a_scaled_map_is_right_with_the_best_factor_alone() -> None:
    maps = {"twice": 2 * exact() * support().masks}
    assert support_infidelity(support(), maps, segments=blocks()).values["twice"] < 1e-14
    as_it_is = support_infidelity(support(), maps, segments=blocks(), scaling="none")
    assert as_it_is.values["twice"] == pytest.approx(as_it_is.nothing, rel=1e-4)  # (2 fall - fall)^2


def test_a_map_of_zeros_misses_all_that_falls_and_one_of_another_place_beats_no_control() -> None:
    shares = torch.zeros(SHOTS, SIDE, SIDE)
    shares[0, :4, 4:8] = 0.4 / 16
    elsewhere = torch.zeros_like(shares)
    elsewhere[1, 8:, 8:] = 1.0
    maps = {"zeros": torch.zeros_like(shares), "elsewhere": elsewhere, "right": shares}
    found = support_infidelity(support(segment=linear(shares)), maps, segments=blocks())
    assert found.values["zeros"] == pytest.approx(found.nothing)
    assert found.values["right"] < 1e-14 and found.beats_controls("right") and not found.beats_controls("elsewhere")


def test_superpixels_follow_colours_and_answers_do_not_depend_on_the_batch() -> None:
    images = torch.zeros(SHOTS, 3, SIDE, SIDE)
    images[:, 0, :, : SIDE // 2] = 1.0
    masks = torch.ones(SHOTS, SIDE, SIDE)
    maps = {"exact": exact() * images.mean(dim=1)}
    one, other = (
        support_infidelity(Support(images, masks, linear(exact()), batch=batch), maps, segments=4, scaling="none")
        for batch in (1, 16)
    )
    assert one.values == other.values and one.values["exact"] < 1e-14 and one.cells >= 4


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(RequestError, match="gone=1"):
        support_infidelity(support(), {}, gone=1.0)
    with pytest.raises(RequestError, match="scaling='best'"):
        support_infidelity(support(), {}, scaling="best")
    with pytest.raises(ShapeError, match="map of the support"):
        support_infidelity(support(), {"small": torch.ones(1, 2, 2)})
    with pytest.raises(ShapeError, match="segments"):
        support_infidelity(support(), {}, segments=torch.zeros(1, 2, 2, dtype=torch.long))
    with pytest.raises(RequestError, match="not finite"):
        support_infidelity(support(), {"nan": exact() * float("nan")})
