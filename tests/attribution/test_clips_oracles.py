"""Films through the engine: frames one below another, maps over time, windows and masks in space and time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.attribution.clips import time_masks
from pellucid.engine import look
from pellucid.errors import MethodUnavailable, RequestError, ShapeError
from pellucid.stories.clips import watch
from pellucid.subject.clips import as_films, as_strips, by_frame, spread_in_time, wrap_clips
from pellucid.testbed.clips import clips
from pellucid.values import Seed
from tests.oracles.asking import ask
from tests.oracles.nets import Twin, pictures

FRAMES, SIDE = 6, 10


class Watching(nn.Module):
    """Convolution over time and space, ReLU, the mean over all places, one linear layer without bias."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(2)
        self.features = nn.Sequential(nn.Conv3d(3, 4, 3, stride=(1, 2, 2), padding=1), nn.ReLU())
        self.pool, self.flatten, self.head = nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3, bias=False)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=draw) * 0.3)

    def forward(self, films: Tensor) -> Tensor:
        return self.head(self.flatten(self.pool(self.features(films))))


class Window(nn.Module):
    """One class: the mean of the first colour over frames 2 and 3, rows 4 to 7, columns 5 to 8."""

    def forward(self, films: Tensor) -> Tensor:
        found = films[:, 0, 2:4, 4:8, 5:9].mean(dim=(1, 2, 3))
        return torch.stack([found, -found], dim=1)


def films(count: int = 2, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def watching() -> tuple[pl.VisionModel, Watching]:
    net = Watching().eval()
    return wrap_clips(net, frames=FRAMES, size=(SIDE, SIDE), activation="softmax"), net


def windowed() -> pl.VisionModel:
    return wrap_clips(Window().eval(), frames=FRAMES, size=(SIDE, SIDE), activation="none")


def inside() -> Tensor:
    mask = torch.zeros(FRAMES, SIDE, SIDE, dtype=torch.bool)
    mask[2:4, 4:8, 5:9] = True
    return mask


def test_a_film_asked_as_a_strip_has_the_answer_and_the_gradient_of_the_film() -> None:
    model, net = watching()
    given = films().requires_grad_()
    (expected,) = torch.autograd.grad(net(given)[:, 1].sum(), given)
    evidence = look(model, as_strips(given.detach()), 1)
    assert_close(evidence.output(), net(given).detach())
    assert_close(as_films(evidence.input_gradient(), FRAMES), expected)


def test_a_layer_over_time_has_its_instants_one_below_another() -> None:
    model, net = watching()
    layer = model.layers["net.features"]
    assert (layer.kind, layer.order, layer.grid, layer.instants) == ("map", "ncthw", (FRAMES * 5, 5), FRAMES)
    assert model.layers.default is not None and model.layers.default.name == "net.features"
    found = look(model, as_strips(films()), 1).activation(layer)
    with torch.no_grad():
        assert_close(found, net.features(films()).flatten(2, 3))


def test_grad_cam_of_a_film_has_a_closed_form() -> None:
    """After global average pooling the gradient is w / (t h w) everywhere; the map is spread trilinearly."""
    model, net = watching()
    with torch.no_grad():
        grids = torch.einsum("c,bcthw->bthw", net.head.weight[1], net.features(films())) / (FRAMES * 5 * 5)
        expected = torch.nn.functional.interpolate(grids.clamp(min=0)[:, None], (FRAMES, SIDE, SIDE), mode="trilinear")
    heat = pl.attribute(model, as_strips(films()), "grad_cam", target=1)
    assert_close(as_films(heat.values[:, None], FRAMES), expected)
    signed = pl.attribute(model, as_strips(films()), "hires_cam", target=1)
    assert_close(as_films(signed.values[:, None], FRAMES).sum(dim=(1, 2, 3, 4)) / 4, net(films())[:, 1].detach())


def test_a_layer_of_fewer_instants_is_spread_over_all_frames() -> None:
    grids = torch.arange(2.0)[None, :, None].expand(1, 2, 3).repeat_interleave(2, dim=1)  # two instants of 2 x 3: 0, 1
    spread = spread_in_time(grids, 2, 4, (4 * 2, 3))
    assert spread.unflatten(1, (4, 2))[0, :, 0, 0].tolist() == pytest.approx([0, 0.25, 0.75, 1])


def test_windows_of_occlusion_find_the_place_and_the_time() -> None:
    """A film black but for the window's values: outside of it nothing falls, and every cover over it does."""
    given = films(1)
    heat = pl.attribute(windowed(), as_strips(given), "time_occlusion", target=0, window=2, stride=1, span=1,
                        baseline="black")  # fmt: skip
    values = as_films(heat.values[:, None], FRAMES)[0, 0]
    outside = torch.nn.functional.max_pool3d(inside()[None].float(), (1, 3, 3), 1, (0, 1, 1))[0] == 0
    assert values[inside()].min() > 0 and not values[outside].any()
    assert not values[[0, 1, 4, 5]].any()


def test_one_window_over_everything_falls_by_the_whole_target() -> None:
    given = films(2)
    heat = pl.attribute(windowed(), as_strips(given), "time_occlusion", target=0, window=SIDE, stride=SIDE,
                        span=FRAMES, span_stride=FRAMES, baseline="black")  # fmt: skip
    black = windowed().predict(look(windowed(), as_strips(given), 0).fill("black"))[:, 0]
    expected = windowed().predict(as_strips(given))[:, 0] - black
    assert_close(heat.values, expected[:, None, None].expand_as(heat.values))


def test_random_masks_find_the_slope_of_a_linear_model() -> None:
    """The target is a mean over the window; with masks of single pixels and frames each slope is x / 32."""
    given = films(1)
    heat = pl.attribute(windowed(), as_strips(given), "time_rise", target=0, masks=3000, grid=SIDE, span=1,
                        baseline="black", seed=3)  # fmt: skip
    values = as_films(heat.values[:, None], FRAMES)[0, 0]
    expected = torch.where(inside(), given[0, 0] / 32, torch.zeros(()))
    assert torch.corrcoef(torch.stack([values.flatten(), expected.flatten()]))[0, 1] > 0.7
    assert abs(float(values[~inside()].mean())) < 0.05 * float(values[inside()].mean())


def test_masks_are_the_same_however_many_are_asked_for() -> None:
    few, many = (torch.cat(list(time_masks(count, 3, 2, 0.5, (FRAMES, 8, 9), Seed(1)))) for count in (5, 100))
    assert torch.equal(few, many[:5]) and many.shape == (100, FRAMES * 8, 9)
    assert 0 <= many.min() and many.max() <= 1 and abs(many.mean() - 0.5) < 0.03


@pytest.mark.parametrize("name", ["time_occlusion", "time_rise"])
def test_a_picture_is_a_film_of_one_frame(name: str) -> None:
    """`time_occlusion` then is `occlusion`, and `time_rise` tells the same places apart as itself on a film of one."""
    inputs = pictures(2, 24, 24, seed=4)
    if name == "time_occlusion":
        mine, theirs = (ask(one, Twin("module"), inputs, window=8, stride=4) for one in (name, "occlusion"))
    else:
        film = wrap_clips(_OnePicture(), frames=1, size=(24, 24))
        theirs = ask(name, film, inputs, masks=20)
        mine = ask(name, Twin("module"), inputs, masks=20)
    assert_close(mine, theirs)


class _OnePicture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Twin("module")

    def forward(self, films: Tensor) -> Tensor:
        return self.net(films[:, :, 0])


def test_what_covers_a_frame_is_made_of_that_frame() -> None:
    model, given = windowed(), films(1)
    fill = as_films(look(model, as_strips(given), 0).fill("mean"), FRAMES)
    assert_close(fill[0, :, :, 0, 0], given.mean(dim=(-2, -1))[0])
    assert torch.equal(by_frame(as_strips(given), FRAMES, lambda shown: shown), as_strips(given))


@pytest.mark.untyped
def test_a_tensor_of_another_shape_is_no_film() -> None:
    with pytest.raises(ShapeError, match=r"\[batch channel frame height width\]"):
        as_strips(torch.zeros(3, 6, 10, 10))
    with pytest.raises(ShapeError, match="6 frames one below another"):
        as_films(torch.zeros(1, 3, 32, 10), FRAMES)


def test_what_is_no_film_is_named() -> None:
    model, _ = watching()
    with pytest.raises(RequestError, match="model of pictures"):
        watch("testbed:cnn", films(1)[0])
    with pytest.raises(RequestError, match="6 frames"):
        watch(model, films(1)[0, :, :4])
    with pytest.raises(MethodUnavailable, match="made for pictures"):
        watch(model, films(1)[0], "rise")


@pytest.mark.parametrize(("method", "flight", "cause"), [("grad_cam", 0.75, 3), ("time_occlusion", 0.7, 3)])
def test_the_shipped_net_is_seen_to_look_at_the_flight(method: str, flight: float, cause: float) -> None:
    """The flight is half of the frames and a tenth of the pixels; a map that knew nothing would hold as much of it."""
    drawn, times, places = clips(4200, 3), list[float](), list[float]()
    for at in range(len(drawn)):
        found = watch("testbed:clips", drawn[at].tensor()[0], method)[method]
        weight = found.values.clamp(min=0).numpy()
        times.append(weight[drawn.moving[at]].sum() / weight.sum())
        places.append(weight[drawn.cause[at]].sum() / weight.sum() / drawn.cause[at].mean())
    assert np.mean(times) > flight and np.mean(places) > cause


def test_a_map_of_a_film_is_read_back_and_draws_itself(tmp_path: Path) -> None:
    model, _ = watching()
    found = watch(model, films(1)[0], "hires_cam", target=1, name="a film")["hires_cam"]
    assert found.over_time.sum() == pytest.approx(1) and "a film" in found.sentence
    back = pl.open(found.save(tmp_path / "map.json"))
    assert pl.open(back.save(tmp_path / "again.json")) == back and back.method == "hires_cam"
    assert_close(back.values, found.values, rtol=1e-3, atol=1e-6)
    with Image.open(found.save(tmp_path / "map.gif")) as film:
        assert getattr(film, "n_frames", 1) == FRAMES
    assert found.save(tmp_path / "map.png").stat().st_size > 1000
    assert np.load(found.save(tmp_path / "map.npz"))["values"].shape == (FRAMES, SIDE, SIDE)
    assert "frame 5" in found.save(tmp_path / "map.html").read_text()


def test_frames_may_be_given_as_pictures() -> None:
    drawn = clips(4300, 1)
    frames = [pl.Frame(pixels, f"frame {at}") for at, pixels in enumerate(drawn.pixels[0])]
    as_pictures = watch("testbed:clips", frames, "hires_cam")["hires_cam"]
    as_input = watch("testbed:clips", drawn.tensor()[0], "hires_cam")["hires_cam"]
    assert_close(as_pictures.values, as_input.values, rtol=1e-4, atol=1e-6)
    assert np.array_equal(as_pictures.pixels, as_input.pixels)
    assert all(not np.array_equal(one, other) for one, other in pairwise(as_pictures.drawn()))
