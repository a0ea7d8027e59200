"""Only what comes after a layer, run on changed activations: the rest of the model is as it was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid import hooks
from pellucid.engine.edits import Edit
from pellucid.engine.recording import Recording, Wanted, record, score
from pellucid.engine.tape import Program, Scaled, Tape
from pellucid.subject import VisionModel
from pellucid.subject.layers import to_grid
from pellucid.values import Layer, Seed, Target

_OUTPUT = "output"
# Batches smaller than those of whole forwards: 16 changes at a time take as long each as 64, and a fifth of the
# memory (ViT-Ti's last block: 0.071 forwards a change in 16, 0.083 in 64; ResNet-18 after layer3: 0.113, 0.125).
_NARROWER = 12
# Largest difference from the whole model that passes for rounding, in parts of the largest answer.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 4e-2}


@dataclass(frozen=True, eq=False)
class Origin(Edit):
    """The layer hands on `values` [batch channel h w], None for its own, and the tape begins with them."""

    tape: Tape
    values: Float[Tensor, "batch channel h w"] | None = None

    def changed(self, grid: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        origin = (grid if self.values is None else self.values.to(grid.device)).float()
        origin = origin.clone(memory_format=torch.contiguous_format)
        self.tape.begin(origin)
        return origin


@dataclass(frozen=True, eq=False)
class Suffix:
    """What the model does after a layer, for the pictures that were recorded.

    layers:       those inside the model that targets read, by the targets' names for them
    share:        of the model's work, 0 to 1
    sample_bytes: what one changed activation asks of the budget
    """

    program: Program
    held: Sequence[Tensor]
    layers: Mapping[str, Layer]
    pictures: int
    share: float
    sample_bytes: int

    def answers(
        self, activations: Float[Tensor, "sample channel h w"], targets: Sequence[Target]
    ) -> tuple[Float[Tensor, "sample classes"], Float[Tensor, "sample"]]:
        """Outputs and targets' values when the layer hands on `activations`, all pictures once, then all again, ..."""
        times = len(activations) // self.pictures
        found = self.run(activations, torch.arange(self.pictures, device=activations.device).repeat(times))
        with hooks.bare_operations(activations.device):
            values = score(targets, found[_OUTPUT], lambda name: to_grid(found[name], self.layers[name]).float())
        return found[_OUTPUT].clone(), values.clone()

    def scores(
        self, activations: Float[Tensor, "sample channel h w"], targets: Sequence[Target]
    ) -> Float[Tensor, "sample"]:
        """The targets' values alone."""
        return self.answers(activations, targets)[1]

    def run(self, activations: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """What comes out for the recorded pictures `rows`, one per activation."""
        with hooks.bare_operations(activations.device):
            origin = activations.float().clone(memory_format=torch.contiguous_format)
            return self.program.run(origin, lambda index: self._spread(index, rows))

    def _spread(self, index: int, rows: Tensor) -> Tensor:
        """What is held for each of the recorded pictures `rows`."""
        tensor = self.held[index]
        axis = next((at for at, side in enumerate(self.program.shapes[index]) if isinstance(side, Scaled)), None)
        if axis is None:
            return tensor
        each = tensor.shape[axis] // self.pictures
        if tensor.shape[axis] == 1:
            return tensor.expand(*tensor.shape[:axis], len(rows), *tensor.shape[axis + 1 :])
        by_picture = tensor.unflatten(axis, (self.pictures, each))
        return by_picture.index_select(axis, rows).flatten(axis, axis + 1)


def suffix_of(model: VisionModel, inputs: Tensor, layer: Layer, recording: Recording) -> tuple[Suffix | str, float]:
    """What comes after `layer`, from a recording with a tape that begins there, and the forwards it took to prove it.

    The first time it is asked of a model, a layer and a size, the suffix runs on changed activations of a few of the
    pictures beside the whole model; if the two disagree, why is the answer, in words.
    """
    assert recording.tape is not None
    size = (int(inputs.shape[-2]), int(inputs.shape[-1]))
    layers = {name: model.layers_at(size)[name] for name in _read_inside(recording.targets)}
    key = (layer.name, size, tuple(layers), model.dtype, inputs.device)
    known = model.programs.get(key)
    if isinstance(known, str):
        return known, 0.0
    if isinstance(known, Program) and known.fits(recording.tape, len(inputs), _results(recording, layers)):
        return _suffix(known, recording, layers, len(inputs)), 0.0
    rows = _some_rows(len(inputs), inputs.device)
    found = _proved(model, inputs, layer, layers, recording, rows)
    model.programs[key] = found if isinstance(found, str) else found.program
    return found, len(rows) / len(inputs)


# -- inside ---------------------------------------------------------------------------------------------------------


def _suffix(program: Program, recording: Recording, layers: Mapping[str, Layer], pictures: int) -> Suffix:
    tape = recording.tape
    assert tape is not None
    return Suffix(program, tape.held, layers, pictures, tape.share, _NARROWER * tape.written // pictures)


def _proved(
    model: VisionModel, inputs: Tensor, layer: Layer, layers: Mapping[str, Layer], recording: Recording, rows: Tensor
) -> Suffix | str:
    """The suffix, if it agrees with the whole model on changed activations of the pictures `rows`; else why not."""
    tape = recording.tape
    assert tape is not None
    if tape.refusal:
        return tape.refusal
    changed = _changed(to_grid(recording.kept[layer.name].detach(), layer).float()[rows])
    other = Tape(layer.name)
    targets = [recording.targets[row] for row in rows.tolist()]
    whole = record(model, inputs[rows], targets, Wanted(), [Origin(layer, other, changed)], other)
    results = (_results(recording, layers), _results(whole, layers))
    program = Program.of(tape, other, (len(inputs), len(rows)), results)
    if isinstance(program, str):
        return program
    found = _suffix(program, recording, layers, len(inputs))
    error = max(_distance(value, results[1][name]) for name, value in found.run(changed, rows).items())
    if not error <= _ROUNDING.get(model.dtype, 0.0):
        return f"run by itself, what follows the layer differs from the whole model by {error:.1g} of the answer"
    return found


def _changed(activation: Float[Tensor, "sample channel h w"]) -> Float[Tensor, "sample channel h w"]:
    """Every second channel or so silenced, the others louder or softer, and a little noise everywhere."""
    generator = Seed(0).child("suffix").generator()
    gain = 2 * torch.rand(activation.shape[:2], generator=generator)
    gain = (gain * (torch.rand(gain.shape, generator=generator) < 0.5))[:, :, None, None].to(activation)
    noise = torch.randn(activation.shape, generator=generator).to(activation)
    return activation * gain + 0.1 * noise * activation.std(correction=0).clamp(min=1e-3)


def _distance(one: Tensor, other: Tensor) -> float:
    """The largest difference, in parts of the largest value."""
    return float((one.float() - other.float()).abs().max() / other.float().abs().max().clamp(min=1e-12))


def _some_rows(pictures: int, device: torch.device) -> Tensor:
    """Two pictures or three, but not as many as were recorded, so that what grows with them shows."""
    chosen = {1: [0, 0], 2: [0, 1, 0]}.get(pictures, [0, 1])
    return torch.tensor(chosen, device=device)


def _read_inside(targets: Sequence[Target]) -> list[str]:
    return sorted({target.reads for target in targets} - {_OUTPUT})


def _results(recording: Recording, layers: Mapping[str, Layer]) -> dict[str, Tensor]:
    return {_OUTPUT: recording.outputs, **{name: recording.kept[layer.name] for name, layer in layers.items()}}
