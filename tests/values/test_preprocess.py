"""What cannot be a preprocessing is refused by name, with the choices."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from pellucid.errors import RequestError
from pellucid.values import Preprocess

BOXED = ("cover", "pad", "stretch")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"fit": "croop"},
            r"Preprocess\.fit is 'croop'; expected one of 'crop', 'cover', 'pad', .*\. Did .*'crop'",
        ),
        ({"fit": "squash"}, r"Preprocess\.fit is 'squash'"),
        ({"fit": None}, r"Preprocess\.fit is None"),
        ({"interpolation": "cubic"}, r"interpolation is 'cubic'; expected one of 'bicubic', .*Did you mean 'bicubic'"),
        ({"interpolation": 3}, r"interpolation is 3"),
        ({"size": 224}, r"size is 224; expected two whole numbers above 0, \(rows, columns\)"),
        ({"size": (224,)}, r"size is \(224,\)"),
        ({"size": (3, 224, 224)}, r"size is \(3, 224, 224\)"),
        ({"size": (224, 0)}, r"size is \(224, 0\)"),
        ({"size": (224.0, 224.0)}, r"size is \(224.0"),
        ({"size": (True, 5)}, r"size is \(True"),
        ({"size": "22"}, r"size is '22'"),
        ({"resize": 0}, r"resize is 0; expected a whole number above 0 for the shorter side, or two"),
        ({"resize": -4}, r"resize is -4"),
        ({"resize": 25.5}, r"resize is 25\.5"),
        ({"resize": True}, r"resize is True"),
        ({"resize": (5, 6, 7)}, r"resize is \(5, 6, 7\)"),
        ({"mean": 0.5}, r"mean is 0\.5; expected three finite numbers"),
        ({"mean": (0.5,)}, r"mean is \(0\.5,\)"),
        ({"mean": (0.5, 0.5, 0.5, 0.5)}, r"mean is"),
        ({"mean": (0.5, float("nan"), 0.5)}, r"mean is"),
        ({"mean": ("0.5", "0.5", "0.5")}, r"mean is"),
        ({"mean": (123.675, 116.28, 103.53)}, r"Divide mean and std by 255"),
        ({"std": (1.0, 1.0)}, r"std is \(1\.0, 1\.0\); expected three"),
        ({"std": (0.2, 0.0, 0.2)}, r"std is .*above 0"),
        ({"std": (0.2, -1, 0.2)}, r"std is .*above 0"),
        *(({"fit": fit}, rf"fit='{fit}'\) needs a box") for fit in BOXED),
        *(
            ({"fit": fit, "size": (8, 8), "resize": 9}, "resize=9 contradicts it")
            for fit in ("cover", "pad", "stretch")
        ),
        *(({"fit": fit, "size": (8, 8), "resize": (9,)}, "expected two whole") for fit in BOXED),
    ],
)
def test_what_cannot_be_is_refused_with_the_choices(values: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Preprocess(**values)


def test_lists_and_numbers_of_numpy_become_plain_values() -> None:
    given = Preprocess([8, np.int64(9)], np.int32(12), mean=np.float32([0.5, 0.25, 0]), std=[1, 1, 1])  # type: ignore[arg-type]
    plain = Preprocess((8, 9), 12, mean=(0.5, 0.25, 0.0), std=(1.0, 1.0, 1.0))
    assert given == plain and hash(given) == hash(plain)
    assert Preprocess(**json.loads(json.dumps(given.to_dict()))) == plain


def test_the_box_is_the_size_unless_another_is_named() -> None:
    assert Preprocess((8, 9), 12).box is None
    assert [Preprocess((8, 9), fit=fit).box for fit in BOXED] == [(8, 9)] * 3
    assert Preprocess((8, 9), (10, 11), fit="cover").box == Preprocess(None, (10, 11), fit="pad").box == (10, 11)
