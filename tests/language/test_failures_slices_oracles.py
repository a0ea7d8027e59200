"""Groups first, words after: planted groups are found, keywords counted right, remedies mend what was planted."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.compute.train import Recipe
from pellucid.errors import MethodUnavailable, ParameterError, RequestError, ShapeError
from pellucid.language.failures import Answers, Tags
from pellucid.language.failures.keywords import extracted, keywords
from pellucid.language.failures.masked import masked
from pellucid.language.failures.prime import seek
from pellucid.language.failures.remedies import (
    Lesson,
    amplified,
    balanced,
    fared,
    group_dro,
    groups_of,
    last_layer,
    on_masked,
)
from pellucid.language.failures.slices import DOMINO, FACTS, each_class, named, precision, principal, slices

BACKENDS = {"domino": DOMINO, "domino per class": each_class(DOMINO), "facts": FACTS}


def clouds(seed: int = 0) -> tuple[np.ndarray, Answers, np.ndarray]:
    """Two classes of two clouds each; a twelfth of each class lies in a cloud of its own and is answered wrongly."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 360)
    odd = np.tile(np.repeat([False, True], [330, 30]), 2)
    side = rng.integers(0, 2, 720)
    points = rng.normal(0, 0.3, (720, 16))
    points[:, 0] += 2 * labels
    points[:, 1] += side
    points[:, 2] += 2 * odd
    said = np.where(odd, 1 - labels, labels)
    shares = np.where(np.eye(2)[said] > 0, 0.9, 0.1)
    return points, Answers(labels, shares, ("cat", "dog")), odd


@pytest.mark.parametrize("backend", list(BACKENDS))
def test_planted_groups_are_found_among_the_worst_slices(backend: str) -> None:
    points, answers, odd = clouds()
    found = slices(points, answers, BACKENDS[backend], seed=1)
    each, mean = precision(found, [odd & (answers.labels == number) for number in (0, 1)])
    assert mean >= 0.95, each
    assert found[0].error > 0.8


def test_slices_by_lot_hold_no_more_of_a_group_than_there_is() -> None:
    points, answers, odd = clouds()
    rng = np.random.default_rng(0)
    by_lot = Answers(answers.labels, rng.permutation(answers.shares), answers.classes)
    found = slices(rng.normal(size=points.shape), by_lot, DOMINO)
    assert precision(found, [odd])[1] <= 0.5


def test_a_slice_is_named_for_what_sets_it_apart_from_its_class() -> None:
    points, answers, _ = clouds()
    found = slices(points, answers, each_class(DOMINO), seed=1)
    texts, words = np.eye(16)[:4], ("class", "side", "odd", "nothing")
    assert named(found[0], points, answers.labels, texts, words, count=1)[0][0] == "odd"


def test_precision_by_hand() -> None:
    points, answers, _ = clouds()
    (one, *_rest) = slices(points, answers, DOMINO)
    group = np.zeros(len(points), dtype=bool)
    group[one.members[:4]] = True
    assert precision([one], [group, np.zeros(len(points), dtype=bool)], first=10) == (pytest.approx([0.4]), 0.4)


def test_principal_components_keep_all_distances() -> None:
    points = np.random.default_rng(0).normal(size=(20, 6))
    reduced = principal(points, 128)
    for one, other in ((0, 1), (3, 17)):
        assert np.linalg.norm(reduced[one] - reduced[other]) == pytest.approx(
            np.linalg.norm(points[one] - points[other])
        )


def test_embeddings_of_other_pictures_are_refused() -> None:
    points, answers, _ = clouds()
    with pytest.raises(RequestError, match="do not belong together"):
        slices(points[1:], answers)


# -- masks -----------------------------------------------------------------------------------------------------------


def test_a_mask_leaves_the_hottest_share_and_takes_the_rest_or_the_other_way_round() -> None:
    pictures = torch.rand(2, 3, 10, 10, generator=torch.Generator().manual_seed(0)) + 0.1
    heat = torch.arange(100.0).view(1, 10, 10).repeat(2, 1, 1)
    heat[1] = 3.0  # says nothing
    shown = masked(pictures, heat, quantile=0.7)
    assert shown.kept[0].sum() == 30
    assert shown.empty.tolist() == [False, True]
    assert torch.equal(shown.pictures[1], pictures[1]), "a map that says nothing takes nothing away"
    assert bool((shown.pictures[0, :, :6] == 0).all())
    assert torch.equal(shown.pictures[0, :, 8:], pictures[0, :, 8:])
    other = masked(pictures, heat, quantile=0.7, cue=True, fill=0.5)
    assert torch.equal(other.kept[0], ~shown.kept[0])
    assert bool((other.pictures[0, :, 9] == 0.5).all())


def test_masks_that_cannot_be_are_refused() -> None:
    with pytest.raises(ShapeError):
        masked(torch.zeros(2, 3, 8, 8), torch.zeros(2, 4, 4))
    with pytest.raises(ParameterError, match="quantile"):
        masked(torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8), quantile=1.0)


# -- keywords --------------------------------------------------------------------------------------------------------


def test_keywords_are_runs_that_begin_and_end_with_a_word_that_means_something() -> None:
    found = dict(extracted(["a dog in the snow", "a dog in the snow", "a cat in the sun"]))
    assert found["snow"] == found["dog"] == 2
    assert not any(word.startswith(("a ", "in ")) or word.endswith((" the", " in")) for word in found)


def test_a_planted_keyword_is_suspicious_and_a_word_of_all_captions_is_not() -> None:
    rng = np.random.default_rng(0)
    snow, wrong = rng.random(400) < 0.3, np.zeros(400, dtype=bool)
    wrong[snow] = rng.random(snow.sum()) < 0.8
    wrong[~snow] = rng.random((~snow).sum()) < 0.05
    captions = [f"a dog {'in the snow' if white else 'on the grass'}" for white in snow]
    answers = Answers(np.zeros(400, dtype=np.int64), np.eye(2)[wrong.astype(int)], ("wolf", "fox"))
    points = np.stack([snow, ~snow], axis=1) + rng.normal(0, 0.1, (400, 2))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    encode = lambda texts: np.array([[1.0, 0.0] if "snow" in text else [0.7, 0.7] for text in texts])
    found = keywords(answers, captions, points, encode)
    suspicious = {one.word for one in found if one.suspicious}
    assert "snow" in suspicious
    assert "dog" not in suspicious
    first = next(one for one in found if one.word == "snow")
    share = float((~wrong)[snow].mean())
    assert first.having.mean == pytest.approx(share)
    cosines = 100 * points @ np.array([1.0, 0.0])
    assert first.score == pytest.approx(cosines[wrong].mean() - cosines[~wrong].mean())


# -- remedies --------------------------------------------------------------------------------------------------------


class Tiny(nn.Module):
    """Reads the mean of two channels: the first is the truth, weak; the second a cue, strong."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(8, 2)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(pictures))


def world(agree: float, seed: int, count: int = 800) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    cue = np.where(rng.random(count) < agree, labels, 1 - labels)
    pictures = rng.normal(0, 0.3, (count, 3, 8, 8))
    pictures[:, 0] += 0.35 * labels[:, None, None]
    pictures[:, 1] += 2.0 * cue[:, None, None]
    return (torch.tensor(pictures, dtype=torch.float32), torch.tensor(labels), torch.tensor(2 * labels + cue), cue)


@pytest.fixture(scope="module")
def biased() -> Tiny:
    inputs, labels, groups, _ = world(0.98, 0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Tiny()
    trained = balanced(net, Lesson(inputs, labels, labels), recipe=Recipe(60, 0.03, smoothing=0.0), seed=0)
    assert isinstance(trained, Tiny)
    assert len(groups) == 800
    return trained


@pytest.mark.parametrize("remedy", ["balanced", "group_dro", "last_layer", "on_masked"])
def test_a_remedy_raises_the_worst_group_and_leaves_the_callers_net_as_it_was(biased: Tiny, remedy: str) -> None:
    inputs, labels, groups, _ = world(0.9, 1)
    test, held, truth, _ = world(0.5, 2)
    before = copy.deepcopy(biased.state_dict())
    same = dict(biased.named_parameters())
    lesson, recipe = Lesson(inputs, labels, groups), Recipe(120, 0.02, smoothing=0.0)
    hidden = inputs.clone()
    hidden[:, 1] = 0.5
    mended = {
        "balanced": lambda: balanced(biased, lesson, recipe=recipe),
        "group_dro": lambda: group_dro(biased, lesson, recipe=recipe),
        "last_layer": lambda: last_layer(biased, lesson),
        "on_masked": lambda: on_masked(biased, lesson, hidden, recipe=recipe),
    }[remedy]()
    first = fared(biased, "before", test, held.numpy(), truth.numpy())
    then = fared(mended, remedy, test, held.numpy(), truth.numpy())
    assert then.worst >= first.worst + 0.1, (first, then)
    assert all(torch.equal(value, before[name]) for name, value in biased.state_dict().items())
    assert all(same[name] is weight for name, weight in biased.named_parameters())


def test_an_amplified_net_follows_its_cue_no_less(biased: Tiny) -> None:
    inputs, labels, groups, _ = world(0.98, 3)
    test, _, _, cue = world(0.5, 4)
    more = amplified(biased, Lesson(inputs, labels, groups))
    follows = [float((net(test).argmax(dim=1).numpy() == cue).mean()) for net in (biased, more)]
    assert follows[1] >= follows[0], follows


def test_groups_are_class_and_word() -> None:
    rng = np.random.default_rng(0)
    tags = Tags(("snow", "rain"), rng.random((900, 2)) < 0.4, "the test")
    labels = rng.integers(0, 2, 900)
    said = np.where(tags.having(["snow"]) & (labels == 0), 1, labels)
    modes = seek(Answers(labels, np.eye(2)[said], ("cat", "dog")), tags).modes
    groups = groups_of(labels, tags, modes)
    assert np.array_equal(groups, 2 * labels + tags.having(["snow"]))


def test_a_net_without_linear_head_has_no_last_layer() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    lesson = Lesson(torch.zeros(20, 3, 8, 8), torch.zeros(20, dtype=torch.long), torch.zeros(20, dtype=torch.long))
    with pytest.raises(MethodUnavailable, match="no linear layer"):
        last_layer(net, lesson)
