"""Annotated types and shapes are checked where the environment asks for it (`make shapes`), and only there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pellucid.images.baselines import blur
from tests.annotations import CHECKED

CODE = """
import tests.conftest, torch
from jaxtyping import TypeCheckError
from pellucid.images.baselines import blur
blur(torch.zeros(1, 3, 4, 4), 1)  # an int passes for a float
for picture, sigma in ((torch.zeros(3, 3), 1.0), (torch.zeros(1, 3, 4, 4).int(), 1.0), (torch.zeros(1, 3, 4, 4), "1")):
    try:
        blur(picture, sigma)
    except TypeCheckError:
        print("caught")
"""


def test_wrong_arguments_are_caught_by_their_annotations_where_that_is_asked_for() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CODE], cwd=Path(__file__).parents[2], env=os.environ | {"PELLUCID_CHECK_SHAPES": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.stdout.split() == ["caught"] * 3, ran.stderr[-500:]


def test_nothing_is_checked_unasked() -> None:
    assert hasattr(blur, "__wrapped__") == CHECKED
