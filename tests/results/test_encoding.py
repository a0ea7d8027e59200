"""Values that come back from JSON as they went in."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from pellucid.errors import ShapeError
from pellucid.results.encoding import from_plain, map_from_plain, map_to_plain, to_plain
from pellucid.values import Class, Layer, Preprocess, Region, Seed


@settings(max_examples=80, deadline=None)
@given(some.lists(some.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40), some.integers(-90, 20))
def test_a_map_read_back_is_written_the_same_way_again(values: list[float], exponent: int) -> None:
    first = map_to_plain(torch.tensor(values).double().mul(2.0**exponent).float()[None])
    assert map_to_plain(map_from_plain(first)) == first


@pytest.mark.parametrize("unit", [1e-30, 1e-9, 1.0, 1e9, 1e30])
def test_eleven_bits_of_a_map_survive_in_any_unit(unit: float) -> None:
    values = torch.rand(1, 9, 9, generator=torch.Generator().manual_seed(0)).add(0.1).mul(unit)
    back = map_from_plain(map_to_plain(values))
    assert float(((back - values) / values).abs().max()) <= 2**-11


def test_what_is_not_a_number_survives() -> None:
    back = map_from_plain(map_to_plain(torch.tensor([[float("nan"), float("inf"), -1.0]])))
    assert back[0, 0].isnan() and back[0, 1].isinf() and back[0, 2] == -1


def test_a_shape_that_does_not_fit_its_data_is_refused() -> None:
    with pytest.raises(ShapeError):
        map_from_plain({**map_to_plain(torch.ones(1, 2, 3)), "shape": [1, 2, 4]})


@pytest.mark.parametrize(
    "value",
    [Class(3), Seed(5), Preprocess(size=(7, 8), mean=(0.1, 0.2, 0.3)),
     Layer("conv", "map", "nchw", (3, 4), shape=(1, 2, 3, 4)), float("inf"), [1, {"deep": [None, "x"]}]],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_the_values_of_the_house_come_back(value: Any) -> None:
    assert from_plain(json.loads(json.dumps(to_plain(value)))) == value


@pytest.mark.parametrize(
    "array", [np.eye(5) > 0, np.arange(6.0).reshape(2, 3), np.zeros((0, 3), np.uint8), np.array(3)]
)
def test_arrays_come_back_bit_for_bit(array: np.ndarray) -> None:
    back = from_plain(json.loads(json.dumps(to_plain(array))))
    assert back.dtype == array.dtype and back.shape == array.shape and (back == array).all()


def test_a_region_comes_back_with_its_words() -> None:
    back = from_plain(json.loads(json.dumps(to_plain(Region(np.eye(4) > 0, "a diagonal")))))
    assert back.words == "a diagonal" and (back.mask == np.eye(4)).all()
