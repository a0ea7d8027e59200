"""The caller's model is a guest: whatever happens, it comes back as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from pellucid.engine import Ablate, look
from pellucid.errors import ModelError
from pellucid.subject import wrap
from pellucid.values import Gradient, Rule
from tests.engine.test_evidence import SIZE, pictures
from tests.guests import unchanged
from tests.nets import TinyViT, Twin


def explain(model: object, inputs: torch.Tensor) -> torch.Tensor:
    evidence = look(model, inputs, 1, needs=[Rule("guided")], layers=["second"])  # type: ignore[arg-type]
    evidence.gradient("second"), evidence.input_gradient("guided")
    list(evidence.scores_at([inputs, inputs * 0])), list(evidence.gradients_at([inputs]))
    with evidence.edited(Ablate(evidence.layers["second"], [0])) as changed:
        changed.score()
    return evidence.input_gradient()


def prepared() -> Twin:
    """In training mode with one part in evaluation, half frozen, with gradients of its own and a hook."""
    net = Twin("in-place module")
    net.train()
    net.norm.eval()
    net.first.weight.requires_grad_(False)
    net.head.weight.grad = torch.ones_like(net.head.weight)
    net.second.register_forward_hook(lambda module, inputs, output: None)
    return net


def test_modes_gradients_hooks_buffers_and_random_state_come_back() -> None:
    net, inputs = prepared(), pictures(2)
    copy = inputs.clone()
    with unchanged(net):
        explain(wrap(net, input_size=SIZE), inputs)
    assert torch.equal(inputs, copy) and not inputs.requires_grad and inputs.grad is None


def test_a_training_model_is_explained_as_in_evaluation() -> None:
    trained = nn.Sequential(Twin(), nn.Dropout(0.9))
    trained.train()
    model = wrap(trained, input_size=SIZE)
    one = look(model, pictures(2), 1).input_gradient()
    two = look(model, pictures(2), 1).input_gradient()
    assert_close(one, two, rtol=0, atol=0)
    assert_close(one, look(wrap(Twin(), input_size=SIZE), pictures(2), 1).input_gradient())


@pytest.mark.parametrize("when", ["target", "forward", "interrupt"])
def test_an_exception_leaves_no_trace(when: str) -> None:
    net = prepared()
    model = wrap(net, input_size=SIZE)
    model.layers, model.labels  # probed beforehand

    class Boom(Exception):
        pass

    def target(_output: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt if when == "interrupt" else Boom

    inputs = pictures(1, (1, 1)) if when == "forward" else pictures(1)
    net.second.padding = (0, 0) if when == "forward" else (1, 1)
    asked, layers = (1, []) if when == "forward" else (target, ["second"])
    with unchanged(net), pytest.raises((Boom, ModelError, KeyboardInterrupt)):
        look(model, inputs, asked, layers=layers).input_gradient()


def test_it_works_under_no_grad_and_in_inference_mode() -> None:
    net = Twin()
    expected = look(wrap(net, input_size=SIZE), pictures(1), 1).input_gradient()
    with torch.no_grad():
        assert_close(look(wrap(net, input_size=SIZE), pictures(1), 1).input_gradient(), expected)
    with torch.inference_mode():
        tensor = pictures(1) * 1
        assert tensor.is_inference()
        assert_close(look(wrap(net, input_size=SIZE), tensor, 1).input_gradient(), expected)
    outside = look(wrap(net, input_size=SIZE), tensor, 1)
    assert_close(outside.input_gradient(), expected)


def test_it_works_within_autocast_in_full_precision() -> None:
    expected = look(wrap(Twin(), input_size=SIZE), pictures(1), 1).input_gradient()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(look(wrap(Twin(), input_size=SIZE), pictures(1), 1).input_gradient(), expected)


def test_frozen_models_have_gradients_too() -> None:
    frozen = Twin().requires_grad_(False)
    expected = look(wrap(Twin(), input_size=SIZE), pictures(1), 1, layers=["second"])
    with unchanged(frozen):
        evidence = look(wrap(frozen, input_size=SIZE), pictures(1), 1, layers=["second"])
        assert_close(evidence.gradient("second"), expected.gradient("second"))
        assert_close(evidence.input_gradient(), expected.input_gradient())


def test_frozen_transformers_have_attention_gradients() -> None:
    frozen, free = TinyViT().requires_grad_(False), TinyViT()
    inputs = pictures(1, (12, 16))
    found = look(wrap(frozen, input_size=(12, 16)), inputs, 1).attention_gradient()
    expected = look(wrap(free, input_size=(12, 16)), inputs, 1).attention_gradient()
    assert_close(found, expected)


def test_eight_threads_on_one_module_give_the_serial_answers() -> None:
    net = prepared()
    batches = [pictures(1, seed=seed) for seed in range(8)]
    serial = [explain(wrap(net, input_size=SIZE), batch) for batch in batches]
    with unchanged(net), ThreadPoolExecutor(8) as pool:
        # Eight wrappers, not one: the lock belongs to the module.
        for _ in range(3):
            answers = list(pool.map(lambda batch: explain(wrap(net, input_size=SIZE), batch), batches))
            for answer, expected in zip(answers, serial, strict=True):
                assert_close(answer, expected)


class Checkpointed(Twin):
    """Recomputes its middle in the backward pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(self.first(x)))
        x = checkpoint(lambda value: self.relu(self.second(value)), x, use_reentrant=False)
        return self.head(x.mean((2, 3)))


def shells() -> dict[str, nn.Module]:
    return {
        "compiled": torch.compile(Twin(), backend="eager"),
        "parallel": nn.DataParallel(Twin()),
        "weight norm": _weight_normed(),
        "checkpointed": Checkpointed(),
    }


def _weight_normed() -> nn.Module:
    net = Twin()
    nn.utils.parametrizations.weight_norm(net.second)
    return net


@pytest.mark.parametrize("shell", ["compiled", "parallel", "weight norm", "checkpointed"])
def test_shells_and_parametrisations_give_the_plain_answer(shell: str) -> None:
    net = shells()[shell]
    plain = look(wrap(Twin(), input_size=SIZE), pictures(2), 1, layers=["second"])
    with unchanged(net):
        evidence = look(wrap(net, input_size=SIZE), pictures(2), 1, layers=["second"])
        assert_close(evidence.input_gradient(), plain.input_gradient(), rtol=1e-4, atol=1e-6)
        assert_close(evidence.gradient("second"), plain.gradient("second"), rtol=1e-4, atol=1e-6)
        assert_close(evidence.input_gradient("guided"), plain.input_gradient("guided"), rtol=1e-4, atol=1e-6)


def test_a_checkpointed_flag_of_timm_is_set_aside_and_put_back() -> None:
    timm = pytest.importorskip("timm", exc_type=ImportError)
    net = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=3, depth=2)
    net.set_grad_checkpointing(True)
    with unchanged(net):
        evidence = look(wrap(net, input_size=(32, 32)), pictures(1, (32, 32)), 1, layers=["blocks.0"])
        assert bool(evidence.gradient("blocks.0").abs().sum() > 0)
        assert len(evidence.attention_gradient()) == 2


def test_two_hundred_calls_hold_no_memory() -> None:
    resource = pytest.importorskip("resource")
    model = wrap(TinyViT(), input_size=(12, 16))
    inputs = pictures(4, (12, 16))
    for _ in range(20):
        look(model, inputs, 1).input_gradient()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        look(model, inputs, 1).attention_gradient()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 30_000, f"{grown} KiB more after 200 calls"


def first_lies_in_a_graph(net: Twin, layers: list[str]) -> bool:
    """Whether the output of the net's first convolution did, when a layer's gradient was recorded."""
    seen: list[bool] = []
    handle = net.first.register_forward_hook(lambda module, inputs, output: seen.append(output.requires_grad))
    look(wrap(net, input_size=SIZE), pictures(2), 1, layers=layers, needs=[Gradient]).gradient(layers[0])
    handle.remove()
    return seen[-1]


def test_what_lies_before_the_deepest_layer_keeps_no_graph() -> None:
    net = Twin()
    with unchanged(net):
        assert not first_lies_in_a_graph(net, ["second"])


def test_someone_elses_backward_hooks_find_their_gradients() -> None:
    net, found = Twin(), []
    net.second.register_full_backward_hook(lambda module, given, taken: found.append(given[0] is not None))
    assert first_lies_in_a_graph(net, ["norm"])
    assert found and all(found)
