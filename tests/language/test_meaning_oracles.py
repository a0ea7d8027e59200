"""What classes mean beside what a classifier makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import pellucid as pl
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.language.meaning import class_weights, compare
from pellucid.subject import VisionModel
from pellucid.subject.sentences import SentenceEncoder

NAMES = tuple(f"thing {number}" for number in range(24))


class Head(nn.Module):
    """A classifier that is little more than its last layer."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, weights.shape[1], 3, padding=1)
        self.fc = nn.Linear(weights.shape[1], len(weights))
        self.fc.weight.data = weights

    def forward(self, pictures: Tensor) -> Tensor:
        return self.fc(self.stem(pictures).mean(dim=(2, 3)))


def told(rows: Tensor) -> Callable[[Sequence[str]], Tensor]:
    return lambda texts: functional.normalize(torch.stack([rows[NAMES.index(text)] for text in texts]), dim=1)


def model_of(weights: Tensor) -> VisionModel:
    return pl.wrap(Head(weights), labels=NAMES, input_size=(8, 8))


def drawn(seed: int) -> Tensor:
    return torch.randn(len(NAMES), 16, generator=torch.Generator().manual_seed(seed))


def test_weights_that_are_the_meanings_agree_wholly() -> None:
    rows = functional.normalize(drawn(0), dim=1)
    found = compare(model_of(rows), told(rows), ["thing 3"], count=4)
    assert found.agreement == pytest.approx(1) and found.shared == 1 and found.p == pytest.approx(1 / 200)
    (one,) = found.neighbourhoods
    assert [each.label for each in one.meant] == [each.label for each in one.weighed] == list(one.shared)
    centred = functional.normalize(rows.double() - rows.double().mean(dim=0), dim=1)
    cosines = centred @ centred[3]
    cosines[3] = -2
    assert one.meant[0].label == NAMES[int(cosines.argmax())]
    assert one.meant[0].cosine == pytest.approx(float(cosines.max()), abs=1e-6)


def test_unrelated_weights_do_not_agree_and_the_sentence_says_so() -> None:
    chances = [compare(model_of(drawn(2 * seed)), told(drawn(2 * seed + 1)), seed=seed).p for seed in range(12)]
    assert sum(p <= 0.05 for p in chances) <= 2
    found = compare(model_of(drawn(40)), told(drawn(41)))
    assert abs(found.agreement) < 0.15 and "no more than names dealt out anew" in str(found)
    assert found.shared == pytest.approx(found.by_chance, abs=0.12)


def test_the_last_layer_of_that_many_outputs_counts() -> None:
    weights = drawn(5)
    torch.testing.assert_close(class_weights(model_of(weights)), weights.double())
    with pytest.raises(MethodUnavailable, match="no linear layer of 5 outputs"):
        class_weights(
            pl.wrap(nn.Sequential(nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), input_size=(8, 8))
        )
    with pytest.raises(RequestError, match="4 or more"):
        compare(pl.wrap(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), input_size=(8, 8)), told(drawn(0)))


def test_a_real_classifier_puts_classes_near_as_their_names_mean() -> None:
    found = compare(pl.load("demo:efficientnet_lite0"), SentenceEncoder(), ["tiger cat", "espresso"])
    assert found.agreement > 0.1 > 0.02 > found.shuffled and found.p == pytest.approx(1 / 200)
    assert found.shared > 20 * found.by_chance
    cat, espresso = found.neighbourhoods
    assert {"tiger", "tabby cat"} <= set(cat.shared) and "espresso maker" in espresso.shared
    assert json.loads(json.dumps(found.to_dict()))["neighbours"]["tiger cat"]["meant"]["tiger"] > 0.8
