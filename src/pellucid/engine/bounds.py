"""How high a combination of the model's outputs can rise while its input stays in a box: bounds no input can break.

The model is read as a tape of torch's own operations, so it does not matter how it spells them. Boxes go through it
forward (interval bound propagation); from the last operation that is not affine on, the rest is one affine map and is
bounded as that. Straight lines above and below every operation that is not affine are then followed backward (CROWN).
All of it is computed in float64 (float32 where a device has nothing else), so rounding is far below what is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid import hooks
from pellucid.engine.intervals import Interval, affine, enclosed, obstacles, out_of_place
from pellucid.engine.lines import Ledger, relaxed
from pellucid.engine.tape import Program, Scaled, Slot, Step, Tape
from pellucid.errors import MethodUnavailable
from pellucid.subject import VisionModel

# Largest difference from the model's answer, which is read as float32, in parts of it.
_ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 5e-2, torch.bfloat16: 1e-1}
_RECORDED = (2, 3)  # pictures of the two tapes


@dataclass(frozen=True, eq=False)
class Verifier:
    """A model whose operations are bounded from the step `first` on.

    obstacle: the last operation that has no bound, which ends just before `first`; empty where all are bounded
    tail:     the step from which on everything is affine
    dtype:    in which the model works
    """

    program: Program
    held: tuple[Tensor, ...]
    first: int
    tail: int
    obstacle: str
    dtype: torch.dtype

    def enter(self, boxes: Interval) -> dict[int, Interval]:
        """Boxes of the input, as they are met by the first step."""
        return {0: Interval(_exact(boxes.lower), _exact(boxes.upper))}

    def sampled(self, points: Iterable[Tensor]) -> dict[int, Interval]:
        """The boxes around what reaches the first bounded step from some inputs, each [box channel height width]."""
        found: dict[int, Interval] = {}
        for point in points:
            slots: dict[int, Any] = {0: point.to(self.dtype).clone()}
            with hooks.bare_operations(point.device):
                rows = len(point)
                self.program.walk(slots, self.plain(rows), rows, _run, slice(0, self.first))
            for index in self.program.live(self.first):
                value, known = _exact(slots[index].clone()), found.get(index)
                found[index] = (
                    Interval(value, value) if known is None
                    else Interval(torch.minimum(known.lower, value), torch.maximum(known.upper, value))
                )  # fmt: skip
        return found

    def bounds(
        self, entered: Mapping[int, Interval], forms: Float[Tensor, "form classes"], tightened: int
    ) -> Float[Tensor, "box form"]:
        """An upper bound of every combination of outputs `forms`, in every box.

        tightened: of so many combinations, the highest by intervals in the first box, the bound is lowered by CROWN
        """
        forms = _exact(forms)
        with hooks.going_back(forms.device):
            known, reached = self._spread(entered)
            found = self._elided(reached, forms)
            if tightened and known:
                chosen = found[0].argsort(descending=True)[:tightened]
                lowered = self._followed(entered, known, forms[chosen])
                found[:, chosen] = torch.minimum(found[:, chosen], lowered)
        return found

    # -- inside -----------------------------------------------------------------------------------------------------

    def _spread(self, entered: Mapping[int, Interval]) -> tuple[dict[int, _Bent], dict[int, Interval]]:
        """Boxes before and after every step that is not affine, and those that reach the affine tail."""
        known: dict[int, _Bent] = {}

        def enclose(place: int, step: Step, args: list[Any], named: dict[str, Any]) -> Any:
            if not any(isinstance(one, Interval) for one in _flat(args)):
                return _in_double(step.operation(*args, **named))
            answer = enclosed(step, args, named)
            if not affine(step):
                known[place] = _Bent(args[0], answer if isinstance(answer, Interval) else answer[0])
            return answer

        slots: dict[int, Any] = dict(entered)
        rows = _rows(entered)
        with torch.no_grad():
            self.program.walk(slots, self._exactly(rows), rows, enclose, slice(self.first, self.tail))
        return known, {
            index: one if isinstance(one, Interval) else Interval(_exact(one), _exact(one))
            for index, one in slots.items()
        }

    def _elided(self, reached: Mapping[int, Interval], forms: Tensor) -> Tensor:
        """The bound where what follows is affine: every combination is one affine form of what reaches the tail."""
        rows = len(forms)
        leaves = {
            index: torch.zeros_like(one.lower[:1]).expand(rows, *one.lower.shape[1:]).clone().requires_grad_()
            for index, one in reached.items()
        }
        values = self.output(dict(leaves), rows, _replay, slice(self.tail, None))
        constants = (values * forms).sum(dim=1)
        slopes = _slopes(constants.sum(), leaves)
        found = constants.detach().expand(_rows(reached), rows).clone()
        for index, slope in slopes.items():
            weights = slope.flatten(1)
            lower, upper = reached[index].lower.flatten(1), reached[index].upper.flatten(1)
            found += upper @ weights.clamp(min=0).T + lower @ weights.clamp(max=0).T
        return found

    def _followed(self, entered: Mapping[int, Interval], known: Mapping[int, _Bent], forms: Tensor) -> Tensor:
        """The bound by straight lines, followed back to the boxes that entered."""
        ledger, rows = Ledger(), _rows(entered)
        leaves = {index: one.centre.requires_grad_() for index, one in entered.items()}

        def relax(place: int, step: Step, args: list[Any], named: dict[str, Any]) -> Any:
            if place in known:
                return relaxed(step, args, known[place].before, known[place].after, ledger)
            return _replay(place, step, args, named)

        values = self.output(dict(leaves), rows, relax, slice(self.first, None))
        bounds: list[Tensor] = []
        for form in forms:
            ledger.begin(rows, values)
            total = values @ form
            slopes = _slopes(total.sum(), leaves)
            reach = sum((slope.abs() * entered[index].radius).flatten(1).sum(dim=1) for index, slope in slopes.items())
            bounds.append(total.detach() + ledger.total + reach)
        return torch.stack(bounds, dim=1)

    def output(self, slots: dict[int, Any], rows: int, do: Any, part: slice) -> Tensor:
        self.program.walk(slots, self._exactly(rows), rows, do, part)
        reference = self.program.results["output"]
        assert isinstance(reference, Slot)
        return slots[reference.index]

    def plain(self, rows: int) -> Any:
        return lambda index: self._row(index, rows)

    def _exactly(self, rows: int) -> Any:
        return lambda index: _in_double(self._row(index, rows))

    def _row(self, index: int, rows: int) -> Tensor:
        """What is held, for so many pictures; it does not depend on them, so that of the first serves all."""
        tensor = self.held[index].detach()
        axis = next((at for at, side in enumerate(self.program.shapes[index]) if isinstance(side, Scaled)), None)
        if axis is None:
            return tensor
        each = tensor.shape[axis] // _RECORDED[0]
        return torch.cat([tensor.narrow(axis, 0, each)] * rows, dim=axis)


@dataclass(frozen=True, eq=False)
class _Bent:
    """The boxes before and after a step that is not affine."""

    before: Interval
    after: Interval


def verifier_of(model: VisionModel, inputs: Float[Tensor, "batch channel height width"]) -> Verifier:
    """The model's operations at this size of input, and which of them are bounded.

    Raises MethodUnavailable where the model cannot be written down as one sequence of operations.
    """
    several = inputs[torch.arange(_RECORDED[1], device=inputs.device) % len(inputs)]
    (tape, outputs), (other, others) = (_recorded(model, several[:count]) for count in _RECORDED)
    program = Program.of(tape, other, _RECORDED, (outputs, others))
    if isinstance(program, str):
        raise MethodUnavailable("Bounding the model's operations", f"{program}.", ("occlusion", "rise"))
    if not isinstance(program.results["output"], Slot):
        raise MethodUnavailable("Bounding the model's operations", "its answer does not depend on the picture.")
    last = max(obstacles(program), default=(-1, ""))
    bent = [place for place, step in enumerate(program.steps) if _bends(step)]
    found = Verifier(program, tuple(tape.held), last[0] + 1, max([last[0], *bent]) + 1, last[1], model.dtype)
    _proved(found, model, several[: _RECORDED[0]], outputs["output"])
    return found


def _recorded(model: VisionModel, inputs: Tensor) -> tuple[Tape, dict[str, Tensor]]:
    assert model.network is not None
    reader, tape = model.outputs, Tape()
    with hooks.guest(model.network), torch.inference_mode(False), torch.no_grad():
        leaf = inputs.to(model.dtype).clone()
        with hooks.operations(tape.watch):
            tape.begin(leaf)
            return tape, {"output": reader.read(model.run(leaf), len(inputs))}


def _proved(verifier: Verifier, model: VisionModel, inputs: Tensor, expected: Tensor) -> None:
    """Runs the operations by themselves, in float64 and with the first axis watched. Raises MethodUnavailable."""
    odd_steps, rows = list[int](), len(inputs)

    def look(place: int, step: Step, args: list[Any], named: dict[str, Any]) -> Any:
        answer = _replay(place, step, args, named)
        if _bends(step) and len(next(_flat(answer))) != rows:
            odd_steps.append(place)
        return answer

    slots: dict[int, Any] = {0: inputs.to(model.dtype).clone()}
    with hooks.bare_operations(inputs.device):
        verifier.program.walk(slots, verifier.plain(rows), rows, _run, slice(0, verifier.first))
        slots = {index: _exact(slots[index]) for index in verifier.program.live(verifier.first)}
        odd = any(len(value) != rows for value in slots.values())
        values = verifier.output(slots, rows, look, slice(verifier.first, None))
    error = float((values - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
    if odd or odd_steps or not error <= _ROUNDING.get(model.dtype, 0.0):
        reason = (
            f"run by themselves, they differ from it by {error:.1g} of the answer" if not (odd or odd_steps)
            else "it mixes pictures with other axes before an operation that is not affine"
        )  # fmt: skip
        raise MethodUnavailable("Bounding the model's operations", f"{reason}.", ("occlusion", "rise"))


def _bends(step: Step) -> bool:
    return not affine(step) and any(isinstance(one, Slot) for one in step.args)


def _run(_place: int, step: Step, args: list[Any], named: dict[str, Any]) -> Any:
    return step.operation(*args, **named)


def _replay(_place: int, step: Step, args: list[Any], named: dict[str, Any]) -> Any:
    return _in_double(out_of_place(step, args, named)) if step.args else step.operation(*args, **named)


def _slopes(total: Tensor, leaves: Mapping[int, Tensor]) -> dict[int, Tensor]:
    if not total.requires_grad:
        return {}
    # torch declares tensors only, but what is not used comes back as None.
    found: Any = torch.autograd.grad(total, list(leaves.values()), retain_graph=True, allow_unused=True)
    return {index: slope for index, slope in zip(leaves, found, strict=True) if slope is not None}


def _rows(boxes: Mapping[int, Interval]) -> int:
    return len(next(iter(boxes.values())).lower)


def _exact(tensor: Tensor) -> Tensor:
    return _in_double(tensor.detach())


def _in_double(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(torch.float32 if value.device.type == "mps" else torch.float64)
    return value


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (tuple, list)):
        for entry in value:
            yield from _flat(entry)
    else:
        yield value
