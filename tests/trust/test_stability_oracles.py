"""What is linear moves by hand, what works pixel by pixel follows every move, and what ignores all stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.errors import RequestError
from pellucid.images.shifts import restained, saved_as_jpeg
from pellucid.subject import VisionModel, wrap
from pellucid.trust.likeness import LIKENESSES, hog, rank_correlation
from pellucid.values import Preprocess, Seed
from tests.nets import TinyViT, Twin
from tests.oracles.nets import LinearPicture, Pixels, PooledConv, pictures

HEIGHT, WIDTH, CLASS, RADIUS = 13, 18, 2, 0.05
INPUTS = pictures(2, HEIGHT, WIDTH, seed=5)
COLOURS = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(6))
LINEAR = LinearPicture(HEIGHT, WIDTH)


def of(network: nn.Module, **options: object) -> VisionModel:
    return wrap(network, input_size=(HEIGHT, WIDTH), activation="none", **options)


def score(model: VisionModel, method: str, metric: str, inputs: Tensor = INPUTS, **asked: object) -> Tensor:
    heat = pl.attribute(model, inputs, method, target=1)
    return torch.tensor(pl.evaluate(model, inputs, heat, metric, **asked)[0].values)


def drawn(samples: int) -> Tensor:
    """The changes of the pictures, [sample batch 3 height width]."""
    rows = [torch.rand(INPUTS.shape, generator=Seed(0).child("change", at).generator()) for at in range(samples)]
    return (2 * torch.stack(rows) - 1) * RADIUS


def squares() -> VisionModel:
    """Its gradient is the picture's grey, wherever that goes."""
    return of(Pixels(lambda inputs: 1.5 * inputs.mean(dim=1).square().sum(dim=(1, 2))))


def worth(inputs: Tensor) -> Tensor:
    return (inputs * LINEAR.weight[1].detach()).sum(dim=-3)


@pytest.mark.parametrize("summary", ["largest", "mean"])
def test_average_and_largest_sensitivity_of_gradient_x_input_are_worked_out_by_hand(summary: str) -> None:
    moved = worth(drawn(4)).flatten(2).norm(dim=2) / worth(INPUTS).flatten(1).norm(dim=1)
    expected = moved.amax(dim=0) if summary == "largest" else moved.mean(dim=0)
    found = score(of(LINEAR), "gradient_x_input", "max_sensitivity", samples=4, radius=RADIUS, summary=summary)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_relative_input_stability_is_as_published() -> None:
    """Every number's change in parts of that number, of map and picture alike."""
    changes = drawn(3)
    map_moved = (worth(changes) / worth(INPUTS)).flatten(2).norm(dim=2)
    expected = (map_moved / (changes / INPUTS).flatten(2).norm(dim=2)).amax(dim=0)
    found = score(
        of(LINEAR), "gradient_x_input", "local_lipschitz", samples=3, radius=RADIUS, relative="elements",
        same_class=False,
    )  # fmt: skip
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    plain = (worth(changes).flatten(2).norm(dim=2) / changes.flatten(2).norm(dim=2)).amax(dim=0)
    found = score(of(LINEAR), "gradient_x_input", "local_lipschitz", samples=3, radius=RADIUS, relative="none")
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-5)


def test_relative_output_stability_leaves_the_outputs_as_they_are() -> None:
    changes = drawn(3)
    outputs = torch.einsum("nchw,sbchw->sbn", LINEAR.weight.detach(), changes).norm(dim=2)
    expected = ((worth(changes) / worth(INPUTS)).flatten(2).norm(dim=2) / outputs).amax(dim=0)
    found = score(
        of(LINEAR), "gradient_x_input", "output_stability", samples=3, radius=RADIUS, relative="elements"
    )  # fmt: skip
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("relative", ["norms", "elements"])
def test_relative_representation_stability_reads_the_layer(relative: str) -> None:
    network = PooledConv().eval()
    changes = drawn(3)
    with torch.no_grad():
        before = network.features(INPUTS)
        moved = torch.stack([network.features(INPUTS + one) for one in changes]) - before
    model = of(network)
    slopes = pl.attribute(model, INPUTS, "gradient_x_input", target=1).one_channel
    after = torch.stack(
        [pl.attribute(model, INPUTS + one, "gradient_x_input", target=1).one_channel for one in changes]
    )
    least = torch.tensor(1e-6)
    if relative == "norms":
        ratio = (after - slopes).flatten(2).norm(dim=2) / slopes.flatten(1).norm(dim=1)
        ratio = ratio / (moved.flatten(2).norm(dim=2) / before.flatten(1).norm(dim=1))
    else:
        ratio = ((after - slopes) / torch.where(slopes == 0, least, slopes)).flatten(2).norm(dim=2)
        ratio = ratio / (moved / torch.where(before == 0, least, before)).flatten(2).norm(dim=2)
    found = score(
        model, "gradient_x_input", "representation_stability", samples=3, radius=RADIUS, relative=relative,
        representation="relu",
    )  # fmt: skip
    torch.testing.assert_close(found, ratio.amax(dim=0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("metric", ["local_lipschitz", "output_stability", "representation_stability"])
def test_pictures_whose_class_no_change_keeps_have_no_value(metric: str) -> None:
    class Brittle(nn.Module):
        """The first class for the first of the pictures as it is, and for nothing else; the second picture stays."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)

        def forward(self, inputs: Tensor) -> Tensor:
            away = (inputs - INPUTS[0]).abs().mean(dim=(1, 2, 3))
            held = self.conv(inputs).mean(dim=(1, 2, 3))
            return torch.stack([1e-3 - away, 1e-6 * held], dim=1)

    model = of(Brittle())
    heat = pl.attribute(model, INPUTS, "gradient", target=0)
    asked = {"same_class": True} if metric == "local_lipschitz" else {}
    (found,) = pl.evaluate(model, INPUTS, heat, metric, samples=2, **asked)
    assert torch.tensor(found.values).isnan().tolist() == [True, False]
    assert any("picture 0" in note and "class" in note for note in found.notes)


@pytest.mark.parametrize("alike", LIKENESSES)
def test_a_map_of_single_pixels_follows_mirror_and_crop(alike: str) -> None:
    heat = pl.attribute(squares(), COLOURS, "gradient", target=0)
    torch.testing.assert_close(heat.one_channel, COLOURS.mean(dim=1))
    (found,) = pl.evaluate(squares(), COLOURS, heat, "equivariance", alike=alike, side=0.7)
    assert found.values == pytest.approx((1.0, 1.0), abs=1e-4)  # bilinear enlarging commutes with the mean of colours
    assert found.curves is not None and found.curves["of"] == ["mirror", "crop"]


def test_a_map_that_stays_where_it_was_is_as_equivariant_as_it_is_like_its_mirror_image() -> None:
    model = of(LINEAR)
    own = pl.attribute(model, INPUTS, "gradient", target=1).one_channel
    expected = rank_correlation(own.flip(-1), own).float()
    torch.testing.assert_close(score(model, "gradient", "equivariance", moves=("mirror",)), expected)


def test_maps_without_chance_are_the_same_for_every_seed_and_noise_never_is() -> None:
    model = of(Twin())
    assert score(model, "gradient", "seed_stability").tolist() == pytest.approx([1.0, 1.0])
    assert score(model, "random", "seed_stability", samples=6).abs().max() < 0.2
    smooth = score(model, "smoothgrad", "seed_stability")
    assert 0 < smooth.min() and smooth.max() < 0.999


def test_what_ignores_the_picture_survives_every_shift_and_what_reads_it_does_not() -> None:
    assert score(of(LINEAR), "gradient", "shift_stability", COLOURS).tolist() == pytest.approx([1.0, 1.0])
    rough, fine = (
        score(of(LINEAR), "gradient_x_input", "shift_stability", COLOURS, shifts=("jpeg",), quality=quality)
        for quality in (5, 95)
    )
    assert (rough < fine).all() and (fine < 1).all() and (fine > 0.8).all()
    none = score(of(LINEAR), "gradient_x_input", "shift_stability", COLOURS, shifts=("stain",), strength=0)
    assert none.tolist() == pytest.approx([1.0, 1.0], abs=1e-3)
    weak, strong = (
        score(of(LINEAR), "gradient_x_input", "shift_stability", COLOURS, shifts=("stain",), strength=strength)
        for strength in (0.02, 0.5)
    )
    assert (strong < weak).all()


def test_a_shift_is_one_of_colours_whatever_the_scale_of_the_input() -> None:
    """A net of normalised input that undoes the normalisation first is the plain one."""

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Twin().eval()
            self.mean = nn.Parameter(torch.tensor([0.4, 0.5, 0.6])[:, None, None])

        def forward(self, inputs: Tensor) -> Tensor:
            return self.net(inputs * 0.25 + self.mean)

    inner = Plain()
    scaled = Preprocess(size=(HEIGHT, WIDTH), mean=(0.4, 0.5, 0.6), std=(0.25, 0.25, 0.25))
    whole = (COLOURS * 255).round() / 255
    normalised = (whole - inner.mean.detach()) / 0.25
    for shifts in (("jpeg",), ("stain",)):
        asked = {"shifts": shifts, "quality": 20, "strength": 0.3}
        expected = score(of(inner.net), "gradient", "shift_stability", whole, **asked)
        found = score(of(inner, preprocess=scaled), "gradient", "shift_stability", normalised, **asked)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        assert expected.max() < 0.999


def test_dyes_are_mixed_as_lambert_and_beer_have_it() -> None:
    stains = torch.tensor([(0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78)], dtype=torch.float64)
    stains = stains / stains.norm(dim=1, keepdim=True)
    amounts = torch.tensor([[0.4, 0.2, 0.1], [0.0, 0.5, 0.0]], dtype=torch.float64)

    def mixed(amounts: Tensor) -> Tensor:
        return (-(amounts @ stains)).exp()[:, :, None, None].expand(-1, -1, 3, 5)

    factors, offsets = torch.tensor([[2.0, 1.0, 0.5]]).expand(2, 3), torch.tensor([[0.0, 0.1, 0.3]]).expand(2, 3)
    found = restained(mixed(amounts), factors, offsets)
    torch.testing.assert_close(found, mixed(amounts * factors + offsets))
    torch.testing.assert_close(restained(COLOURS, torch.ones(2, 3), torch.zeros(2, 3)), COLOURS)


def test_an_even_picture_survives_jpeg_in_colour_and_in_grey() -> None:
    even = torch.full((1, 16, 16, 3), 128, dtype=torch.uint8).numpy()
    assert (saved_as_jpeg(even, 50) == even).all()
    assert (saved_as_jpeg(even[..., 0], 50) == even[..., 0]).all()


def test_histograms_of_gradients_do_not_see_brightness_and_tell_stripes_apart() -> None:
    upright = torch.arange(32).div(4).floor().remainder(2).expand(1, 32, 32)
    sheet = upright + 0.0
    assert float(hog(sheet, 3 * sheet + 1)) == pytest.approx(1.0)
    assert float(hog(sheet, sheet.transpose(1, 2))) < 0.2
    assert float(hog(sheet, torch.ones_like(sheet))) == 0.0


@pytest.mark.parametrize("metric", ["equivariance", "shift_stability", "seed_stability", "representation_stability"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("network", [Twin, TinyViT])
def test_convolutions_and_transformers_are_measured_in_both_precisions(
    metric: str, dtype: torch.dtype, network: type[nn.Module]
) -> None:
    size = (12, 16) if network is TinyViT else (15, 22)
    model = wrap(network().to(dtype).eval(), input_size=size)
    inputs = pictures(3, *size)
    heat = pl.attribute(model, inputs, "grad_cam", target=1)
    asked = {"samples": 2} if metric in ("seed_stability", "representation_stability") else {}
    (found,) = pl.evaluate(model, inputs, heat, metric, **asked)
    assert len(found.values) == len(found.random) == 3 and torch.tensor(found.values).isfinite().all()


def test_moves_and_shifts_that_do_not_exist_are_refused() -> None:
    model = of(LINEAR)
    heat = pl.attribute(model, INPUTS, "gradient", target=1)
    for metric, wrong in (
        ("equivariance", {"moves": ("spin",)}), ("equivariance", {"moves": ()}), ("equivariance", {"side": 1.0}),
        ("equivariance", {"alike": "taste"}), ("shift_stability", {"shifts": ("fog",)}),
        ("shift_stability", {"quality": 0}), ("seed_stability", {"samples": 0}),
        ("max_sensitivity", {"summary": "median"}), ("local_lipschitz", {"relative": "to her"}),
    ):  # fmt: skip
        with pytest.raises(RequestError, match="expected"):
            pl.evaluate(model, INPUTS, heat, metric, **wrong)
