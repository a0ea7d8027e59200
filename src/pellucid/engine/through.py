"""The model's answer as a step of something that learns: a graph runs through it, and its own weights take no part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid import hooks
from pellucid.engine.edits import Edit
from pellucid.engine.recording import swapped
from pellucid.subject import VisionModel
from pellucid.subject.layers import first_tensor


def through(
    model: VisionModel, inputs: Float[Tensor, "batch channel height width"], edits: Sequence[Edit] = ()
) -> Float[Tensor, "batch classes"]:
    """Its outputs, float32, with a graph back to the inputs and to what the edits put in the place of a layer's output.

    The model is a guest; its weights get no gradient, now or in a later backward. Under `no_grad` there is no graph.
    """
    network = model.network
    assert network is not None
    edited = {edit.layer.name: edit for edit in edits}

    def on_output(name: str, call: int, _module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> Any:
        edit = edited.get(f"{name}#{call}", edited.get(name))
        tensor = first_tensor(output)
        return None if edit is None or tensor is None else swapped(output, edit(tensor))

    names = sorted({name.split("#")[0] for name in edited})
    return answered(model, inputs, lambda: hooks.watched(network, names, on_output))


def answered(
    model: VisionModel, inputs: Float[Tensor, "batch channel height width"],
    within: Callable[[], AbstractContextManager[None]],
) -> Float[Tensor, "batch classes"]:  # fmt: skip
    """The model's outputs, float32, while it runs as a guest and changed as `within` has it, in the caller's mode of
    gradients."""
    assert model.network is not None
    graph = torch.is_grad_enabled()  # leaving inference mode would switch gradients on
    reader = model.outputs  # may run the model once: not while it is changed
    size = (int(inputs.shape[-2]), int(inputs.shape[-1]))
    with hooks.guest(model.network, frozen=True), torch.inference_mode(False), torch.set_grad_enabled(graph), within():
        # A first in-place operation of the model must not meet a leaf.
        raw = model.guarded(size, lambda: model.run(inputs.clone()))
        return reader.read(raw, len(inputs))
