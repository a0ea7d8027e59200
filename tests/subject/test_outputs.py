"""Whatever a model returns, its answer is found, or the question is put back with keys and shapes."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pellucid.errors import AmbiguousOutput, ModelError
from pellucid.subject import outputs, wrap

LOGITS = torch.tensor([[1.0, 2.0, 0.5], [0.1, 0.0, 3.0]])
FEATURES = torch.randn(2, 8, 3, 3)


@dataclass
class Record:
    features: Tensor
    scores: Tensor


Named = namedtuple("Named", ["features", "prediction"])


@pytest.mark.parametrize(
    "raw",
    [
        LOGITS,
        (LOGITS,),
        [LOGITS, FEATURES],
        (LOGITS, None, "text"),
        {"logits": LOGITS, "hidden": torch.zeros(2, 7)},
        OrderedDict(out=LOGITS, aux=LOGITS * 2),
        Record(FEATURES, LOGITS),
        Named(FEATURES, LOGITS),
        LOGITS[:, :, None, None],
        LOGITS.numpy(),
    ],
    ids=lambda raw: type(raw).__name__,
)
def test_the_answer_is_found(raw: object) -> None:
    assert_close(outputs.Outputs().read(raw, 2), LOGITS)


def test_two_candidates_are_an_error_that_lists_them() -> None:
    with pytest.raises(AmbiguousOutput, match=r"0: \[2, 3\]; 1: \[2, 3\].*pl.wrap\(model, output=KEY\)"):
        outputs.find((LOGITS, LOGITS * 2), 2, None)
    assert_close(outputs.find((LOGITS, LOGITS * 2), 2, 1), LOGITS * 2)
    assert_close(outputs.find({"a": LOGITS, "b": FEATURES}, 2, lambda raw: raw["a"]), LOGITS)


def test_a_key_that_is_not_there_lists_what_is() -> None:
    with pytest.raises(AmbiguousOutput, match=r"first: \[2, 3\]"):
        outputs.find({"first": LOGITS}, 2, "second")


def test_a_dense_answer_is_refused_with_the_line_that_reduces_it() -> None:
    with pytest.raises(ModelError, match="a value per place"):
        outputs.Outputs().read(FEATURES, 2)


def test_an_answer_for_another_number_of_pictures_is_refused() -> None:
    with pytest.raises(ModelError, match=r"one row per picture"):
        outputs.Outputs().read(torch.zeros(3, 5), 2)


def head(*layers: nn.Module, classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes), *layers)


def test_the_meaning_of_the_numbers_is_read_from_the_model() -> None:
    inputs = torch.randn(2, 3, 9, 9)
    assert wrap(head(), input_size=(9, 9)).activation == "softmax"
    assert wrap(head(nn.Softmax(dim=1)), input_size=(9, 9)).activation == "probabilities"
    assert wrap(head(nn.Sigmoid()), input_size=(9, 9)).activation == "probabilities"
    binary = wrap(head(classes=1), input_size=(9, 9))
    assert binary.activation == "sigmoid" and list(binary.labels) == ["negative", "positive"]
    outputs_of = binary.predict(inputs)
    assert_close(outputs_of[:, 0], -outputs_of[:, 1])
    assert_close(binary.probabilities(outputs_of).sum(1), torch.ones(2))
    squashed = wrap(head(nn.Sigmoid(), classes=1), input_size=(9, 9), labels=["cat"])
    assert list(squashed.labels) == ["not cat", "cat"]
    assert_close(squashed.predict(inputs), binary.probabilities(outputs_of))


def test_multi_label_is_said_by_the_caller() -> None:
    model = wrap(head(), input_size=(9, 9), activation="sigmoid")
    found = model.predict(torch.randn(2, 3, 9, 9))
    assert_close(model.probabilities(found), found.sigmoid())


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(ModelError, match="3 labels for a model of 4 classes"):
        wrap(head(), input_size=(9, 9), labels=["a", "b", "c"]).labels
