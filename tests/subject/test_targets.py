"""Names in targets become numbers; what does not exist is refused with what does."""

from __future__ import annotations

import pytest
import torch

from pellucid.errors import AmbiguousClass, PellucidError, TargetError, UnknownClass, UnknownLayer
from pellucid.subject import Labels, wrap
from pellucid.values import Call, Class, Contrast, Predicted, Probability, Similar, Text, Unit, target_from_dict
from tests.nets import Twin

NAMES = ["tabby cat", "tiger cat", "crane", "crane", "rocket"]


def model() -> object:
    return wrap(Twin(), input_size=(9, 11), labels=NAMES)


def test_indices_names_and_values_mean_the_same() -> None:
    subject = model()
    for asked in (1, "tiger cat", "Tiger Cat", Class("tiger cat"), torch.tensor(1)):
        assert subject.resolve(asked, 2) == (Class(1), Class(1))
    assert subject.resolve(["tabby cat", None], 2) == (Class(0), Predicted())
    assert subject.resolve(Probability("rocket"), 1) == (Probability(4, "softmax"),)
    assert subject.resolve(Contrast("tabby cat", "rocket"), 1) == (Contrast(0, 4),)


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        (99, UnknownClass, "5 classes, 0 to 4"),
        (-1, UnknownClass, "Class -1 does not exist"),
        ("tabby", UnknownClass, "Did you mean 'tabby cat'"),
        ("crane", AmbiguousClass, r"2 classes are named 'crane': 2 \(crane\), 3 \(crane\)\. Name one"),
        ([0, 1, 2], TargetError, "3 targets for 2 pictures"),
        ([], TargetError, "0 targets for 2 pictures"),
        (True, TargetError, "is no target"),
        (1.0, TargetError, "is no target"),
        (b"cat", TargetError, "is no target"),
        (Contrast(1, 1), TargetError, "with itself"),
        (Unit("nowhere", 1), UnknownLayer, "no layer 'nowhere'"),
        (Unit("second", 8), TargetError, "8 channels, 0 to 7"),
        (Unit("second", 1, (9, 9)), TargetError, "there is no cell"),
        (Unit("head", 1, (0, 0)), TargetError, "has no grid"),
        (Text("a striped cat"), TargetError, "dual encoder"),
        (Similar(), TargetError, "needs a reference"),
    ],
)
def test_what_does_not_exist_is_refused(asked: object, error: type[PellucidError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        model().resolve(asked, 2)
    assert isinstance(caught.value, (ValueError, LookupError))


def test_targets_come_back_from_their_records() -> None:
    kept = [
        Predicted(),
        Class(3),
        Contrast(1, 2),
        Probability(3, "sigmoid"),
        Unit("layer4", 17, (2, 3)),
        Text("cat", 0),
    ]
    assert [target_from_dict(target.to_dict()) for target in kept] == kept
    lost = target_from_dict(Call(lambda value: value[:, 0], name="mine").to_dict())
    with pytest.raises(TargetError, match="Python function"):
        lost(torch.zeros(1, 2))


def test_a_function_that_gives_no_number_per_picture_is_refused() -> None:
    with pytest.raises(TargetError, match=r"gave \(\) for an output of shape \(2, 3\)"):
        Call(lambda value: value.sum())(torch.zeros(2, 3))


def test_targets_are_said_in_words() -> None:
    subject = model()
    words = [subject.target_name(target) for target in (Class(4), Contrast(0, 4), Unit("second", 3))]
    assert words == ["rocket", "tabby cat rather than rocket", "unit 3 of second"]


def test_labels_know_both_ways() -> None:
    labels = Labels(NAMES)
    assert labels["rocket"] == 4 and labels[0] == "tabby cat" and "ROCKET" in labels and len(labels) == 5
