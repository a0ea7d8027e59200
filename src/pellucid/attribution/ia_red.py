"""IA-RED²: interpreters between a transformer's blocks drop the patches that the answer does not need.

Pan et al. 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from pellucid.attribution.fitted import Explainer, Lesson, explainer_of, same_build
from pellucid.engine import Evidence, look
from pellucid.engine.blocks import TokenBlocks, block_by_block, seeing_only, token_blocks
from pellucid.engine.token_drop import droppable_grid
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.registry import Fitting, Learning, method
from pellucid.subject import VisionModel
from pellucid.values import Fitted

_NAME = "ia_red"
_STAGES, _MOST_HEADS = 3, 6
_UNSURE = 0.5  # chance above which a patch stays

Choice = Callable[[Float[Tensor, "batch patch"]], Bool[Tensor, "batch patch"]]
"""Logits of the patches -> which of them stay."""


class Interpreter(nn.Module):
    """How much a patch and the class token ask for each other, as the logit that the patch stays."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.patch = nn.Linear(width, width)
        self.asking = nn.Linear(width, width)

    def forward(
        self, patches: Float[Tensor, "batch patch channel"], asking: Float[Tensor, "batch channel"]
    ) -> Float[Tensor, "batch patch"]:
        width = patches.shape[-1:]
        query = self.patch(functional.layer_norm(patches, width)).unflatten(-1, (self.heads, -1))
        key = self.asking(functional.layer_norm(asking, width)).unflatten(-1, (self.heads, -1))
        return (query * key[:, None]).sum(dim=-1).mean(dim=-1) * (width[0] / self.heads) ** -0.5


class InterpretersNet(nn.Module):
    """An interpreter before each stage of the blocks, of which one after the other begins to learn.

    width, depth: of the model's tokens and blocks; stages: how many; heads: of each interpreter
    each:    after how many updates the next one joins
    penalty: the reward where the answer is lost, with its sign turned
    """

    def __init__(self, width: int, depth: int, stages: int, heads: int, each: int, penalty: float) -> None:
        super().__init__()
        self.interpreters = nn.ModuleList(Interpreter(width, heads) for _ in range(stages))
        self.before = tuple(depth * stage // stages for stage in range(stages))
        self.each, self.penalty = each, penalty
        self.updates: Tensor
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.interpreters)

    @property
    def joined(self) -> int:
        """How many interpreters work so far; while it learns, one more every `each` updates."""
        return min(len(self), 1 + int(self.updates) // self.each) if self.training else len(self)


@dataclass(frozen=True)
class Course:
    """What became of the patches of some pictures.

    outputs: of the model, from what was left
    logits:  of the chance to stay, before each stage that has an interpreter at work
    kept:    which patches go through each of these stages; what is dropped stays dropped
    """

    outputs: Float[Tensor, "batch classes"]
    logits: Float[Tensor, "batch stage patch"]
    kept: Bool[Tensor, "batch stage patch"]

    @property
    def judged(self) -> Bool[Tensor, "batch stage patch"]:
        """Which patches each interpreter had before it."""
        return torch.cat([torch.ones_like(self.kept[:, :1]), self.kept[:, :-1]], dim=1)


def walked(
    model: VisionModel, inputs: Float[Tensor, "batch channel height width"], blocks: TokenBlocks, net: InterpretersNet,
    choose: Choice, stages: int,
) -> Course:  # fmt: skip
    """The blocks on several pictures at once; tokens that were dropped stay in their places, but nothing looks at them.

    For the other tokens that is the same as if they were gone. A graph runs to the logits alone.
    """
    logits, kept = list[Tensor](), list[Tensor]()
    prefix, count = blocks.grid.prefix, blocks.grid.patches

    def step(number: int, block: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        stage = net.before.index(number) if number in net.before else stages
        if stage < stages:
            given = tokens.detach().float()
            with torch.enable_grad():
                logits.append(net.interpreters[stage](blocks.patches(given), given[:, 0]))
            before = kept[-1] if kept else torch.ones_like(logits[-1], dtype=torch.bool)
            kept.append(before & choose(logits[-1].detach()))
        seen = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        seen[:, prefix : prefix + count] = kept[-1]
        with seeing_only(seen):
            return block(tokens)

    with torch.no_grad():
        outputs = block_by_block(model, inputs, blocks, step)
    return Course(outputs, torch.stack(logits, dim=1), torch.stack(kept, dim=1))


def dropped(
    model: VisionModel, inputs: Float[Tensor, "one channel height width"], blocks: TokenBlocks, net: InterpretersNet,
    choose: Choice,
) -> Course:  # fmt: skip
    """The same for one picture with fewer and fewer tokens in the sequence; those that are gone have logits of NaN."""
    logits, kept = list[Tensor](), list[Tensor]()
    prefix, count = blocks.grid.prefix, blocks.grid.patches
    left = torch.arange(count, device=inputs.device)

    def step(number: int, block: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        nonlocal left
        if number not in net.before:
            return block(tokens)
        patches, given = tokens[:, prefix : prefix + len(left)], tokens.float()
        found = net.interpreters[net.before.index(number)](patches.float(), given[:, 0])
        stay = choose(found)[0]
        after = tokens[:, prefix + len(left) :]
        logits.append(torch.full((count,), torch.nan, device=inputs.device).index_copy(0, left, found[0]))
        left = left[stay]
        kept.append(torch.zeros(count, dtype=torch.bool, device=inputs.device).index_fill(0, left, True))
        return block(torch.cat([tokens[:, :prefix], patches[:, stay], after], dim=1))

    with torch.no_grad():
        outputs = block_by_block(model, inputs, blocks, step)
    return Course(outputs, torch.stack(logits)[None], torch.stack(kept)[None])


def likely(logits: Float[Tensor, "batch patch"]) -> Bool[Tensor, "batch patch"]:
    """Those that stay rather than go."""
    return logits.sigmoid() > _UNSURE


def drawn(generator: torch.Generator) -> Choice:
    """Each by its own chance."""
    return lambda logits: torch.rand(logits.shape, generator=generator).to(logits) < logits.sigmoid()


def rewards(course: Course, answers: Tensor, penalty: float) -> Float[Tensor, "batch"]:
    """1 less the squared share of patches that are kept, mean over the stages; -penalty where the answer is lost."""
    spared = (1 - course.kept.float().mean(dim=-1).square()).mean(dim=-1)
    return torch.where(course.outputs.argmax(dim=1) == answers, spared, -penalty)


def log_chance(course: Course) -> Float[Tensor, "batch"]:
    """The log of the chance that just these patches stayed."""
    signs = torch.where(course.kept, 1.0, -1.0)
    return (functional.logsigmoid(signs * course.logits) * course.judged).sum(dim=(1, 2))


def _shape(model: VisionModel, size: tuple[int, int], *, each: int = 120, penalty: float = 0.5) -> dict[str, Any]:
    blocks = token_blocks(model, size, _NAME)
    if each < 1 or penalty < 0:
        raise RequestError(f"each={each!r}, penalty={penalty!r}; expected 1 or more updates, and 0 or more.")
    inputs = torch.randn(1, model.channels, *size, generator=torch.Generator().manual_seed(0))
    _droppable(look(model, inputs))
    heads = next(count for count in range(_MOST_HEADS, 0, -1) if blocks.width % count == 0)
    return {"width": blocks.width, "depth": len(blocks), "stages": min(_STAGES, len(blocks)), "heads": heads,
            "each": each, "penalty": penalty}  # fmt: skip


def _droppable(evidence: Evidence) -> None:
    """Raises MethodUnavailable where tokens cannot be left out, or where no class token is there to ask for them."""
    read_by_class = {"class": True, "mean": False}[evidence.token_pooling]
    if not droppable_grid(evidence).prefix or not read_by_class:
        raise MethodUnavailable(_NAME, "its head reads no class token, which asks for the patches.", ("occlusion",))


def _loss(net: InterpretersNet, lesson: Lesson) -> Tensor:
    """REINFORCE: what was drawn becomes more likely where it earned more than what the interpreters would do."""
    blocks = token_blocks(lesson.model, lesson.evidence.size, _NAME)
    answers, stages = lesson.outputs.argmax(dim=1), net.joined
    sampled = walked(lesson.model, lesson.inputs, blocks, net, drawn(lesson.generator), stages)
    usual = walked(lesson.model, lesson.inputs, blocks, net, likely, stages)
    earned, expected = (rewards(one, answers, net.penalty) for one in (sampled, usual))
    if not net.training:
        return -expected.mean()
    net.updates += 1
    return -((earned - expected) * log_chance(sampled)).mean()


@method(
    _NAME, needs=[Fitted], paper="Pan et al. 2021", class_agnostic=True, cost=2.5,
    fitting=Fitting(_shape, InterpretersNet, _loss,
                    Learning(updates=500, learning_rate=1e-3, weight_decay=0.0, held_out=0.0)),
)  # fmt: skip
def ia_red(evidence: Evidence, *, explainer: Explainer | str | Path | None = None) -> Float[Tensor, "batch h w"]:
    """How far each patch gets through the blocks before it is dropped, as it is not needed for the answer.

    explainer: what was fitted, or its file; None is the one that came with the model
    returns:   how many interpreters let it pass, plus the chance that the last one it met gave it, 0 to 1: up to one
               half above a whole number it was dropped there. The same for every class

    Raises MethodUnavailable for a model whose tokens are no set, or whose head reads no class token.
    """
    blocks = token_blocks(evidence.model, evidence.size, _NAME)
    _droppable(evidence)
    fitted = explainer_of(evidence, _NAME, explainer)
    same_build(fitted, width=blocks.width, depth=len(blocks))
    net: Any = fitted.net
    found = [dropped(evidence.model, picture[None], blocks, net, likely) for picture in evidence.inputs]
    spent = torch.tensor([share_of_operations(evidence.model, blocks, net, one) for one in found])
    evidence.passes.add(forwards=min(1.0, float(spent.mean())))
    _tell(evidence, found, spent)
    return blocks.on_grid(torch.cat([_reached(one) for one in found]))


def _reached(course: Course) -> Float[Tensor, "batch patch"]:
    """Interpreters passed, and the chance before the last one that was met."""
    last = course.judged.sum(dim=1) - 1
    chance = course.logits.sigmoid().gather(1, last[:, None])[:, 0]
    return last + chance


def _tell(evidence: Evidence, found: Sequence[Course], spent: Tensor) -> None:
    whole = evidence.output().argmax(dim=1)
    same = sum(int(one.outputs.argmax(dim=1) == answer) for one, answer in zip(found, whole, strict=True))
    left = torch.cat([one.kept for one in found]).float().mean(dim=(0, 2))
    evidence.note(
        f"Patches left in its {len(left)} stages: {', '.join(f'{100 * share:.0f} %' for share in left.tolist())}. The "
        f"blocks then take {100 * float(spent.mean()):.0f} % of their operations, and the answer stays in {same} of "
        f"{len(found)} pictures."
    )


def operations(weights: int, width: int, tokens: int) -> int:
    """Multiplications and additions of one block: all its weights for every token, and tokens with each other."""
    return 2 * tokens * weights + 4 * tokens**2 * width


def share_of_operations(model: VisionModel, blocks: TokenBlocks, net: InterpretersNet, course: Course) -> float:
    """What the blocks and the interpreters take for one picture, in parts of what the blocks take for all tokens."""
    network = model.network
    assert network is not None
    every = blocks.grid.prefix + blocks.grid.patches
    present, spent, whole = every, 0, 0
    for number, name in enumerate(blocks.names):
        weights = sum(one.numel() for one in network.get_submodule(name).parameters() if one.ndim > 1)
        if number in net.before:
            spent += 2 * present * sum(one.numel() for one in net.interpreters[0].parameters() if one.ndim > 1) // 2
            present = blocks.grid.prefix + int(course.kept[0, net.before.index(number)].sum())
        spent += operations(weights, blocks.width, present)
        whole += operations(weights, blocks.width, every)
    return spent / whole
