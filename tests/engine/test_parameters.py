"""What a parameter of a method may be is said once, by its name, and asked before the first pass."""

from __future__ import annotations

import inspect
from fractions import Fraction
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import pellucid as pl
from pellucid.engine.parameters import READERS, Place, checked, parameters_of
from pellucid.errors import ParameterError, RequestError
from pellucid.registry import find_method, methods
from pellucid.values import Layer

LAYER = Layer("conv", "map", "nchw", grid=(5, 7), channels=12)
PLACE = Place((48, 64), LAYER)
KEYWORDS = [(name, keyword) for name, method in methods().items() for keyword in parameters_of(method)]
NAN, INFINITY = float("nan"), float("inf")


def read(method: str, name: str, value: Any, place: Place = PLACE) -> Any:
    return checked(find_method(method), {name: value}, place)[name]


@pytest.mark.parametrize(("method", "keyword"), KEYWORDS)
def test_every_default_is_a_value_the_parameter_may_have(method: str, keyword: str) -> None:
    default = parameters_of(find_method(method))[keyword]
    assert read(method, keyword, default) == default
    assert type(read(method, keyword, default)) is type(default), "as it was written"


@pytest.mark.parametrize(("method", "keyword"), KEYWORDS)
def test_none_is_taken_where_the_signature_has_it_and_refused_elsewhere(method: str, keyword: str) -> None:
    hint = get_type_hints(find_method(method).function)[keyword]
    if type(None) in getattr(hint, "__args__", ()):
        assert read(method, keyword, None) is None
    else:
        with pytest.raises(ParameterError, match="None"):
            read(method, keyword, None)


@pytest.mark.parametrize(("method", "keyword"), KEYWORDS)
@pytest.mark.parametrize(
    "nonsense",
    [NAN, INFINITY, -INFINITY, "many", [], {}, object(), 1j, b"1"],
    ids=lambda value: "an object" if type(value) is object else repr(value),
)
def test_nothing_takes_what_is_no_value_at_all(method: str, keyword: str, nonsense: Any) -> None:
    with pytest.raises(ParameterError) as caught:
        read(method, keyword, nonsense)
    assert (caught.value.method, caught.value.name) == (method, keyword)
    assert caught.value.expected


@pytest.mark.parametrize(("method", "keyword"), KEYWORDS)
def test_true_is_no_number_and_one_is_not_true(method: str, keyword: str) -> None:
    kind = inspect.signature(find_method(method).function).parameters[keyword].annotation
    with pytest.raises(ParameterError):
        read(method, keyword, 1 if kind == "bool" else True)


WHOLE = [
    ("integrated_gradients", "steps", 1, 10_000), ("integrated_gradients", "most_steps", 1, 10_000),
    ("smoothgrad", "samples", 1, 1_000_000), ("rise", "masks", 1, 1_000_000), ("score_cam", "top", 1, 1_000_000),
    ("chefer", "last", 1, 1_000_000), ("refined_occlusion", "closer", 0, 1_000_000), ("rise", "grid", 1, 64),
    ("random", "grid", 1, 64), ("refined_occlusion", "window", 1, 64), ("occlusion", "window", 1, 64),
    ("occlusion", "stride", 1, 64), ("lime", "segments", 2, 48 * 64),
]  # fmt: skip


@pytest.mark.parametrize(("method", "name", "least", "most"), WHOLE)
def test_a_whole_number_has_both_its_ends(method: str, name: str, least: int, most: int) -> None:
    for value in (least, most, float(least), np.int64(most), np.float32(least), Fraction(least)):
        found = read(method, name, value)
        assert found == value and type(found) is int
    for value in (least - 1, most + 1, least + 0.5, -(10**400), 10**400):
        with pytest.raises(ParameterError, match=f"from {least} to {most}"):
            read(method, name, value)


@pytest.mark.parametrize(
    ("method", "name", "inside", "outside"),
    [
        ("rise", "keep", [0.01, 0.5, 0.99], [0, 1, -0.1, 1.1]),
        ("lime", "keep", [0.5], [0.0, 1.0]),
        ("lime", "kernel", [1e-200, 0.25, 3], [0, -1]),
        ("lime", "ridge", [0, 1.0], [-1e-9]),
        ("smoothgrad", "noise", [0, 0.15, 2], [-0.1]),
        ("integrated_gradients", "tolerance", [0, 0.05], [-0.05]),
        ("attention_rollout", "discard", [0, 0.999], [1, -0.1]),
        ("centre", "width", [1e-200, 0.25], [0, -0.25]),
    ],
)
def test_a_number_has_its_bounds(method: str, name: str, inside: list[float], outside: list[float]) -> None:
    for value in inside:
        assert read(method, name, value) == value
    for value in outside:
        with pytest.raises(ParameterError, match=f"{name}="):
            read(method, name, value)


@given(value=st.integers(-5, 100) | st.floats() | st.booleans() | st.none() | st.text(max_size=3))
def test_what_is_taken_is_a_plain_value_inside_its_range(value: Any) -> None:
    for name, kind in {"samples": int, "noise": float, "baseline": str}.items():
        try:
            found = read("lime" if name == "baseline" else "smoothgrad", name, value)
        except ParameterError:
            continue
        assert type(found) is kind


def test_a_name_nearly_right_gets_the_nearest() -> None:
    with pytest.raises(ParameterError, match="Nearest: black") as caught:
        read("integrated_gradients", "baseline", "blakc")
    assert caught.value.nearest[0] == "black"
    for method, name in (("attention_rollout", "fuse"), ("legrad", "pool")):
        assert read(method, name, "mean") == "mean"
        with pytest.raises(ParameterError, match="one of mean"):
            read(method, name, "Mean ")


def test_a_fill_that_depends_on_what_is_removed_is_no_baseline() -> None:
    with pytest.raises(ParameterError, match="one of blur, mean"):
        read("occlusion", "baseline", "inpaint")


def test_an_extent_is_a_side_or_rows_and_columns_inside_the_picture() -> None:
    for value in ((8, 12), [8, 12], np.array([8, 12]), torch.tensor([8, 12]), (8.0, 12.0)):
        assert read("occlusion", "window", value) == (8, 12)
    for value in ((0, 4), (49, 4), (4, 65), (4,), (4, 4, 4), (True, 4), (4.5, 4), "88", range(3)):
        with pytest.raises(ParameterError, match="48 x 64"):
            read("occlusion", "window", value)
    with pytest.raises(ParameterError, match="48 x 64"):
        read("refined_occlusion", "window", (8, 8))


def test_segments_may_be_a_map_of_the_inputs_size() -> None:
    numbers = torch.arange(48 * 64).reshape(48, 64) // 1024
    assert read("lime", "segments", numbers) is numbers
    assert torch.equal(read("kernel_shap", "segments", numbers.numpy()), numbers)
    for wrong in (numbers[:9], numbers.float(), numbers.numpy()[None]):
        with pytest.raises(ParameterError, match="height width"):
            read("lime", "segments", wrong)


def test_channels_and_neurons_belong_to_the_layer() -> None:
    method = "smooth_grad_cam_pp"
    mask = torch.ones(5, 7, dtype=torch.bool)
    assert read(method, "channels", (11, 0.0)) == [11, 0]
    assert read(method, "neurons", [(11, 4, 6), [0, 0, 0]]) == [(11, 4, 6), (0, 0, 0)]
    assert read(method, "neurons", mask) is mask
    assert torch.equal(read(method, "neurons", mask.numpy()), mask)
    for wrong in ([12], [-1], 3, [0, "1"]):
        with pytest.raises(ParameterError, match="0 to 11"):
            read(method, "channels", wrong)
    for wrong in ([(12, 0, 0)], [(0, 5, 0)], [(0, 0)], [0], mask.T, mask.int(), [(0, 0, 0), None]):
        with pytest.raises(ParameterError, match="neurons"):
            read(method, "neurons", wrong)


def test_an_unknown_parameter_is_met_with_those_there_are() -> None:
    with pytest.raises(RequestError, match="masks=4000, grid=7"):
        read("rise", "mask", 3)


def test_no_reader_is_left_over() -> None:
    assert set(READERS) == {keyword for _, keyword in KEYWORDS}


def test_a_slip_in_the_last_method_is_met_before_the_first_pass() -> None:
    asked: list[int] = []

    def box(pictures: torch.Tensor) -> torch.Tensor:
        asked.append(len(pictures))
        return pictures.flatten(1)[:, :3]

    model = pl.wrap(box, input_size=(16, 16))
    _ = model.outputs
    before = len(asked)
    with pytest.raises(ParameterError, match="kernel"):
        pl.attribute(model, torch.rand(1, 3, 16, 16), ["rise", "lime"], masks=3, kernel=0)
    assert len(asked) == before


def test_what_was_read_is_what_the_result_remembers() -> None:
    model = pl.wrap(lambda pictures: pictures.flatten(1)[:, :3], input_size=(16, 16))
    heat = pl.attribute(model, torch.rand(1, 3, 16, 16), "rise", masks=np.int64(3), grid=2.0)
    assert dict(heat.parameters) == {"masks": 3, "grid": 2}
    assert all(type(value) is int for value in heat.parameters.values())
