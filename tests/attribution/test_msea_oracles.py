"""Maps at several scales laid together: the base's own at scale 1, mean and weights of windows, closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.errors import ParameterError, RequestError
from pellucid.images.scales import together, views
from tests.oracles.nets import pictures


class Means(nn.Module):
    """Its answers are the means of the colours, which a layer hands on as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.see.weight.copy_(torch.eye(3)[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return self.see(x).mean((2, 3))


def test_at_scale_one_alone_the_map_is_the_bases_own() -> None:
    inputs, net = pictures(2, 20, 28, seed=3), pl.wrap(Means(), input_size=(20, 28))
    for base in ("layer_cam", "hires_cam", "gradient_x_input"):
        alone = pl.attribute(net, inputs, base).values
        for fuse in ("mean", "normalised"):
            found = pl.attribute(net, inputs, "msea", base=base, scales=[1], fuse=fuse).values
            torch.testing.assert_close(found, alone, rtol=1e-6, atol=1e-8)


def test_of_a_flat_picture_every_scale_gives_the_same() -> None:
    """The gradient of a mean is 1/n in every window, and a flat picture is its own mean colour."""
    x = torch.full((1, 3, 24, 36), 0.6)
    net = pl.wrap(Means(), input_size=(24, 36))
    for scales in ([0.5], [1.5], [0.5, 1, 2]):
        found = pl.attribute(net, x, "msea", base="gradient_x_input", scales=scales, fuse="mean", target=0).values
        torch.testing.assert_close(found, torch.full((1, 24, 36), 0.6 / (24 * 36)), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 3.1])
def test_windows_cover_the_picture_and_are_laid_back_where_they_were(scale: float) -> None:
    size = (32, 48)
    rows = torch.linspace(0, 1, 32)[:, None].expand(32, 48)
    found = views(size, scale)
    shown = [view.of(rows[None, None]) for view in found]
    assert all(tuple(one.shape) == (1, 1, *size) for one in shown)
    parts = [view.back(one[:, 0]) for view, one in zip(found, shown, strict=True)]
    assert float(torch.stack([weight for _, weight in parts]).sum(dim=0).min()) > 0.3
    torch.testing.assert_close(together(parts)[0, 3:-3], rows[3:-3], atol=0.03, rtol=0)
    assert len(found) == {0.25: 1, 0.5: 1, 0.8: 1, 1.0: 1, 1.25: 4, 1.5: 4, 2.0: 4, 3.1: 16}[scale]


def test_what_surrounds_a_shrunken_picture_is_its_mean_colour() -> None:
    x = pictures(1, 20, 20, seed=1)
    (view,) = views((20, 20), 0.5)
    shown = view.of(x)
    torch.testing.assert_close(shown[0, :, 0, 0], x[0].mean(dim=(1, 2)))
    back, weight = view.back(torch.ones(1, 20, 20))
    torch.testing.assert_close(back[0], weight)
    torch.testing.assert_close(weight, torch.ones(20, 20))


def test_scales_that_cannot_be_are_refused() -> None:
    net = pl.wrap(Means(), input_size=(32, 32))
    with pytest.raises(ParameterError, match="0.1 to 4"):
        pl.attribute(net, pictures(1, 32, 32), "msea", scales=[0.01])
    with pytest.raises(ParameterError, match="base"):
        pl.attribute(net, pictures(1, 32, 32), "msea", base="rise")
    with pytest.raises(RequestError, match="above 0"):
        views((32, 32), 0.0)
