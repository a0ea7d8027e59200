"""The one training loop: its schedule has a closed form, and it gives the same bits twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pellucid.compute.train import Recipe, fit, one_thread
from pellucid.values import Seed


def _problem() -> tuple[nn.Module, object]:
    """Two Gaussian clouds that a line separates."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))

    def batch(step: int) -> tuple[Tensor, Tensor]:
        generator = Seed(3).child(step).generator()
        labels = torch.randint(2, (32,), generator=generator)
        return torch.randn(32, 2, generator=generator) + 3 * labels[:, None], labels

    return net, batch


def test_the_rate_climbs_to_its_peak_and_falls_along_a_cosine() -> None:
    recipe = Recipe(steps=100, learning_rate=0.2, warm_up=0.1)
    rates = [recipe.rate(step) for step in range(100)]
    assert rates[9] == rates[10] == pytest.approx(0.2)
    assert rates[4] == pytest.approx(0.1)
    assert rates[55] == pytest.approx(0.1)  # half way down
    assert rates[99] < 1e-3
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_it_learns_and_leaves_the_net_ready_for_use() -> None:
    net, batch = _problem()
    course = fit(net, batch, Recipe(60, 0.05))
    assert not net.training
    assert sum(course.losses[-10:]) < 0.5 * sum(course.losses[:10])
    inputs, labels = batch(999)
    assert (net(inputs).argmax(1) == labels).float().mean() > 0.9


def test_the_same_batches_give_the_same_bits_and_touch_no_generator() -> None:
    before = torch.get_rng_state()
    states = []
    for _ in range(2):
        net, batch = _problem()
        fit(net, batch, Recipe(20, 0.05))
        states.append(net.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loss_may_be_given() -> None:
    net, batch = _problem()
    course = fit(net, batch, Recipe(3, 0.05), loss=lambda outputs, targets: outputs.square().mean() + targets.sum() * 0)
    assert len(course.losses) == 3


def test_the_callers_threads_come_back_after_an_error() -> None:
    threads = torch.get_num_threads()
    inside = []

    def interrupted() -> None:
        with one_thread():
            inside.append(torch.get_num_threads())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert inside == [1]
    assert torch.get_num_threads() == threads


def test_a_training_broken_off_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, batch = _problem()
    course = fit(whole, batch, Recipe(120, 0.05))
    noted = tmp_path / "how-far"

    def dying(step: int) -> tuple[Tensor, Tensor]:
        if step == 70:
            raise KeyboardInterrupt
        return batch(step)

    broken, _ = _problem()
    with pytest.raises(KeyboardInterrupt):
        fit(broken, dying, Recipe(120, 0.05), checkpoint=noted)
    resumed, _ = _problem()
    seen: list[int] = []
    again = fit(resumed, lambda step: (seen.append(step), batch(step))[1], Recipe(120, 0.05), checkpoint=noted)
    assert seen == list(range(50, 120))  # the last note was taken after 50
    assert again.losses == course.losses
    assert all(torch.equal(whole.state_dict()[key], resumed.state_dict()[key]) for key in whole.state_dict())
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_learn_stays_as_it_was() -> None:
    net, batch = _problem()
    net[0].requires_grad_(False)  # type: ignore[index]
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fit(net, batch, Recipe(5, 0.05))
    moved = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"2.weight", "2.bias"}
