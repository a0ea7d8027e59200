"""Maps whose score is known beforehand, on real scenes: the answer itself, a flat map, and random ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.testbed import scenes, truth
from pellucid.trust.localisation import hits, overlaps


@pytest.mark.parametrize("settings", [{}, {"task": "bib6"}, {"task": "count"}, {"task": "side"}, {"size": 128}])
def test_the_answer_as_a_map_is_right_and_a_flat_map_is_worth_its_area(settings: dict[str, object]) -> None:
    answer = torch.from_numpy(truth.causal(scenes(95, 12, **settings)))
    assert hits(answer.float(), answer) == overlaps(answer.float(), answer) == (1.0,) * 12
    areas = answer.float().mean(dim=(1, 2))
    assert hits(torch.ones(answer.shape), answer) == pytest.approx(areas.tolist())
    assert overlaps(torch.ones(answer.shape), answer) == pytest.approx((areas / (2 - areas)).tolist())


def test_random_maps_hit_as_often_as_the_answer_is_large() -> None:
    """Within three standard deviations."""
    answer = torch.from_numpy(truth.grown(truth.causal(scenes(96, 400))))
    values = torch.rand(answer.shape, generator=torch.Generator().manual_seed(1))
    area = answer.float().mean().item()
    assert np.mean(hits(values, answer)) == pytest.approx(area, abs=3 * np.sqrt(area * (1 - area) / 400))
