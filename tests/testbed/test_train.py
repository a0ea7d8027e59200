"""Weights can be made again from a seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pellucid.errors import SceneError
from pellucid.testbed import nets
from pellucid.testbed.train import PLANS, POINTING_SEED, TEST_SEED, digits, grad_cam, train, trained
from tests.testbed.breaking import broken_off_at_a_checkpoint


def test_the_digits_can_be_trained_again_to_what_their_card_says(tmp_path: Path) -> None:
    card = train("digits", folder=tmp_path)
    shipped = nets.load("digits")[1]
    assert card.accuracy["held_out"] == pytest.approx(shipped.accuracy["held_out"], abs=0.01)
    assert card.recipe == shipped.recipe
    assert nets.load("digits", tmp_path)[1] == card


def test_training_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        train("digits", 5, folder=tmp_path / folder, steps=12)
    one, two = ((tmp_path / folder / "digits.safetensors").read_bytes() for folder in ("one", "two"))
    assert one == two


def test_a_training_broken_off_goes_on_to_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train("digits", 5, folder=tmp_path / "whole", steps=70)
    with broken_off_at_a_checkpoint(monkeypatch):
        train("digits", 5, folder=tmp_path / "broken", steps=70)
    assert not (tmp_path / "broken" / "digits.safetensors").exists()
    train("digits", 5, folder=tmp_path / "broken", steps=70)
    one, other = ((tmp_path / folder / "digits.safetensors").read_bytes() for folder in ("whole", "broken"))
    assert one == other
    assert [path.name for path in (tmp_path / "broken").iterdir()] == ["digits.safetensors"]


def test_the_cnn_learns_from_its_first_steps_the_same_way_every_time() -> None:
    whole = trained("cnn", 1, steps=32, pool=512)
    again = trained("cnn", 1, steps=4, pool=512)
    assert sum(whole.course.losses[-8:]) / 8 < sum(whole.course.losses[:4]) / 4 - 0.05
    assert whole.course.losses[0] == again.course.losses[0]  # before the first update the schedule plays no part
    assert trained("cnn", 1, steps=4, pool=512).course.losses == again.course.losses


def test_other_seeds_give_other_weights() -> None:
    one, other = (trained("digits", seed, steps=1).net for seed in (0, 1))
    assert not torch.equal(one.head.weight, other.head.weight)  # type: ignore[union-attr]


def test_no_digit_is_both_learned_and_held_out() -> None:
    learned, kept = digits(held_out=False), digits(held_out=True)
    assert len(learned[0]) + len(kept[0]) == 1797
    assert learned[0].shape[1:] == (3, 32, 32)
    assert len(kept[0]) == pytest.approx(0.3 * 1797, abs=1)


def test_no_net_learns_from_the_scenes_that_cards_are_measured_on() -> None:
    assert 0 not in (TEST_SEED, POINTING_SEED)
    assert set(PLANS) == set(nets.ARCHITECTURES)


def test_the_layer_chooser_leaves_the_net_as_it_was() -> None:
    """Grad-CAM of a net whose last map feeds a pooled linear head is the class's weights on it."""
    net, _ = nets.load("cnn")
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
