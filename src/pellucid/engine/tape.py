"""What torch does after one layer of a model, written down so that it can run again on other activations.

A tape is recorded while the model runs once. From then on the model is not needed: what depends on the layer is run
again, operation by operation, and what does not is held as it was. Two tapes of different numbers of pictures tell
which numbers and which axes grow with the pictures, so that one tape serves any number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils.weak import WeakTensorKeyDictionary

from pellucid import hooks
from pellucid.engine.operations import tensors_in
from pellucid.engine.work import work


@dataclass(frozen=True)
class Slot:
    """A tensor that depends on the layer."""

    index: int


@dataclass(frozen=True)
class Held:
    """A tensor that does not depend on the layer; it stays what it was."""

    index: int


Reference = Slot | Held


@dataclass(frozen=True)
class Scaled:
    """A number that grows with the pictures: `value` for `pictures` of them."""

    value: int
    pictures: int

    def at(self, pictures: int) -> int:
        return self.value * pictures // self.pictures


@dataclass(frozen=True)
class Step:
    """One operation. In its arguments references stand for tensors; `results` are slots, None for what is no tensor."""

    operation: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[int | None, ...]
    single: bool


Do = Callable[[int, Step, list[Any], dict[str, Any]], Any]
"""Takes one step: its place, itself, its arguments with tensors in them."""


@dataclass
class Tape:
    """Watches one forward pass and writes down what depends on the tensor it was told to begin with.

    layer:    the name of the layer it is to begin at
    refusal:  why what was seen cannot be run again; empty while it can
    work:     of the operations before and after the beginning, in floating point operations
    written:  bytes that the operations after the beginning wrote
    """

    layer: str = ""
    steps: list[Step] = field(default_factory=list[Step])
    held: list[Tensor] = field(default_factory=list[Tensor])
    refusal: str = ""
    work: list[float] = field(default_factory=lambda: [0.0, 0.0])
    written: int = 0

    def __post_init__(self) -> None:
        # By identity and weakly: what the model lets go of is not kept alive by being watched.
        self._slots: Any = WeakTensorKeyDictionary()
        self._holding: Any = WeakTensorKeyDictionary()
        self._count = 0
        self._changed: set[int] = set()  # memory that did not depend on the layer until it was written to

    @property
    def share(self) -> float:
        """How much of the pass's work came after the beginning, 0 to 1."""
        return self.work[1] / max(1.0, sum(self.work))

    def begin(self, origin: Tensor) -> None:
        """From here on, what depends on `origin` is written down."""
        assert self._count == 0
        self._new_slot(origin)
        self.written += origin.nbytes

    def refer(self, tensor: Tensor) -> Reference:
        """Where the tensor is found when the tape runs again."""
        return Slot(self._slots[tensor]) if tensor in self._slots else Held(self._hold(tensor))

    def watch(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the operation, written down if need be; for `hooks.operations`."""
        if not self._count or self.refusal:
            return self._counted(operation, args, kwargs)
        if not isinstance(operation, OpOverload):
            self.refusal = f"it runs {operation}, which is no plain operation"
            return operation(*args, **kwargs)
        tensors = list(tensors_in([*args, *kwargs.values()]))
        written = hooks.written(operation, args, kwargs)
        self._keep_what_is_held(written)
        depends = any(tensor in self._slots for tensor in tensors)
        self.refusal = self._why_not(operation, tensors, written, depends)
        if self.refusal or not (depends or _creates(operation, tensors)):
            return self._counted(operation, args, kwargs)
        for tensor in written:
            self._take_over(tensor)
        shape = (self._referred(args), self._referred(kwargs))
        answer = self._counted(operation, args, kwargs)
        self._note(operation, shape, answer, tensors)
        return answer

    # -- inside -----------------------------------------------------------------------------------------------------

    def _counted(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        answer = operation(*args, **kwargs)
        self.work[1 if self._count else 0] += work(operation, args, kwargs, answer)
        return answer

    def _why_not(
        self, operation: OpOverload, tensors: Sequence[Tensor], written: Sequence[Tensor], depends: bool
    ) -> str:
        if any(tensor not in self._slots and _place(tensor) in self._changed for tensor in tensors):
            return f"it fills memory piece by piece that was made before the layer ({operation})"
        if not depends:
            return ""
        if any(tensor.layout is not torch.strided for tensor in tensors):
            return f"it works on tensors that are not dense ({operation})"
        tags = operation.tags
        by_values = torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags
        if by_values and not (operation is torch.ops.aten.index.Tensor and _by_position(tensors)):
            return f"what it does next depends on values behind the layer ({operation})"
        held = {_place(tensor) for tensor in self.held}
        if any(tensor in self._slots and _place(tensor) in held for tensor in written):
            return f"it writes over what other parts read ({operation})"
        return ""

    def _keep_what_is_held(self, written: Sequence[Tensor]) -> None:
        """Copies what is held before something else is written in its place."""
        if not written:
            return
        places = {_place(tensor) for tensor in written}
        for index, tensor in enumerate(self.held):
            if _place(tensor) in places:
                self._holding.pop(tensor, None)
                self.held[index] = tensor.clone()

    def _take_over(self, tensor: Tensor) -> None:
        """A tensor that did not depend on the layer is about to: what it held before is copied on every run."""
        if tensor in self._slots:
            return
        self.held.append(tensor.clone())
        self._changed.add(_place(tensor))
        copy = Step(torch.ops.aten.clone.default, (Held(len(self.held) - 1),), {}, (self._new_slot(tensor),), True)
        self.steps.append(copy)

    def _note(self, operation: OpOverload, shape: tuple[Any, Any], answer: Any, tensors: Sequence[Tensor]) -> None:
        single = isinstance(answer, Tensor)
        answers = [answer] if single else list(answer) if isinstance(answer, (tuple, list)) else []
        if not any(isinstance(entry, Tensor) for entry in answers) and answer is not None:
            self.refusal = f"what it does next depends on values behind the layer ({operation})"
            return
        known = {_place(tensor) for tensor in tensors}
        results: list[int | None] = []
        for entry in answers:
            if not isinstance(entry, Tensor):
                results.append(None)
                continue
            self.written += 0 if _place(entry) in known else entry.nbytes
            results.append(self._slots[entry] if entry in self._slots else self._new_slot(entry))
        self.steps.append(Step(operation, shape[0], shape[1], tuple(results), single))

    def _new_slot(self, tensor: Tensor) -> int:
        self._slots[tensor] = self._count
        self._count += 1
        return self._count - 1

    def _hold(self, tensor: Tensor) -> int:
        if tensor not in self._holding:
            self._holding[tensor] = len(self.held)
            self.held.append(tensor)
        return self._holding[tensor]

    def _referred(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.refer(value)
        if isinstance(value, (tuple, list)):
            return tuple(self._referred(entry) for entry in value)
        if isinstance(value, dict):
            return {key: self._referred(entry) for key, entry in value.items()}
        return value


@dataclass(frozen=True)
class Program:
    """A tape that runs for any number of pictures.

    shapes:  of what is held; the axis that grows with the pictures, if any, is Scaled
    results: by name, what comes out
    """

    steps: tuple[Step, ...]
    shapes: tuple[tuple[int | Scaled, ...], ...]
    results: Mapping[str, Reference]
    last: Mapping[int, int] = field(default_factory=dict[int, int])  # the step after which a slot is free

    @classmethod
    def of(
        cls, one: Tape, other: Tape, pictures: tuple[int, int], results: tuple[Mapping[str, Tensor], ...]
    ) -> Program | str:
        """What both tapes have in common, `pictures` being how many each was recorded with; why not, in words."""
        named = [
            {name: tape.refer(tensor) for name, tensor in tensors.items()}
            for tape, tensors in zip((one, other), results, strict=True)
        ]
        if one.refusal or other.refusal:
            return one.refusal or other.refusal
        if len(one.steps) != len(other.steps) or len(one.held) != len(other.held) or named[0] != named[1]:
            return "it goes other ways for other numbers of pictures"
        steps: list[Step] = []
        for mine, theirs in zip(one.steps, other.steps, strict=True):
            args = _joined((mine.args, mine.kwargs), (theirs.args, theirs.kwargs), pictures)
            alike = mine.operation is theirs.operation and mine.results == theirs.results
            if args is _DIFFERENT or not alike:
                return f"it goes other ways for other numbers of pictures ({mine.operation})"
            steps.append(Step(mine.operation, args[0], args[1], mine.results, mine.single))
        shapes = [
            _joined(tuple(mine.shape), tuple(theirs.shape), pictures)
            for mine, theirs in zip(one.held, other.held, strict=True)
        ]
        if any(shape is _DIFFERENT or sum(isinstance(side, Scaled) for side in shape) > 1 for shape in shapes):
            return "what it holds does not grow with the pictures along one axis"
        return cls(tuple(steps), tuple(shapes), named[0], _last_uses(steps, named[0]))

    def fits(self, tape: Tape, pictures: int, results: Mapping[str, Tensor]) -> bool:
        """Whether a tape of so many pictures says the same."""
        named = {name: tape.refer(tensor) for name, tensor in results.items()}
        if tape.refusal or len(tape.steps) != len(self.steps) or named != self.results:
            return False
        shapes = [tuple(tensor.shape) for tensor in tape.held]
        return [_at(shape, pictures) for shape in self.shapes] == shapes and all(
            mine.operation is theirs.operation
            and mine.results == theirs.results
            and _at((mine.args, mine.kwargs), pictures) == (theirs.args, theirs.kwargs)
            for mine, theirs in zip(self.steps, tape.steps, strict=True)
        )

    def run(self, origin: Tensor, held: Callable[[int], Tensor]) -> dict[str, Tensor]:
        """What comes out when the tape begins with `origin`, which is written over.

        held: by index, what is held, for as many pictures as `origin` has rows
        """
        slots: dict[int, Tensor] = {0: origin}
        self.walk(slots, held, len(origin), lambda _, step, args, named: step.operation(*args, **named))
        return {name: _filled(at, slots, held, len(origin)) for name, at in self.results.items()}

    def walk(
        self, slots: dict[int, Any], held: Callable[[int], Tensor], pictures: int, do: Do, part: slice = slice(None)
    ) -> None:
        """Takes the steps of `part` one after the other; what they give goes into `slots`, what is used up leaves it.

        do: takes the step at a place with its arguments, in which the contents of slots stand for the slots
        """
        for place in range(*part.indices(len(self.steps))):
            step = self.steps[place]
            named = {key: _filled(value, slots, held, pictures) for key, value in step.kwargs.items()}
            answer = do(place, step, [_filled(value, slots, held, pictures) for value in step.args], named)
            answers = zip(step.results, [answer] if step.single else answer or (), strict=True)
            slots.update({index: entry for index, entry in answers if index is not None})
            for index in [index for index in slots if self.last.get(index, -1) <= place]:
                del slots[index]

    def live(self, place: int) -> set[int]:
        """The slots that hold something before the step at `place` which that step, a later one or the results read."""
        made = {index for step in self.steps[:place] for index in step.results if index is not None} | {0}
        return {index for index in made if self.last.get(index, -1) >= place}


def _filled(value: Any, slots: Mapping[int, Any], held: Callable[[int], Tensor], pictures: int) -> Any:
    """An argument with tensors where it refers to them."""
    if isinstance(value, Slot):
        return slots[value.index]
    if isinstance(value, Held):
        return held(value.index)
    if isinstance(value, Scaled):
        return value.at(pictures)
    return [_filled(entry, slots, held, pictures) for entry in value] if isinstance(value, tuple) else value


# -- comparing tapes ------------------------------------------------------------------------------------------------

_DIFFERENT: Any = object()


def _joined(one: Any, other: Any, pictures: tuple[int, int]) -> Any:
    """Two arguments as one: equal, or a number in proportion to the pictures."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        if len(one) != len(other):
            return _DIFFERENT
        entries = tuple(_joined(mine, theirs, pictures) for mine, theirs in zip(one, other, strict=True))
        return _DIFFERENT if _DIFFERENT in entries else entries
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return _DIFFERENT
        table = {key: _joined(value, other[key], pictures) for key, value in one.items()}
        return _DIFFERENT if _DIFFERENT in table.values() else table
    if type(one) is not type(other):
        return _DIFFERENT
    if one == other or one is other:
        return one
    if not isinstance(one, int) or isinstance(one, bool) or one * pictures[1] != other * pictures[0]:
        return _DIFFERENT
    return Scaled(one, pictures[0])


def _at(value: Any, pictures: int) -> Any:
    """An argument of a program as it reads for so many pictures."""
    if isinstance(value, Scaled):
        return value.at(pictures)
    if isinstance(value, tuple):
        return tuple(_at(entry, pictures) for entry in value)
    return {key: _at(entry, pictures) for key, entry in value.items()} if isinstance(value, dict) else value


def _last_uses(steps: Sequence[Step], results: Mapping[str, Reference]) -> dict[int, int]:
    last: dict[int, int] = {}
    for place, step in enumerate(steps):
        used = [*slots_in((step.args, step.kwargs)), *(index for index in step.results if index is not None)]
        last.update(dict.fromkeys(used, place))
    last.update({reference.index: len(steps) for reference in results.values() if isinstance(reference, Slot)})
    return last


def slots_in(value: Any) -> Iterator[int]:
    if isinstance(value, Slot):
        yield value.index
    elif isinstance(value, (tuple, list, dict)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from slots_in(entry)


# -- reading operations ---------------------------------------------------------------------------------------------


def _place(tensor: Tensor) -> int:
    """Which memory the tensor lies in; 0 where it is not dense."""
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else 0


def _creates(operation: OpOverload, tensors: Sequence[Tensor]) -> bool:
    """Whether it makes memory that later operations may fill with what depends on the layer."""
    name = operation.overloadpacket.__name__
    return not tensors or name.startswith("new_") or name.endswith("_like")


def _by_position(tensors: Sequence[Tensor]) -> bool:
    return all(tensor.dtype not in (torch.bool, torch.uint8) for tensor in tensors[1:])
