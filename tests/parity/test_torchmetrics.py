"""The measures that torchmetrics has too, on maps with and without ties."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_average_precision, binary_jaccard_index
from torchmetrics.functional.regression import spearman_corrcoef

from pellucid.trust.detection import auc, average_precision
from pellucid.trust.ground import Ground
from pellucid.trust.likeness import rank_correlation
from pellucid.trust.localisation import mask_iou

SIZE = (23, 17)


def numbers(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps() -> tuple[Tensor, Tensor]:
    values = torch.randn(SIZE, generator=numbers(1))
    return values, (values * 2).round()  # the second has many ties


def truth() -> Tensor:
    return torch.rand(SIZE, generator=numbers(2)) > 0.8


@pytest.mark.parametrize("values", maps(), ids=["distinct", "tied"])
def test_pixel_auc(values: Tensor) -> None:
    # torchmetrics squashes what lies outside 0..1 with a sigmoid in float32, which is strictly rising, and no more
    assert auc(values.flatten(), truth().flatten()) == pytest.approx(
        float(binary_auroc(values.double(), truth().int()))
    )


@pytest.mark.parametrize("values", maps(), ids=["distinct", "tied"])
def test_pixel_average_precision(values: Tensor) -> None:
    theirs = binary_average_precision(values.double(), truth().int())
    assert average_precision(values.flatten(), truth().flatten()) == pytest.approx(float(theirs))


def test_mask_iou_at_the_area_of_the_truth() -> None:
    values, mask = maps()[0], truth()
    strongest = values >= values.flatten().topk(int(mask.sum())).values[-1]
    ours = mask_iou({"map": values[None]}, Ground(mask[None], mask[None])).values["map"]
    assert float(ours) == pytest.approx(float(binary_jaccard_index(strongest.int(), mask.int())))


@pytest.mark.parametrize("values", maps(), ids=["distinct", "tied"])
def test_rank_correlation(values: Tensor) -> None:
    other = values + torch.randn(SIZE, generator=numbers(3))
    theirs = spearman_corrcoef(values.flatten().double(), other.flatten().double())
    assert float(rank_correlation(values[None], other[None])) == pytest.approx(float(theirs), abs=1e-6)
