"""Evidence: the record of passes over one batch for one target. It remembers, so nothing is computed twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid import hooks
from pellucid.compute.memory import Budget, halving
from pellucid.engine.edits import Edit, Replace
from pellucid.engine.findings import Answers, BiasTerm, Passes, TokenGrid
from pellucid.engine.recording import Recording, Wanted, answers, chances, gradients, record, score, settled, sound
from pellucid.engine.relevance import COMPOSITES, Propagated
from pellucid.engine.suffix import Origin, Suffix, suffix_of
from pellucid.engine.tape import Tape
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.hooks import Attended
from pellucid.images import baselines
from pellucid.subject import VisionModel
from pellucid.subject.clips import by_frame
from pellucid.subject.layers import LayerTree, to_grid
from pellucid.values import Layer, Predicted, Preprocess, Seed, Target

_SHARES_OF_GRADIENT_PASS = 3  # a graph holds activations, their gradients and copies
_PERTURBATION_FILL = "blur"
_TOKENS_AT_ONCE = 8192  # that the head reads, each in the place of all: 25 MB in a ViT-B
_WORTH_A_PROOF = 4  # changed activations; proving that a suffix is right takes two forwards, the first time


class Evidence:
    """What a model did on one batch, for one target per picture.

    Ask and it is there: the first question runs one forward that keeps everything planned, the first question for a
    gradient one backward. Values come as float32 and detached; layers as [batch channel h w].
    """

    def __init__(
        self, model: VisionModel, inputs: Tensor, targets: Sequence[Target], *, wanted: Wanted, seed: Seed,
        budget: Budget, edits: Sequence[Edit] = (), passes: Passes | None = None,
    ) -> None:  # fmt: skip
        self.model, self.inputs, self.seed = model, inputs, seed
        self.passes = passes or Passes()
        self.notes: list[str] = []
        self._targets = tuple(targets)
        self._wanted, self._budget, self._edits = wanted, budget, tuple(edits)
        self._recording: Recording | None = None
        self._refusal: MethodUnavailable | None = None  # why relevance cannot be followed through this model
        self._by_rule: dict[str, Tensor] = {}
        self._propagated: dict[str, Propagated] = {}
        self._fills: dict[str, Tensor] = {}
        self._plain: tuple[Tensor, Tensor] | None = None
        self._tails: dict[str, Suffix | None] = {}
        self._changes: Counter[str] = Counter()
        self._parent: Evidence | None = None  # of which this is a change of one layer
        self._remembered: dict[Hashable, Any] = {}

    # -- what it is about -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the model input."""
        return int(self.inputs.shape[-2]), int(self.inputs.shape[-1])

    @property
    def targets(self) -> tuple[Target, ...]:
        """One per picture; "the predicted class" has become that class."""
        if any(isinstance(target, Predicted) for target in self._targets):
            self._answers()
        return self._targets

    @property
    def preprocess(self) -> Preprocess | None:
        return self.model.preprocess

    @property
    def room(self) -> int:
        """How many pictures may go through the model at once."""
        return max(1, self._budget.batch(self.model.sample_bytes, self.inputs.device))

    @property
    def layers(self) -> LayerTree:
        """The model's layers at this input size."""
        return self.model.layers_at(self.size)

    @property
    def token_grid(self) -> TokenGrid:
        """Where the tokens of its blocks lie. Raises MethodUnavailable for a model without token blocks."""
        layers = [self.layers[name] for name in self.layers.blocks]
        if not layers or layers[-1].grid is None:
            raise MethodUnavailable("Attention", "it has no sequence of token blocks.", ("grad_cam", "occlusion"))
        return TokenGrid(layers[-1].prefix_tokens, *layers[-1].grid)

    @property
    def token_pooling(self) -> Literal["class", "mean"]:
        """Which tokens the head reads: the class token, or the mean over the grid."""
        return "class" if self.layers.blocks and self.layers.blocks[-1] in self.layers.silent else "mean"

    def note(self, text: str) -> None:
        """A remark the result carries on."""
        if text not in self.notes:
            self.notes.append(text)

    def remember(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once for every `key`, for whatever is worked out from these passes."""
        if key not in self._remembered:
            self._remembered[key] = make()
        return self._remembered[key]

    # -- the shared pass --------------------------------------------------------------------------------------------

    def output(self) -> Float[Tensor, "batch classes"]:
        """The model's outputs."""
        return self._answers()[0]

    def score(self) -> Float[Tensor, "batch"]:
        """The target's value."""
        return self._answers()[1]

    def probabilities(self) -> Float[Tensor, "batch classes"]:
        """The outputs as probabilities, 0 to 1."""
        return self.model.probabilities(self.output())

    def activation(self, layer: Layer | str) -> Float[Tensor, "batch channel h w"]:
        """What the layer put out."""
        address = self._address(layer)
        recording = self._recorded(Wanted(layers=frozenset([address.name])))
        return to_grid(recording.kept[address.name].detach(), address).float()

    def gradient(self, layer: Layer | str) -> Float[Tensor, "batch channel h w"]:
        """The target's gradient with respect to the layer's output."""
        address = self._address(layer)
        recording = self._recorded(Wanted(layers=frozenset([address.name]), gradients=True))
        gradient = self._natural(recording, recording.kept[address.name])
        grid = to_grid(gradient, address).float()
        if not bool(grid.abs().max() > 0):
            better = self.layers.default
            use = f" Look at {better.name}: {self.layers.why}." if better and better.name != address.name else ""
            self.note(f"No gradient reaches the places of {address.name}, so a map there is flat.{use}")
        return grid

    def input_gradient(self, rule: str | None = None) -> Float[Tensor, "batch channel height width"]:
        """The target's gradient with respect to the input.

        rule: `guided` or `deconvnet` change what rectifiers do on the way back; `resampled` is guided, and strided
              convolutions leave no lattice; one backward each
        Raises MethodUnavailable where the model has no rectifier that the rule could change.
        """
        if rule is None:
            recording = self._recorded(Wanted(gradients=True, inputs=True))
            return self._natural(recording, recording.leaf).float()
        if rule not in self._by_rule:
            recording = self._recorded(Wanted(gradients=True, inputs=True, rules=True))
            self._check_rule(recording, rule)
            (found,) = gradients(recording, [recording.leaf], rule)
            self.passes.add(backwards=1)
            self._by_rule[rule] = found.float()
        return self._by_rule[rule]

    def channel_gradient(
        self, channels: Sequence[tuple[Layer | str, int]], rule: str | None = None
    ) -> Float[Tensor, "batch channel height width"]:
        """The gradient of one channel of a layer, summed over its grid, with respect to the input; one backward.

        channels: one per picture, of whatever layers
        rule:     as of `input_gradient`
        """
        addresses = [self._address(layer) for layer, _ in channels]
        names = frozenset(address.name for address in addresses)
        recording = self._recorded(Wanted(layers=names, gradients=True, inputs=True, rules=rule is not None))
        if rule is not None:
            self._check_rule(recording, rule)
        sums = [
            to_grid(recording.kept[address.name], address)[at, channel].float().sum()
            for at, (address, (_, channel)) in enumerate(zip(addresses, channels, strict=True))
        ]
        (found,) = gradients(recording, [recording.leaf], rule or "natural", torch.stack(sums))
        self.passes.add(backwards=1)
        return found.float()

    def relevance(self, composite: str) -> Propagated:
        """Layer-wise relevance of the input under a composite of `engine.relevance.COMPOSITES`; one backward each.

        Raises RequestError for an unknown composite, MethodUnavailable where the model runs an operation without rule.
        """
        if composite not in self._propagated:
            if composite not in COMPOSITES:
                raise RequestError(f"composite={composite!r}; expected one of {', '.join(COMPOSITES)}.")
            recording = self._recorded(Wanted(gradients=True, inputs=True, relevance=True))
            assert recording.relevance is not None
            ledger = recording.relevance.ledger
            ledger.begin(COMPOSITES[composite])
            (rest,) = gradients(recording, [recording.leaf], "relevance")
            self.passes.add(backwards=1)
            found = (recording.leaf * rest).detach().float()
            found = found if ledger.pixels is None else found + ledger.pixels
            self._propagated[composite] = Propagated(found, tuple(ledger.flows))
            ledger.begin(COMPOSITES[composite])
        return self._propagated[composite]

    def multipliers(self, reference: Tensor) -> Float[Tensor, "batch channel height width"]:
        """How much of the target's difference from a reference each number's own difference makes, as a ratio.

        reference: model input, [batch channel height width]; times (input - reference) the differences are shared out
        exactly. One forward and one backward of both together. Raises MethodUnavailable where the model runs an
        operation without multiplier.
        """
        starts = reference.to(self.inputs).expand_as(self.inputs)
        wanted = Wanted(gradients=True, inputs=True, differences=True)

        def run(first: int, count: int) -> Tensor:
            rows = slice(first, first + count)
            targets = self.targets[rows] * 2
            with hooks.going_back(self.inputs.device):
                both = torch.cat([self.inputs[rows], starts[rows]])
            recording = record(self.model, both, targets, wanted, self._edits)
            (found,) = gradients(recording, [recording.leaf], scores=recording.scores[:count])
            return found[:count].float()

        room, done, found = max(1, self.room // (2 * _SHARES_OF_GRADIENT_PASS)), 0, list[Tensor]()
        while done < len(self):
            part, room = halving(partial(run, done), min(room, len(self) - done))
            found.append(part)
            done += len(part)
        self.passes.add(forwards=2, backwards=2)
        return torch.cat(found)

    def attention(self) -> tuple[Float[Tensor, "batch head token token"], ...]:
        """Attention probabilities over all tokens, one per block, rows are queries.

        Raises MethodUnavailable for models without attention and for attention within windows.
        """
        recording = self._recorded(Wanted(attention=True))
        return tuple(entry.detach().float() for entry in self._global_attention(recording))

    def attention_gradient(self) -> tuple[Float[Tensor, "batch head token token"], ...]:
        """The target's gradient with respect to each block's attention probabilities."""
        recording = self._recorded(Wanted(attention=True, gradients=True))
        return tuple(self._natural(recording, entry).float() for entry in self._global_attention(recording))

    def attended(self) -> tuple[Attended, ...]:
        """What attention compares and mixes, and what comes out, one per block; see `hooks.Attended`.

        Raises MethodUnavailable for models without attention and for attention within windows.
        """
        recording = self._recorded(Wanted(attention=True, attended=True))
        return tuple(recording.attended[place].detached() for place in self._global_places(recording))

    def attended_gradient(self) -> tuple[Float[Tensor, "batch head token channel"], ...]:
        """The target's gradient with respect to what each block's attention gives, before heads are joined."""
        recording = self._recorded(Wanted(attention=True, attended=True, gradients=True))
        found = [recording.attended[place].output for place in self._global_places(recording)]
        return tuple(self._natural(recording, output).float() for output in found)

    def with_one_head(self, block: int) -> Evidence:
        """The same question while the heads of one block's attention compare and mix as a single one.

        block: its place among those of `attention`. The model answers otherwise then; the passes count here.
        """
        recording = self._recorded(Wanted(attention=True))
        wanted = self._wanted | Wanted(as_one=frozenset([self._global_places(recording)[block]]))
        return Evidence(self.model, self.inputs, self.targets, wanted=wanted, seed=self.seed, budget=self._budget,
                        edits=self._edits, passes=self.passes)  # fmt: skip

    def early_scores(self) -> tuple[Float[Tensor, "batch"], ...]:
        """The target's value when the model's head reads each block's tokens, the rest of the blocks skipped.

        Together they count as one forward.
        """
        recording = self._recorded(Wanted(layers=frozenset(self.layers.blocks)))
        found = [self._score_read_at(recording, block, "head", graph=False) for block in self.layers.blocks]
        self.passes.add(forwards=1)
        return tuple(found)

    def token_outputs(self, block: str) -> Float[Tensor, "batch token classes"]:
        """What the model's head says when it reads one token of a block's output alone, for every token.

        The rest of the blocks is skipped and every token has the value of that one. Counts as one forward.
        """
        recording = self._recorded(Wanted(layers=frozenset([block])))
        tokens = recording.kept[self.layers[block].name].detach()
        tokens = tokens.transpose(0, 1) if self.layers[block].order == "tbc" else tokens
        batch, count = tokens.shape[:2]
        each, found = max(1, _TOKENS_AT_ONCE // (count * batch)), list[Tensor]()
        for some in tokens.split(each, dim=1):
            alone = some.flatten(0, 1)[:, None].expand(-1, count, -1)
            alone = alone.transpose(0, 1) if self.layers[block].order == "tbc" else alone
            read = self._read_by_head(recording, alone, batch * some.shape[1], graph=False)
            found.append(read.clone().unflatten(0, (batch, -1)))
        self.passes.add(forwards=1)
        return torch.cat(found, dim=1)

    def early_attention_gradients(
        self, pool: Literal["mean", "head"] = "mean"
    ) -> tuple[Float[Tensor, "batch head token token"], ...]:
        """For each block, the gradient of the target read from that block's own output, on its own attention.

        The rest of the blocks is skipped and the model's own head reads the block's tokens. Each block costs the head's
        forward and a backward through one block.

        pool: `mean` puts the mean of the block's tokens in the place of each; `head` leaves them as they are, so that
              the head reads what it usually does, such as the class token
        """
        blocks = self.layers.blocks
        recording = self._recorded(Wanted(attention=True, gradients=True, layers=frozenset(blocks)))
        probabilities = self._global_attention(recording)
        if len(probabilities) != len(blocks):
            reason = f"its {len(blocks)} blocks hold {len(probabilities)} attentions; one each is needed."
            raise MethodUnavailable("LeGrad", reason, ("chefer", "attention_rollout"))
        found: list[Tensor] = []
        for block, entry in zip(blocks, probabilities, strict=True):
            early = self._score_read_at(recording, block, pool)
            (gradient,) = gradients(recording, [entry], scores=early)
            found.append(gradient.float())
        self.passes.add(backwards=1)  # one block each, together one backward
        return tuple(found)

    def bias_terms(self) -> Iterator[BiasTerm]:
        """For every operation that adds a constant, in order of execution, how much that constant contributes."""
        recording = self._recorded(Wanted(biases=True, gradients=True))
        grids = [layer for layer in self.layers.grid_layers if layer.kind == "tokens"]
        for constant in recording.constants:
            yield BiasTerm.of(constant, self._natural(recording, constant.output).float(), len(self), grids)

    def keep(self, layers: Iterable[Layer | str], *, gradients: bool = False) -> None:
        """Plans that these layers will be asked for, so that one pass serves them all; makes none itself."""
        names = frozenset(self._address(layer).name for layer in layers)
        self._wanted = self._wanted | Wanted(layers=names, gradients=gradients)

    def recorded_apart(self, wanted: Wanted) -> Recording:
        """A pass of its own, for gradients that the shared one does not give. Counts one forward."""
        recording = record(self.model, self.inputs, self.targets, wanted, self._edits)
        self.passes.add(forwards=1)
        return recording

    # -- changed inputs ---------------------------------------------------------------------------------------------

    def fill(self, kind: str) -> Float[Tensor, "batch channel height width"]:
        """What removed pixels become: `blur`, `mean`, `noise`, `black`, `white`, `zero`, in model input space."""
        if kind not in self._fills:
            with torch.inference_mode(False):
                seed = self.seed.child("fill", kind)
                self._fills[kind] = by_frame(
                    self.inputs, self.model.frames, lambda shown: baselines.fill(shown, kind, self.preprocess, seed)
                )
        return self._fills[kind]

    def score_of_fill(self, kind: str) -> Float[Tensor, "batch"]:
        """The target's value where nothing is left of the picture but the fill; asked once."""
        (found,) = self.remember(("score of fill", kind), lambda: list(self.scores_at([self.fill(kind)])))
        return found

    def scores_at(self, points: Iterable[Tensor], *, probability: bool = False) -> Iterator[Float[Tensor, "batch"]]:
        """The target's value at changed inputs, each [batch channel height width], in order.

        probability: read class targets as probabilities, 0 to 1
        """
        yield from self._streamed(points, lambda block, targets: self._scores_of(block, targets, probability), 1, 0)

    def answers_at(self, points: Iterable[Tensor]) -> Iterator[Answers]:
        """Score, probability and first class at changed inputs, each [batch channel height width], in order."""
        for rows in self._streamed(points, self._answers_of, 1, 0):
            yield Answers(*rows.cpu().unbind(dim=-1))

    def answers_written(self, count: int, write: Callable[[int, Tensor], object]) -> Iterator[Answers]:
        """Score, probability and first class at `count` changed inputs, in order.

        write: puts the changed input of that place into the tensor it is given, [batch channel height width]; all of
               that one's values are stale. So a point is written once, where the model reads it
        """
        batch, start = len(self), 0
        room = min(count, max(1, self._budget.batch(self.model.sample_bytes, self.inputs.device) // batch))
        block = self.inputs.new_empty(room * batch, *self.inputs.shape[1:])
        while start < count:
            points = min(room, count - start)
            for place in range(points):
                write(start + place, block[place * batch : (place + 1) * batch])
            rows, used = halving(lambda fit: self._answers_of(block[: fit * batch], self.targets * fit), points)
            room = min(room, used) if used < points else room
            self.passes.add(used)
            start += used
            for three in rows.cpu().split(batch):
                yield Answers(*three.unbind(dim=-1))

    def gradients_at(self, points: Iterable[Tensor], rule: str | None = None) -> Iterator[Tensor]:
        """The target's gradient at changed inputs, each [batch channel height width], in order."""
        yield from self._streamed(points, lambda block, targets: self._gradient_of(block, targets, rule), 1, 1)

    def read_at(self, points: Iterable[Tensor], read: Callable[[Evidence], Tensor]) -> Iterator[Tensor]:
        """What `read` finds at changed inputs, each [batch channel height width], in order.

        read: is given evidence over several points at once, asks it for no more than one forward and one backward, and
              gives a tensor whose first axis is that evidence's; its passes count here
        """

        def run(block: Tensor, targets: Sequence[Target]) -> Tensor:
            return read(Evidence(self.model, block, targets, wanted=self._wanted, seed=self.seed, budget=self._budget,
                                 edits=self._edits))  # fmt: skip

        yield from self._streamed(points, run, 1, 1)

    def slopes_at(
        self, points: Iterable[Tensor]
    ) -> Iterator[tuple[Float[Tensor, "batch"], Float[Tensor, "batch channel height width"]]]:
        """The target's value and its gradient at changed inputs, each [batch channel height width], in order."""
        for both in self._streamed(points, self._slope_of, 1, 1):
            yield both[:, 0], both[:, 1:].reshape(self.inputs.shape)

    def activations_at(
        self, layer: Layer | str, points: Iterable[Tensor]
    ) -> Iterator[Float[Tensor, "batch channel h w"]]:
        """What the layer puts out at changed inputs, each [batch channel height width], in order."""
        address = self._address(layer)
        wanted = Wanted(layers=frozenset([address.name]))

        def run(block: Tensor, targets: Sequence[Target]) -> Tensor:
            kept = record(self.model, block, targets, wanted, self._edits).kept[address.name]
            return to_grid(kept, address).float().clone()

        yield from self._streamed(points, run, 1, 0)

    def tail_scores(self, layer: Layer | str, activations: Iterable[Tensor]) -> Iterator[Float[Tensor, "batch"]]:
        """The target's value when the layer hands on each of `activations`, [batch channel h w], instead.

        Only what comes after the layer runs, and counts as its share of a forward. Where that cannot be shown to give
        what the whole model gives, the whole model runs, and a note says why.
        """
        address = self._address(layer)
        source = iter(activations)
        first = list(islice(source, _WORTH_A_PROOF))
        tail = self._tail(address, worth=len(first) == _WORTH_A_PROOF)

        def run(block: Tensor, targets: Sequence[Target]) -> Tensor:
            inputs = self.inputs.repeat(len(block) // len(self), 1, 1, 1)
            edit = Replace(address, block)
            return record(self.model, inputs, targets, Wanted(), [*self._edits, edit]).scores.clone()

        if tail is None:
            yield from self._streamed(chain(first, source), run, 1, 0)
        else:
            yield from self._streamed(chain(first, source), tail.scores, tail.share, 0, tail.sample_bytes)

    def layer_gradients_at(
        self, layer: Layer | str, activations: Iterable[Tensor]
    ) -> Iterator[Float[Tensor, "batch channel h w"]]:
        """The target's gradient on the layer's output when the layer hands on each of `activations` instead, in order.

        activations: [batch channel h w]; prefix tokens stay as they are
        """
        address = self._address(layer)
        wanted = Wanted(layers=frozenset([address.name]), gradients=True)

        def run(block: Tensor, targets: Sequence[Target]) -> Tensor:
            inputs = self.inputs.repeat(len(block) // len(self), 1, 1, 1)
            with hooks.going_back(block.device):  # a caller's inference mode must not follow into the graph
                block = block.clone()
            recording = record(self.model, inputs, targets, wanted, [*self._edits, Replace(address, block)])
            (found,) = gradients(recording, [recording.kept[address.name]])
            return to_grid(found, address).float()

        yield from self._streamed(activations, run, 1, 1)

    def accumulate(
        self, masks: Iterable[Float[Tensor, "mask h w"]], weigh: Callable[[Tensor, Tensor], Tensor], *,
        fill: str = _PERTURBATION_FILL, probability: bool = True,
    ) -> Float[Tensor, "batch height width"]:  # fmt: skip
        """The sum over masks of `weigh(mask, score)`, where a mask of 1 shows the picture and 0 the fill.

        weigh: gets masks [mask 1 height width] and scores [mask batch 1 1], gives what is summed over the first axis
        """
        hidden = self.fill(fill)
        total = torch.zeros(len(self), *self.size, device=self.inputs.device)
        for chunk in masks:
            shown = chunk.to(self.inputs)
            points = (self.inputs * mask + hidden * (1 - mask) for mask in shown)
            scores = torch.stack(list(self.scores_at(points, probability=probability)))
            total += weigh(shown[:, None], scores[:, :, None, None]).sum(dim=0)
        return total

    def at(self, inputs: Float[Tensor, "batch channel height width"]) -> Evidence:
        """The same question at other inputs; its passes count here."""
        return Evidence(self.model, inputs, self.targets, wanted=self._wanted, seed=self.seed, budget=self._budget,
                        edits=self._edits, passes=self.passes)  # fmt: skip

    def alone(self, place: int, model: VisionModel | None = None) -> Evidence:
        """The same question about one of the pictures, asked of another `model` where one is given.

        Its passes are its own: one of them is 1 / batch of one here.
        """
        return Evidence(model or self.model, self.inputs[place : place + 1], self.targets[place : place + 1],
                        wanted=self._wanted, seed=self.seed, budget=self._budget, edits=self._edits)  # fmt: skip

    def asking(self, target: Any) -> Evidence:
        """Another question about the same inputs, see `look`; its passes count here."""
        return Evidence(self.model, self.inputs, self.model.resolve(target, len(self)), wanted=Wanted(),
                        seed=self.seed, budget=self._budget, edits=self._edits, passes=self.passes)  # fmt: skip

    @contextmanager
    def edited(self, *edits: Edit) -> Iterator[Evidence]:
        """Evidence of the same question with changes inside the model; on the way out it is released.

        From the fourth change of one layer on, outputs and scores come from what follows the layer alone.
        """
        changed = Evidence(self.model, self.inputs, self.targets, wanted=Wanted(), seed=self.seed, budget=self._budget,
                           edits=[*self._edits, *edits], passes=self.passes)  # fmt: skip
        if len(edits) == 1 and not self._edits:
            changed._parent = self
        try:
            yield changed
        finally:
            changed.release()

    def edited_answers(self, edit: Edit) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch"]] | None:
        """Outputs and scores under one change, from what follows the layer; None where the whole model is to run."""
        layer = edit.layer
        self._changes[layer.name] += 1
        tail = self._tail(layer, worth=self._changes[layer.name] >= _WORTH_A_PROOF)
        if tail is None:
            return None
        self.passes.add(forwards=tail.share)
        return tail.answers(edit.changed(self.activation(layer).to(self.model.dtype)), self.targets)

    def release(self) -> None:
        """Lets go of the graph; what was already asked for stays."""
        if self._recording is not None:
            self._plain = self._answers()
        self._recording = self._parent = None

    # -- inside -----------------------------------------------------------------------------------------------------

    def _address(self, layer: Layer | str) -> Layer:
        return layer if isinstance(layer, Layer) else self.layers[layer]

    def _answers(self) -> tuple[Tensor, Tensor]:
        if self._recording is not None:
            return self._recording.outputs.detach().clone(), self._recording.scores.detach().clone()
        if self._plain is None:
            if self.model.differentiable and self._wanted != Wanted():
                self._recorded(Wanted())
                return self._answers()
            self._plain = self._parent.edited_answers(self._edits[0]) if self._parent is not None else None
        if self._plain is None:
            self._plain = self._read_plainly()
            self.passes.add(forwards=1)
        return self._plain

    def _recorded(self, wanted: Wanted) -> Recording:
        if not self.model.differentiable:
            raise MethodUnavailable("This method", "it is a black box: it shows neither gradients nor layers.",
                                    ("occlusion", "rise", "lime", "kernel_shap"))  # fmt: skip
        if wanted.relevance and self._refusal is not None:
            raise self._refusal
        if self._recording is None or not wanted <= self._recording.wanted:
            if self._recording is not None:
                self._wanted = self._wanted | self._recording.wanted
            self._recording = None
            self._wanted = self._wanted | wanted
            try:
                recording = self._record(self._wanted)
            except MethodUnavailable as refusal:
                if not self._wanted.relevance:
                    raise
                # Relevance alone knows operations by name; what else was wanted goes without it.
                self._refusal, self._wanted = refusal, replace(self._wanted, relevance=False)
                self.passes.add(forwards=1)
                return self._recorded(wanted)
            sound(recording.outputs)
            self._recording, self._targets = recording, recording.targets
            self.passes.add(forwards=1)
        return self._recording

    def _record(self, wanted: Wanted) -> Recording:
        """One forward; where nothing but layers is wanted, it also writes down what follows one of them."""
        tails = [] if wanted.inside or self._edits else sorted(wanted.tails)
        if not tails:
            return record(self.model, self.inputs, self._targets, wanted, self._edits)
        tape = Tape(tails[0])
        return record(self.model, self.inputs, self._targets, wanted, [Origin(self.layers[tails[0]], tape)], tape)

    def _tail(self, layer: Layer, *, worth: bool) -> Suffix | None:
        """What follows the layer, to be run on its own; None where it cannot, or is not worth the proof."""
        if layer.name not in self._tails:
            if self._edits or not worth or not self.model.differentiable:
                return None
            wanted = Wanted(layers=frozenset([layer.name]), tails=frozenset([layer.name]))
            recording = self._recorded(wanted) if self._recording is None else self._recording
            if recording.tape is None or recording.tape.layer != layer.name:
                recording = self._record(wanted)
                self.passes.add(forwards=1)
            found, forwards = suffix_of(self.model, self.inputs, layer, recording)
            self.passes.add(forwards=forwards)
            if isinstance(found, str):
                self.note(f"After every change at {layer.name} the whole model ran: {found}.")
            self._tails[layer.name] = None if isinstance(found, str) else found
        return self._tails[layer.name]

    def _natural(self, recording: Recording, tensor: Tensor) -> Tensor:
        """The natural gradient of one kept tensor; the first request computes those of all kept ones."""
        if not recording.found:
            kept = [recording.leaf] if recording.wanted.inputs else []
            kept += [*recording.kept.values(), *recording.attention, *(one.output for one in recording.attended)]
            kept += [constant.output for constant in recording.constants]
            unique = list({id(entry): entry for entry in kept if entry.requires_grad}.values())
            found = gradients(recording, unique)
            recording.found.update({id(entry): gradient for entry, gradient in zip(unique, found, strict=True)})
            self.passes.add(backwards=1)
        return recording.found[id(tensor)]

    def _check_rule(self, recording: Recording, rule: str) -> None:
        if not recording.rule.rectifiers and not recording.rule.smooth:
            raise MethodUnavailable(
                f"The {rule} rule", "it has no ReLU or other activation that the rule could change.",
                ("gradient", "integrated_gradients"),
            )  # fmt: skip
        if not recording.rule.rectifiers:
            kinds = ", ".join(sorted(recording.rule.smooth))
            self.note(f"{rule}: the model has {kinds} instead of ReLU; the rule is applied by analogy.")

    def _global_attention(self, recording: Recording) -> list[Tensor]:
        return [recording.attention[place] for place in self._global_places(recording)]

    def _global_places(self, recording: Recording) -> list[int]:
        """Which of the recorded attentions run between all tokens of the picture."""
        if not recording.attention:
            raise MethodUnavailable("Attention", "it has no attention.", ("grad_cam", "layer_cam", "occlusion"))
        entries = list(enumerate(recording.attention))
        found = [(place, entry) for place, entry in entries if entry.ndim == 4 and entry.shape[0] == len(self)]
        try:
            tokens = self.token_grid
        except MethodUnavailable:
            found = []
        else:
            count = tokens.prefix + tokens.patches
            found = [(place, entry) for place, entry in found if entry.shape[-2] == entry.shape[-1] == count]
        if not found:
            shape = list(recording.attention[-1].shape)
            reason = f"its attention ({shape}) does not run between all tokens of the picture, as within windows."
            raise MethodUnavailable("Attention", reason, ("grad_cam", "layer_cam", "occlusion"))
        return [place for place, _ in found]

    def _score_read_at(self, recording: Recording, block: str, pool: str, *, graph: bool = True) -> Tensor:
        """The target's value when the model's head reads this block's tokens; in the recorded graph, or outside."""
        layer = self.layers[block]
        early = recording.kept[layer.name] if graph else recording.kept[layer.name].detach()
        if pool == "mean":
            # Whichever tokens the head reads, it finds the mean of all of them.
            early = early.mean(dim=0 if layer.order == "tbc" else 1, keepdim=True).expand_as(early)
        outputs = self._read_by_head(recording, early, len(self), graph=graph)
        values = score(recording.targets, outputs, lambda at: to_grid(recording.kept[at], self.layers[at]).float())
        return values if graph else values.detach().clone()

    def _read_by_head(self, recording: Recording, tokens: Tensor, count: int, *, graph: bool) -> Tensor:
        """The model's outputs for `count` samples when its last block hands on these tokens; in their graph, or not."""
        network = self.model.network
        assert network is not None
        names = [name.split("#")[0] for name in self.layers.blocks]
        stand_ins = {network.get_submodule(name): _passing(tokens) for name in names}
        reader = self.model.outputs  # may run the model once: not while its blocks are bypassed
        mode = torch.inference_mode(not graph)
        with hooks.guest(network), mode, torch.set_grad_enabled(graph), hooks.bypassed(stand_ins):
            return reader.read(self.model.run(recording.leaf.detach().clone()), count)

    def _streamed(
        self, points: Iterable[Tensor], run: Callable[[Tensor, Sequence[Target]], Tensor], forwards: float,
        backwards: int, sample_bytes: int | None = None,
    ) -> Iterator[Tensor]:  # fmt: skip
        """`run` over blocks of several points at once, as many as memory allows; results point by point.

        forwards:     of a picture that one point takes, and backwards
        sample_bytes: what one picture of a point takes; None is what a forward takes, or a backward
        """
        batch = len(self)
        shares = _SHARES_OF_GRADIENT_PASS if backwards else 1
        each = self.model.sample_bytes * shares if sample_bytes is None else sample_bytes
        room = max(1, self._budget.batch(each, self.inputs.device) // batch)
        waiting: list[Tensor] = []
        source = iter(points)
        while True:
            waiting.extend(islice(source, max(0, room - len(waiting))))
            if not waiting:
                return
            block = list(waiting)
            answer, used = halving(
                lambda count, block=block: run(torch.cat(block[:count]), self.targets * len(block[:count])), len(block)
            )
            room = min(room, used) if used < len(block) else room
            self.passes.add(forwards * used, backwards * used)
            yield from answer.split(batch)
            waiting = waiting[used:]

    def _scores_of(self, inputs: Tensor, targets: Sequence[Target], probability: bool) -> Tensor:
        if not self._edits and all(target.reads == "output" for target in targets):
            outputs = self.model.outputs_of(inputs)
        else:
            found, asked = self._scores_inside(inputs, targets, probability)
            self.passes.add(forwards=(asked - len(inputs)) / len(self))  # of all that is counted for this block
            return found
        found = chances(self.model, targets, outputs) if probability else None
        return score(targets, outputs, _unread) if found is None else found

    def _scores_inside(self, inputs: Tensor, targets: Sequence[Target], probability: bool) -> tuple[Tensor, int]:
        """The same where a layer has to be read, and how many pictures ran: of equal neighbours, as of several boxes of
        one picture, only the first does.
        """
        new = torch.ones(len(inputs), dtype=torch.bool)
        if not self._edits and all(target.reads != "output" for target in targets):
            new[1:] = (inputs[1:] != inputs[:-1]).flatten(1).any(dim=1).cpu()
        rows = (new.cumsum(0) - 1).to(inputs.device)
        wanted = Wanted(layers=frozenset(target.reads for target in targets) - {"output"})
        firsts = [target for target, first in zip(targets, new.tolist(), strict=True) if first]
        recording = record(self.model, inputs[new.to(inputs.device)], firsts, wanted, self._edits)
        outputs = recording.outputs[rows]
        found = chances(self.model, targets, outputs) if probability else None
        if found is None:
            read = lambda name: to_grid(recording.kept[self._address(name).name], self._address(name)).float()[rows]
            found = score(targets, outputs, read)
        return found.clone(), int(new.sum())

    def _answers_of(self, inputs: Tensor, targets: Sequence[Target]) -> Float[Tensor, "sample 3"]:
        if not self._edits and all(target.reads == "output" for target in targets):
            outputs = self.model.outputs_of(inputs)
            scores = score(targets, outputs, _unread)
        else:
            recording = record(self.model, inputs, targets, Wanted(), self._edits)
            outputs, scores = recording.outputs.clone(), recording.scores.clone()
        return answers(self.model, targets, outputs, scores)

    def _gradient_of(self, inputs: Tensor, targets: Sequence[Target], rule: str | None) -> Tensor:
        recording = record(
            self.model, inputs, targets, Wanted(gradients=True, inputs=True, rules=rule is not None), self._edits
        )
        if rule is not None:
            self._check_rule(recording, rule)
        (found,) = gradients(recording, [recording.leaf], rule or "natural")
        return found.float()

    def _slope_of(self, inputs: Tensor, targets: Sequence[Target]) -> Float[Tensor, "sample _"]:
        """The score of each sample, then its gradient, in one row."""
        recording = record(self.model, inputs, targets, Wanted(gradients=True, inputs=True), self._edits)
        (found,) = gradients(recording, [recording.leaf])
        return torch.cat([recording.scores.detach()[:, None], found.float().flatten(1)], dim=1)

    def _read_plainly(self) -> tuple[Tensor, Tensor]:
        if self._edits or any(target.reads != "output" for target in self._targets):
            recording = record(self.model, self.inputs, self._targets, Wanted(), self._edits)
            self._targets = recording.targets
            return recording.outputs.clone(), recording.scores.clone()
        outputs = sound(self.model.predict(self.inputs, self._budget))
        self._targets = settled(self._targets, outputs)
        return outputs, score(self._targets, outputs, _unread)


def _passing(tokens: Tensor) -> Callable[..., Tensor]:
    return lambda *_args, **_kwargs: tokens


def _unread(name: str) -> Tensor:
    raise AssertionError(f"layer {name} was not recorded")
