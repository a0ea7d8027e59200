"""What becomes model input: tensors, sizes and preprocessing."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import nn

import pellucid as pl
from pellucid import errors
from tests.faults import files
from tests.faults.files import network
from tests.faults.row import MODEL, SOME_FAILED, Nowhere, Refused, Row, Typed, explain, value
from tests.faults.subjects import bird, tensor, twin


def shape(*words: str) -> Refused:
    return Refused(errors.ShapeError, words)


def model(*says: str, code: int = 2) -> Typed:
    return explain("BIRD", "--model", "GIVEN", "--methods", "occlusion", "--budget", "60", code=code, says=says)


def attributed(given: object) -> object:
    return pl.attribute(twin(), given, "gradient")


@cache
def fixed() -> pl.VisionModel:
    """Takes pictures of 8 x 8 alone, and does not say so."""
    with torch.random.fork_rng(devices=[]):
        return pl.wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)))


def sized(**settings: object) -> object:
    return lambda given: pl.attribute(
        pl.wrap(twin().module, preprocess=pl.Preprocess(**{**settings, **given})), bird(), "gradient", target=0
    )


TENSORS = [
    Row("a tensor of three dimensions that is no picture", value(tensor()[0]),
        Refused(errors.ImageError, ("outside 0..1", "Undo its normalisation")), attributed,
        explain("GIVEN", code=SOME_FAILED, says=("input.pt", "ZIP archive")),
        typed=files.tensor_file("input.pt", tensor()[0])),
    Row("a tensor of five dimensions", value(tensor()[None]),
        Refused(errors.ImageError, ("[1, 1, 3, 13, 17]", "[3 height width]")), attributed,
        model("['batch', 3, 5, 8, 8]", "[batch 3 height width]"), typed=network(shape=("batch", 3, 5, 8, 8))),
    Row("channels last", value(tensor().permute(0, 2, 3, 1)), shape("[1, 13, 17, 3]", "inputs.permute(0, 3, 1, 2)"),
        attributed, model("which axis holds the colours is not said", "layout='nhwc'"),
        typed=network(shape=("batch", "a", "b", "c"))),
    Row("two channels", value(torch.zeros(1, 2, 13, 17)), shape("[1, 2, 13, 17]", "[batch 3 height width]"), attributed,
        model("['batch', 2, 8, 8]", "no axis of 3 colours"), typed=network(shape=("batch", 2, 8, 8))),
    Row("whole numbers", value((tensor() * 9).to(torch.uint8)), shape("uint8", "floats"), attributed,
        model("its input is tensor(int64)", "tensor(float)"), typed=network(kind="INT64")),
    Row("complex numbers", value(tensor().to(torch.complex64)), shape("complex64", "floats"), attributed,
        model("its input is tensor(bool)", "tensor(float)"), typed=network(kind="BOOL")),
    Row("an empty batch", value(tensor()[:0]), shape("[0, 3, 13, 17]", "none of them 0"), attributed,
        Nowhere("a command without a picture is a row of its own")),
    Row("not finite", value(tensor() / 0), shape("not finite", "finite numbers"), attributed,
        Nowhere("a file of pixels that are NaN is a row of its own")),
    Row("a sparse tensor", value(tensor().to_sparse()), shape("sparse", "an ordinary tensor"), attributed,
        Nowhere("files of pictures are not sparse")),
    Row("a tensor without numbers", value(tensor().to("meta")), shape("meta", "an ordinary tensor"), attributed,
        Nowhere("files of pictures hold numbers")),
]  # fmt: skip

SIZES = [
    Row("a size the model cannot take", value(torch.randn(1, 3, 9, 9)),
        Refused(errors.ModelError, ("could not answer an input of", "input_size")),
        lambda given: pl.attribute(fixed(), given, "gradient", target=0),
        model("could not answer an input of 9 x 9", "input_size", code=SOME_FAILED),
        typed=network({"preprocess": {"size": [9, 9]}})),
    Row("a picture without preprocessing", value(np.zeros((9, 9, 3), np.uint8)),
        Refused(errors.PreprocessError, ("does not say how a picture becomes its input", "pl.Preprocess(")),
        lambda given: pl.attribute(pl.wrap(twin().module), given, "gradient"), MODEL, typed=network(None)),
    Row("a preprocess by name", value("imagenet"),
        Refused(errors.ModelError, ("preprocess is a str", "pl.Preprocess")),
        lambda given: pl.wrap(twin().module, preprocess=given), model("preprocess 'imagenet'", "Its keys are size"),
        typed=network({"preprocess": "imagenet"})),
    Row("a size of nothing", value({"size": (0, 9)}),
        Refused(errors.RequestError, ("Preprocess.size is", "(rows, columns)")), sized(),
        model("net.json", "Preprocess.size is", "(rows, columns)"), typed=network({"preprocess": {"size": [0, 9]}})),
    Row("a size that no memory holds", value({"size": (10**8, 10**8)}),
        Refused(errors.MemoryBudgetError, ("memory",)), sized(), model("memory", code=SOME_FAILED),
        typed=network({"preprocess": {"size": [10**8, 10**8]}})),
    Row("a resize below zero", value({"resize": -3}), Refused(errors.RequestError, ("Preprocess.resize is -3",)),
        sized(), model("net.json", "Preprocess.resize is -3"), typed=network({"preprocess": {"resize": -3}})),
    Row("an unknown way to fit", value({"fit": "squash"}), Refused(errors.RequestError, ("'squash'", "'crop'")),
        sized(size=(9, 9)), model("net.json", "squash"), typed=network({"preprocess": {"fit": "squash"}})),
    Row("an unknown interpolation", value({"interpolation": "cubic"}), Refused(errors.RequestError, ("'cubic'",)),
        sized(size=(9, 9)), model("net.json", "cubic"), typed=network({"preprocess": {"interpolation": "cubic"}})),
    Row("a mean of two colours", value({"mean": (0.5, 0.5)}), Refused(errors.RequestError, ("Preprocess.mean",)),
        sized(size=(9, 9)), model("net.json", "mean"), typed=network({"preprocess": {"mean": [0.5, 0.5]}})),
    Row("a spread of zero", value({"std": (0.0, 0.0, 0.0)}), Refused(errors.RequestError, ("Preprocess.std",
        "above 0")),
        sized(size=(9, 9)), model("net.json", "Preprocess.std", "above 0"),
        typed=network({"preprocess": {"std": [0, 0, 0]}})),
    Row("an input size of one number", value(8), Refused(errors.ModelError, ("input_size is 8", "(rows, columns)")),
        lambda given: pl.wrap(twin().module, input_size=given), model("net.json", "input_size is 8", "[rows, columns]"),
        typed=network({"input_size": 8})),
    Row("an input size below zero", value((-1, 8)), Refused(errors.ModelError, ("input_size is (-1, 8)", "above 0")),
        lambda given: pl.wrap(twin().module, input_size=given), model("input_size is", "above 0"),
        typed=network({"input_size": [-1, 8]})),
]  # fmt: skip

INPUTS = [*TENSORS, *SIZES]
