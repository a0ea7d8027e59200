"""Information curves of a model that knows its picture exactly when one window of it is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pellucid.engine import Evidence, look
from pellucid.errors import RequestError
from pellucid.subject import wrap
from pellucid.trust import information
from pellucid.trust.information import (
    accuracy_information_curve,
    coded,
    dataset_area,
    interpolated,
    revealed,
    softmax_information_curve,
)
from pellucid.trust.measured import Measured
from pellucid.values import Class, Preprocess, Seed
from tests.oracles.nets import Pixels

THRESHOLDS = (0.05, 0.2, 0.5)
ROWS, COLUMNS = slice(2, 6), slice(3, 7)  # 16 of 240 pixels: within the first 20 %, beyond the first 5 %


class Knows(nn.Module):
    """Class 1 with 99 % when the window is as it should be, else class 0 with 99 %."""

    def __init__(self, window: Tensor) -> None:
        super().__init__()
        self.window = nn.Parameter(window)

    def forward(self, inputs: Tensor) -> Tensor:
        there = (inputs[:, :, ROWS, COLUMNS] - self.window).abs().amax(dim=(1, 2, 3)) < 1e-4
        logit = math.log(99) * (2 * there.float() - 1)
        return torch.stack([-logit / 2, logit / 2], dim=1)


def known() -> tuple[Evidence, dict[str, Tensor]]:
    """A speckled picture and three maps of where its window is."""
    inputs = torch.rand(1, 3, 12, 20, generator=torch.Generator().manual_seed(5))
    model = wrap(Knows(inputs[0, :, ROWS, COLUMNS].clone()), input_size=(12, 20), preprocess=Preprocess((12, 20)))
    oracle = torch.rand(1, 12, 20, generator=torch.Generator().manual_seed(6)) * 0.1
    oracle[:, ROWS, COLUMNS] += 1
    return look(model, inputs, Class(1)), {"oracle": oracle, "backwards": -oracle}


def by_hand(evidence: Evidence, maps: dict[str, Tensor], name: str, jump: int) -> float:
    """The area under a curve that is 0 up to the threshold before `jump` and 1 from `jump` on."""
    seen = revealed(evidence, maps, THRESHOLDS, 0.01, evidence.seed)
    share = (seen.bytes[name] - seen.start_bytes) / (seen.whole_bytes - seen.start_bytes)
    points = [0.0, *share[:, 0].clamp(0, 1).tolist(), 1.0]
    heights = [0.0 if index <= jump else 1.0 for index in range(len(points) - 1)] + [1.0]
    return float(np.trapezoid(heights, points))


@pytest.mark.parametrize("measure", [softmax_information_curve, accuracy_information_curve])
def test_the_curve_jumps_where_the_window_is_revealed(measure: object) -> None:
    evidence, maps = known()
    found: Measured = measure(evidence, maps, thresholds=THRESHOLDS)  # type: ignore[operator]
    assert float(found.values["oracle"]) == pytest.approx(by_hand(evidence, maps, "oracle", 1), abs=2e-3)
    assert float(found.values["backwards"]) == pytest.approx(by_hand(evidence, maps, "backwards", 3), abs=2e-3)
    assert float(found.values["oracle"]) > float(found.values["backwards"])
    curve = found.curves["oracle"]["curve"][0]
    assert curve[0] == 0 and curve[-1] == 1 and all(np.diff(curve) >= 0)
    assert evidence.passes.forwards == 2 + 2 * 3


def test_both_curves_share_their_pictures() -> None:
    evidence, maps = known()
    softmax_information_curve(evidence, maps, thresholds=THRESHOLDS)
    asked = evidence.passes.forwards
    accuracy_information_curve(evidence, maps, thresholds=THRESHOLDS)
    assert evidence.passes.forwards == asked


def test_the_figure_of_a_data_set_is_the_area_under_the_middle_curve() -> None:
    curves = [[0.0] + [level] * 999 + [1.0] for level in (0.2, 0.5, 0.9)]
    tables = [Measured({"map": torch.zeros(2)}, curves={"map": {"curve": [curves[0], None]}}),
              Measured({"map": torch.zeros(2)}, curves={"map": {"curve": curves[1:]}})]  # fmt: skip
    assert dataset_area(tables, "map", "median") == pytest.approx(0.5, abs=1e-3)
    assert dataset_area(tables, "map", "mean") == pytest.approx(1.6 / 3, abs=1e-3)
    empty = [Measured({"map": torch.zeros(1)}, curves={"map": {"curve": [None]}})]
    assert math.isnan(dataset_area(empty, "map", "mean"))


def test_pictures_that_cannot_be_measured_are_left_out_with_the_reason() -> None:
    evidence, maps = known()
    unsure = softmax_information_curve(evidence, maps, thresholds=THRESHOLDS, least=0.995)
    assert unsure.values["oracle"].isnan().all() and "below 0.995" in unsure.skipped[0]
    flat = torch.full((1, 3, 12, 20), 0.5)
    model = wrap(Pixels(lambda inputs: inputs.mean(dim=(1, 2, 3)) * 0 + 9), input_size=(12, 20))
    same = softmax_information_curve(look(model, flat, Class(0)), maps, thresholds=THRESHOLDS)
    assert same.values["oracle"].isnan().all() and "no lower than" in same.skipped[0]
    assert same.curves["oracle"]["curve"] == [None]
    scored = wrap(Pixels(lambda inputs: inputs.mean(dim=(1, 2, 3))), input_size=(12, 20), activation="none")
    none = softmax_information_curve(look(scored, flat, Class(0)), maps, thresholds=THRESHOLDS)
    assert "no probability" in none.skipped[0]


def test_unknown_pixels_lie_on_the_plane_through_the_known_ones() -> None:
    rows, columns = np.meshgrid(np.arange(12.0), np.arange(20.0), indexing="ij")
    plane = np.stack([2 * rows + columns, 5 - rows, 0 * rows + 3], axis=-1)
    mask = np.random.default_rng(2).random((12, 20)) < 0.1
    mask[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    holed = np.where(mask[..., None], plane, 99.0)
    np.testing.assert_allclose(interpolated(holed, mask), plane, atol=1e-9)
    assert interpolated(plane, np.ones((12, 20), dtype=bool)) is plane


def test_noise_takes_more_bytes_than_a_flat_picture_by_either_coder(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for coder in (information.CODER, "zlib"):
        monkeypatch.setattr(information, "CODER", coder)
        assert coded(noise) > 3 * coded(np.zeros_like(noise)), coder
        assert coded(noise[..., :1]) < coded(noise)


def test_first_pixels_are_the_same_for_every_map_and_hold_the_corners() -> None:
    evidence, maps = known()
    one, other = (revealed(evidence, maps, (0.2,), 0.1, Seed(seed)) for seed in (0, 1))
    assert float(one.bytes["oracle"]) != float(other.bytes["oracle"])
    assert torch.equal(one.start_bytes, revealed(evidence, {}, (0.2,), 0.1, Seed(0)).start_bytes)
    corners = revealed(evidence, maps, (0.2,), 0.0, Seed(0))
    assert float(corners.start_bytes) < float(one.start_bytes) < float(one.whole_bytes)
    assert_close(corners.whole_bytes, other.whole_bytes)


def test_settings_out_of_range_are_refused() -> None:
    evidence, maps = known()
    for asked in ({"thresholds": ()}, {"thresholds": (0.0,)}, {"start": 1.0}):
        with pytest.raises(RequestError):
            softmax_information_curve(evidence, maps, **asked)  # type: ignore[arg-type]
