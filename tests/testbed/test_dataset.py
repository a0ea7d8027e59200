"""Scenes in a training loop: any order, any worker, the same items, and nothing held."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pellucid.errors import SceneError
from pellucid.testbed import Dataset, scenes


def test_item_i_is_scene_i() -> None:
    data, drawn = Dataset(91, 40), scenes(91, 40)
    assert len(data) == 40
    for at in (0, 17, 39, -1):
        picture, label = data[at]
        assert torch.equal(picture, drawn[at].tensor()[0]) and label == drawn.labels[at]


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_give_the_same_whatever_the_workers(workers: int) -> None:
    data, drawn = Dataset(91, 24, items=("picture", "parts", "caption", "index")), scenes(91, 24)
    order = torch.Generator().manual_seed(1)
    seen: list[int] = []
    for pictures, parts, captions, index in DataLoader(data, 10, shuffle=True, num_workers=workers, generator=order):
        chosen = drawn[index.numpy()]
        assert torch.equal(pictures, chosen.tensor()) and np.array_equal(parts.numpy(), chosen.parts)
        assert tuple(captions) == chosen.captions
        seen += index.tolist()
    assert sorted(seen) == list(range(24))


def test_it_holds_no_picture() -> None:
    data = Dataset(91, 50_000, size=224)
    data[3]
    assert len(pickle.dumps(data)) < 500_000


@pytest.mark.parametrize("size", [64, 128, 224])
def test_pictures_have_the_size_asked_for(size: int) -> None:
    assert Dataset(91, 2, size=size)[0][0].shape == (3, size, size)


def test_flocks_give_boxes_and_labels_of_birds() -> None:
    data = Dataset(91, 8, items=("boxes", "bird_labels", "birds"), mode="flock")
    drawn = scenes(91, 8, mode="flock")
    boxes, labels, birds = data[5]
    assert np.array_equal(boxes, drawn.bird_boxes()[5]) and np.array_equal(labels, drawn.bird_labels[5])
    assert np.array_equal(birds, drawn.birds[5])


def test_what_a_scene_has_not_is_refused_at_once() -> None:
    with pytest.raises(SceneError, match="odour"):
        Dataset(91, 8, items=["odour"])
    with pytest.raises(SceneError, match="mode"):
        Dataset(91, 8, mode="crowd")
    with pytest.raises(IndexError, match="8"):
        Dataset(91, 8)[8]
