"""A model before and after: nothing of the caller's may have changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.annotations import CHECKED  # beartype draws which entry of a list it looks at


def _hooks(module: nn.Module) -> tuple[int, ...]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return tuple(len(getattr(module, kind)) for kind in kinds)


def _state(module: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for name, part in module.named_modules():
        flags = {key: value for key, value in vars(part).items() if isinstance(value, (bool, int, str, float))}
        state[f"module {name}"] = (id(part), part.training, _hooks(part), flags, "forward" in vars(part))
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        gradient = None if tensor.grad is None else (id(tensor.grad), tensor.grad.clone())
        state[f"tensor {name}"] = (id(tensor), tensor.dtype, tensor.device, tensor.requires_grad, tensor._version)
        state[f"gradient {name}"] = gradient if gradient is None else (gradient[0], gradient[1].sum().item())
        state[f"values {name}"] = tensor.detach().double().sum().item()
    return state


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Fails if the block leaves anything of the module, or any global random state, other than it was."""
    before = _state(module)
    generators = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    grad_mode = torch.is_grad_enabled()
    try:
        yield
    finally:
        after = _state(module)
        assert after.keys() == before.keys(), after.keys() ^ before.keys()
        different = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
        assert not different, different
        assert torch.equal(generators[0], torch.get_rng_state()), "torch's random state moved"
        assert (generators[1] == np.random.get_state()[1]).all(), "numpy's random state moved"
        assert CHECKED or generators[2] == random.getstate(), "python's random state moved"
        assert torch.is_grad_enabled() == grad_mode
