"""The model one step of learning further: a copy of it, for one picture at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pellucid import hooks
from pellucid.engine.evidence import Evidence
from pellucid.engine.recording import score
from pellucid.errors import MethodUnavailable
from pellucid.subject import VisionModel
from pellucid.values import Class, Target, Text


def after_step(evidence: Evidence, rate: float) -> Iterator[Evidence]:
    """For every picture the same question about it, asked of a copy of the model that has learned from that picture.

    rate: of the one step of gradient descent. It lowers the cross-entropy of the target's class, or raises the target
          itself where that is no class

    Each picture finds the weights as they were. The copy is dropped with the last one; the model under study is only
    read. The step counts one forward and one backward. Raises MethodUnavailable where the model cannot be copied.
    """
    model = evidence.model
    student = _copied(model)
    before = [parameter.detach().clone() for parameter in _parameters(student)]
    for place in range(len(evidence)):
        slopes = _slopes(model.with_module(student), evidence.inputs[place : place + 1], evidence.targets[place])
        with torch.no_grad():
            for parameter, start, slope in zip(_parameters(student), before, slopes, strict=True):
                parameter.copy_(start - rate * slope)
        after = evidence.alone(place, model.with_module(student))
        yield after
        after.release()
        made = after.passes
        evidence.passes.add((1 + made.forwards) / len(evidence), (1 + made.backwards) / len(evidence))
        with torch.no_grad():
            for parameter, start in zip(_parameters(student), before, strict=True):
                parameter.copy_(start)


def _copied(model: VisionModel) -> nn.Module:
    assert model.network is not None
    try:
        with torch.inference_mode(False):
            student = copy.deepcopy(model.network)
    except (RuntimeError, TypeError) as error:
        reason = f"it cannot be copied ({str(error).splitlines()[0]}), and its own weights are not to be touched."
        raise MethodUnavailable("A step of learning", reason, ("normgrad", "grad_cam")) from error
    return student.eval().requires_grad_(True)


def _parameters(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.is_floating_point()]


def _slopes(student: VisionModel, inputs: Tensor, target: Target) -> Sequence[Tensor]:
    """The gradient of the loss in every parameter; zeros for those that take no part."""
    network = student.network
    assert network is not None
    reader = student.outputs
    with hooks.guest(network), torch.inference_mode(False), torch.enable_grad():
        outputs = reader.read(student.run(inputs.detach().clone()), len(inputs))
        certainty = _CERTAINTY.get(student.activation) if isinstance(target, (Class, Text)) else None
        gained = score([target], outputs if certainty is None else certainty(outputs), _unread)
        return torch.autograd.grad(-gained.sum(), _parameters(network), allow_unused=True, materialize_grads=True)


_CERTAINTY: Mapping[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.float().log_softmax(dim=-1),
    "sigmoid": lambda logits: logsigmoid(logits.float()),
}
"""The logarithm of each class's probability, by what the outputs mean."""


def _unread(name: str) -> Tensor:
    raise MethodUnavailable(
        "A step of learning", f"the target reads {name}, not the model's answer.", ("normgrad", "grad_cam")
    )
