"""One recorded pass: which tensors of a running model were kept, inside or outside the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid import hooks
from pellucid.engine.differences import Differences
from pellucid.engine.edits import Edit
from pellucid.engine.relevance import Relevance
from pellucid.engine.tape import Tape
from pellucid.errors import MethodUnavailable, ModelError
from pellucid.hooks import Attended, BackwardRule
from pellucid.subject import VisionModel
from pellucid.subject.layers import first_tensor, to_grid
from pellucid.values import Class, Predicted, Target, Text


@dataclass(frozen=True)
class Wanted:
    """What a pass is to keep beside its outputs."""

    layers: frozenset[str] = frozenset()
    attention: bool = False
    attended: bool = False  # beside attention's probabilities, what they compare and mix
    as_one: frozenset[int] = frozenset()  # attentions, by number, whose heads work as a single one
    biases: bool = False
    rules: bool = False
    relevance: bool = False
    differences: bool = False  # of the first half of the batch from the second; on its own, never beside other wants
    gradients: bool = False
    inputs: bool = False  # gradients down to the input; without it the backward stops at the deepest layer
    tails: frozenset[str] = frozenset()  # layers after which the model will run again on its own

    def __or__(self, other: Wanted) -> Wanted:
        either = {name: getattr(self, name) | getattr(other, name) for name in vars(self)}
        return Wanted(**either)

    def __le__(self, other: Wanted) -> bool:
        return self | other == other

    @property
    def inside(self) -> bool:
        """Whether gradients or anything but layers is to be kept."""
        return self.at_attention or self.biases or self.rules or self.relevance or self.gradients or self.inputs

    @property
    def at_attention(self) -> bool:
        """Whether attention is to be seen or changed."""
        return self.attention or self.attended or bool(self.as_one)


@dataclass(frozen=True)
class Constant:
    """An operation's output and the constant it added: [channel] (the last axis or the second), or of its shape."""

    output: Tensor
    added: Tensor
    channels_last: bool


@dataclass
class Recording:
    """What one pass left behind.

    leaf:   the input the gradients refer to
    kept:   layer outputs as the model made them, by name
    attention: probabilities of every attention, in order of execution; attended: the same with what they mix
    constants: what adds one, in order of execution
    scores: the target's value per sample, in the graph when gradients were wanted
    """

    leaf: Tensor
    outputs: Tensor
    scores: Tensor
    targets: tuple[Target, ...]
    kept: dict[str, Tensor]
    attention: list[Tensor]
    attended: list[Attended]
    constants: list[Constant]
    rule: BackwardRule
    wanted: Wanted
    relevance: Relevance | None = None
    edited: bool = False
    tape: Tape | None = None
    found: dict[int, Tensor] = field(default_factory=dict)  # natural gradients, by id of the kept tensor


def record(
    model: VisionModel, inputs: Tensor, targets: Sequence[Target], wanted: Wanted, edits: Sequence[Edit] = (),
    tape: Tape | None = None,
) -> Recording:  # fmt: skip
    """One forward of the model over `inputs`, keeping what is wanted; the model is a guest.

    tape: writes down what the model does from where one of the edits lets it begin
    """
    assert model.network is not None
    reads = {target.reads for target in targets} - {"output"}
    layers = {name: model.layers_at(_size(inputs))[name] for name in wanted.layers | reads}
    kept: dict[str, Tensor] = {}
    constants: list[Constant] = []
    attention: list[Tensor] = []
    attended: list[Attended] = []
    rule = BackwardRule()
    edited = {edit.layer.name: edit for edit in edits}
    addresses = {layer.name for layer in layers.values()} | set(edited)
    names = {address.split("#")[0] for address in addresses}
    speaking = _speaking(model.network) if wanted.biases else set[str]()
    reader = model.outputs  # may run the model once: not while we watch it

    def on_output(name: str, call: int, module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> Any:
        tensor = first_tensor(output)
        if tensor is None:
            return None
        address = f"{name}#{call}" if f"{name}#{call}" in addresses else name
        if address not in addresses and name not in speaking:
            return None  # another call of a module of which one call is wanted
        if address in edited:
            tensor = edited[address](tensor)
        held = _in_graph(tensor) if wanted.gradients else tensor
        if address in addresses:
            kept[address] = held
        if name in speaking:
            constants.append(Constant(held, _said(module), channels_last=False))
        # The model goes on with a copy, so that an in-place operation cannot change what is kept.
        return swapped(output, held.clone())

    def on_constant(output: Tensor, added: Tensor, channels_last: bool) -> None:
        constants.append(Constant(output, added, channels_last))

    def on_attention(found: Attended) -> None:
        if wanted.attention:
            attention.append(found.probabilities)
        if wanted.attended:
            attended.append(found)

    with ExitStack() as stack:
        stack.enter_context(hooks.guest(model.network, frozen=wanted.gradients))
        stack.enter_context(torch.inference_mode(False) if wanted.gradients else torch.inference_mode())
        stack.enter_context(torch.set_grad_enabled(wanted.gradients))
        if names | speaking:
            stack.enter_context(hooks.watched(model.network, sorted(names | speaking), on_output))
        if wanted.rules or wanted.relevance:
            stack.enter_context(hooks.switchable_rectifiers(rule))
        relevance = Relevance(rule, _bounds(model, inputs)) if wanted.relevance else None
        watching = relevance or (Differences() if wanted.differences else None)
        if watching is not None:
            stack.enter_context(hooks.functions(watching.watch))
        if wanted.at_attention or watching is not None:  # all go through attention's plain formula
            stack.enter_context(hooks.captured_attention(on_attention, wanted.as_one))
        if wanted.biases:  # innermost: what it hands over has to lie in the graph that the others made
            stack.enter_context(hooks.captured_constants(on_constant))
        leaf = inputs.detach().to(model.dtype)
        # In a frozen model only the input can start the graph that attention and biases are to lie in.
        rooted = wanted.inputs or (wanted.gradients and (wanted.at_attention or wanted.biases))
        leaf = leaf.clone().requires_grad_() if rooted else leaf
        # A first in-place operation of the model must not meet a leaf.
        with hooks.operations(tape.watch) if tape else nullcontext():
            with nullcontext() if watching is None else watching.over(leaf):
                raw = model.guarded(_size(inputs), lambda: model.run(leaf.clone()))
            outputs = reader.read(raw, len(inputs))
        resolved = settled(targets, outputs)
        scores = score(resolved, outputs, lambda name: to_grid(kept[layers[name].name], layers[name]).float())
    return Recording(
        leaf,
        outputs,
        scores,
        resolved,
        kept,
        attention,
        attended,
        constants,
        rule,
        wanted,
        relevance,
        bool(edited),
        tape,
    )


def sound(outputs: Tensor) -> Tensor:
    """The same outputs. Raises ModelError where they rank no class: a NaN, or infinitely much of one.

    Minus infinity rules a class out, which a model may do.
    """
    broken = outputs.isnan() | (outputs == torch.inf)
    if bool(broken.any()):
        picture = int(broken.any(dim=1).nonzero()[0])
        raise ModelError(
            f"The model's answer to picture {picture} holds {int(broken[picture].sum())} of {outputs.shape[1]} numbers "
            f"that are NaN or infinite. Its weights are damaged, its precision does not suffice, or its preprocessing "
            f"is another than in training."
        )
    return outputs


def settled(targets: Sequence[Target], outputs: Tensor) -> tuple[Target, ...]:
    """The targets with "the predicted class" replaced by the class these outputs rank first."""
    if not any(isinstance(target, Predicted) for target in targets):
        return tuple(targets)
    best = outputs.detach().argmax(dim=-1).tolist()
    return tuple(Class(best[at]) if isinstance(target, Predicted) else target for at, target in enumerate(targets))


def score(targets: Sequence[Target], outputs: Tensor, read: Callable[[str], Tensor]) -> Tensor:
    """The value of each sample's target, [batch] float32."""
    values = lambda target: outputs if target.reads == "output" else read(target.reads)
    groups: dict[Target, list[int]] = {}
    for index, target in enumerate(targets):
        groups.setdefault(target, []).append(index)
    if len(groups) == 1:
        target = next(iter(groups))
        return target(values(target)).float()
    rows = torch.empty(len(targets), dtype=torch.float32, device=outputs.device)
    pieces = [(target(values(target)[index]).float(), index) for target, index in groups.items()]
    order = [at for _, index in pieces for at in index]
    places = torch.empty_like(rows, dtype=torch.long)
    places[torch.tensor(order, device=rows.device)] = torch.arange(len(order), device=rows.device)
    return torch.cat([piece for piece, _ in pieces])[places]


def chances(model: VisionModel, targets: Sequence[Target], outputs: Tensor) -> Float[Tensor, "batch"] | None:
    """The probability of each sample's class or text; None unless every target is one."""
    places = [target.index for target in targets if isinstance(target, (Class, Text))]
    if len(places) < len(targets):
        return None
    rows = torch.arange(len(places), device=outputs.device)
    return model.probabilities(outputs)[rows, torch.tensor(places, device=outputs.device)]


def answers(model: VisionModel, targets: Sequence[Target], outputs: Tensor, scores: Tensor) -> Float[Tensor, "batch 3"]:
    """Of each sample the score, the probability (the score again where the target is no class) and the first class."""
    found = chances(model, targets, outputs)
    probability = scores if found is None else found
    return torch.stack([scores, probability.float(), outputs.argmax(dim=-1).float()], dim=-1)


def gradients(
    recording: Recording, of: Iterable[Tensor], rule: str = "natural", scores: Tensor | None = None
) -> list[Tensor]:
    """One backward of the summed scores to all of `of`, under a rule; zeros where no gradient arrives."""
    tensors = list(of)
    recording.rule.name = rule
    try:
        with hooks.going_back(recording.leaf.device):
            total = (recording.scores if scores is None else scores).sum()
            if not total.requires_grad:
                if not recording.edited and all(target.reads == "output" for target in recording.targets):
                    reason = "its answer is cut off from the picture: it runs without gradients or detaches its values."
                    raise MethodUnavailable("Reading gradients", reason, ("occlusion", "rise", "lime"))
                return [torch.zeros_like(tensor) for tensor in tensors]
            found = torch.autograd.grad(total, tensors, retain_graph=True, allow_unused=True)
    finally:
        recording.rule.name = "natural"
    # torch declares tensors only, but what is not used comes back as None.
    arrived = cast("Sequence[Tensor | None]", found)
    pairs = zip(arrived, tensors, strict=True)
    return [torch.zeros_like(tensor) if gradient is None else gradient for gradient, tensor in pairs]


def _in_graph(tensor: Tensor) -> Tensor:
    if tensor.requires_grad or not tensor.is_floating_point():
        return tensor
    return tensor.detach().requires_grad_()  # frozen so far: the graph begins here


def swapped(output: Any, tensor: Tensor) -> Any:
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, dict):
        key = next(key for key, value in output.items() if isinstance(value, Tensor))
        changed = output.copy() if type(output) is dict else output
        changed[key] = tensor
        return changed
    position = next(index for index, value in enumerate(output) if isinstance(value, Tensor))
    parts = [*output[:position], tensor, *output[position + 1 :]]
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)


def _speaking(network: nn.Module) -> set[str]:
    """Modules of the user's own that add a constant and say so with a method `additive_bias()`."""
    return {name for name, module in network.named_modules() if hasattr(module, "additive_bias")}


def _said(module: Any) -> Tensor:
    return module.additive_bias().detach().float()


def _bounds(model: VisionModel, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest value of a pixel of each channel, in model input space; as seen where unknown."""
    if model.preprocess is None:
        return inputs.amin(dim=(0, 2, 3), keepdim=True), inputs.amax(dim=(0, 2, 3), keepdim=True)
    mean, std = (torch.tensor(values, device=inputs.device).view(1, -1, 1, 1)
                 for values in (model.preprocess.mean, model.preprocess.std))  # fmt: skip
    return -mean / std, (1 - mean) / std


def _size(inputs: Tensor) -> tuple[int, int]:
    return int(inputs.shape[-2]), int(inputs.shape[-1])
