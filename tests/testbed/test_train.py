"""Weights can be made again from a seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pellucid.errors import SceneError
from pellucid.testbed import nets
from pellucid.testbed.train import COURSES, digits, grad_cam, train, trained


def test_the_digits_can_be_trained_again_to_what_their_card_says(tmp_path: Path) -> None:
    card = train("digits", folder=tmp_path)
    shipped = nets.load("digits")[1]
    assert card.accuracy["held_out"] == pytest.approx(shipped.accuracy["held_out"], abs=0.01)
    assert card.recipe == shipped.recipe
    assert nets.load("digits", tmp_path)[1] == card


def test_a_short_course_learns_and_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        train("cnn_background", 5, folder=tmp_path / folder, steps=16, pool=192)
    one, two = ((tmp_path / folder / "cnn_background.safetensors").read_bytes() for folder in ("one", "two"))
    assert one == two


def test_other_seeds_give_other_weights() -> None:
    one, other = (trained("digits", seed, steps=1)[0] for seed in (0, 1))
    assert not torch.equal(one.head.weight, other.head.weight)  # type: ignore[union-attr]


def test_the_cnn_learns_from_the_first_steps() -> None:
    """In 60 steps the plume can be told: two in twelve of random guesses become far more."""
    net, _ = trained("cnn", 1, steps=60, pool=1920)
    from pellucid.testbed import scenes

    drawn = scenes(2, 200)
    with torch.no_grad():
        answers = net(drawn.tensor()).argmax(dim=1)
    assert (answers == torch.from_numpy(drawn.labels)).float().mean() > 0.2


def test_no_digit_is_both_learned_and_held_out() -> None:
    learned, kept = digits(held_out=False), digits(held_out=True)
    assert len(learned[0]) + len(kept[0]) == 1797
    assert learned[0].shape[1:] == (3, 32, 32)
    assert len(kept[0]) == pytest.approx(0.3 * 1797, abs=1)


def test_no_course_learns_from_the_scenes_that_cards_are_measured_on() -> None:
    from pellucid.testbed.train import POINTING_SEED, TEST_SEED

    assert 0 not in (TEST_SEED, POINTING_SEED)
    assert set(COURSES) == set(nets.ARCHITECTURES)


def test_the_layer_chooser_leaves_the_net_as_it_was() -> None:
    """Grad-CAM of a net whose last map feeds a pooled linear head is the class's weights on it."""
    net, card = nets.load("cnn")
    modules = dict(net.named_modules())
    pictures = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    cam = grad_cam(net, "features.5", pictures)
    assert dict(net.named_modules()) == modules
    assert all(weight.grad is None for weight in net.parameters())
    with torch.no_grad():
        features = net.features(net.normalise(pictures))  # type: ignore[operator]
        winner = net(pictures).argmax(dim=1)
        weights = net.head.weight[winner] / features[0, 0].numel()  # type: ignore[index, union-attr]
        expected = torch.einsum("bchw,bc->bhw", features, weights).clamp(min=0)
        expected = torch.nn.functional.interpolate(expected[:, None], size=(64, 64), mode="bilinear")[:, 0]
    torch.testing.assert_close(cam, expected, rtol=1e-4, atol=1e-6)


def test_unknown_nets_cannot_be_trained() -> None:
    with pytest.raises(SceneError, match="no testbed net"):
        train("resnet")
