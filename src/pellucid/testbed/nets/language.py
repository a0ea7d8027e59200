"""Nets that speak: one tells what it sees, one answers questions. Both look through a tower that others trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pellucid.testbed.nets.blocks import Attention, Block, CrossAttention, Mlp
from pellucid.testbed.nets.dual import PictureTower
from pellucid.testbed.nets.words import BEGIN, END, LONGEST, Words

Speech = Callable[[Tensor, Tensor], Tensor]  # what is seen, words -> logits at every word
Speak = Callable[[Tensor], Tensor]  # words [text word] -> logits [text vocabulary] of the next


class Teller(nn.Module):
    """One block of a decoder: words look back at words, then at the picture."""

    def __init__(self, width: int, heads: int, ratio: int = 3) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, causal=True)
        self.norm2 = nn.LayerNorm(width)
        self.cross = CrossAttention(width, heads)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = Mlp(width, ratio * width)

    def forward(
        self, words: Float[Tensor, "batch word width"], seen: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch word width"]:
        words = words + self.attn(self.norm1(words))
        words = words + self.cross(self.norm2(words), seen)
        return words + self.mlp(self.norm3(words))


class Captioner(nn.Module):
    """Tells what it sees: a causal decoder over words, with cross-attention to the 65 tokens of a frozen tower.

    words: the closed list it speaks
    """

    def __init__(self, words: Sequence[str], *, width: int = 96, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.words = Words(words)
        self.tower = PictureTower(width)
        self.embed = nn.Embedding(len(self.words), width)
        self.pos_embed = nn.Parameter(torch.zeros(1, LONGEST, width))
        self.blocks = nn.ModuleList(Teller(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(self.words))
        _begin(self.embed, self.pos_embed)

    def look(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch token width"]:
        """What the words look at: the class token, then the 8 x 8 patches."""
        return self.tower.tokens(pictures)

    def speak(
        self, seen: Float[Tensor, "batch token width"], numbers: Int64[Tensor, "batch word"]
    ) -> Float[Tensor, "batch word vocabulary"]:
        """One logit per word that could come next, at every place of a sentence begun."""
        words = self.embed(numbers) + self.pos_embed[:, : numbers.shape[1]]
        for block in self.blocks:
            words = block(words, seen)
        return self.head(self.norm(words))

    def forward(
        self, pictures: Float[Tensor, "batch 3 h w"], numbers: Int64[Tensor, "batch word"]
    ) -> Float[Tensor, "batch word vocabulary"]:
        """As `speak`, from pictures in 0..1 and sentences as `words.encode` gives them."""
        return self.speak(self.look(pictures), numbers)

    @torch.no_grad()
    def generate(
        self, pictures: Float[Tensor, "batch 3 h w"], *, beams: int = 1, longest: int = LONGEST
    ) -> tuple[str, ...]:
        """One caption per picture: the likeliest word at each step, or the likeliest sentence that `beams` find."""
        return _told(self.speak, self.look(pictures), self.words, beams, longest)


class VisionLanguage(nn.Module):
    """A language model that sees: the picture's tokens, projected, stand before the words (Liu et al., LLaVA, 2023).

    words: the closed list it reads and speaks
    """

    def __init__(self, words: Sequence[str], *, width: int = 128, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.words = Words(words)
        self.tower = PictureTower()
        self.projector = nn.Sequential(nn.Linear(96, width), nn.GELU(), nn.Linear(width, width))
        self.image_tokens = self.tower.grid[0] * self.tower.grid[1]
        self.embed = nn.Embedding(len(self.words), width)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.image_tokens + LONGEST, width))
        self.blocks = nn.ModuleList(Block(width, heads, ratio=3, causal=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(self.words))
        _begin(self.embed, self.pos_embed)

    def look(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch token width"]:
        """The 8 x 8 patches of a picture as the tower gives them, row by row."""
        return self.tower.tokens(pictures)[:, 1:]

    def speak(
        self, seen: Float[Tensor, "batch token width"], numbers: Int64[Tensor, "batch word"]
    ) -> Float[Tensor, "batch word vocabulary"]:
        """One logit per word that could come next, at every place of a text begun."""
        tokens = torch.cat([self.projector(seen), self.embed(numbers)], dim=1)
        tokens = tokens + self.pos_embed[:, : tokens.shape[1]]
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, self.image_tokens :]))

    def forward(
        self, pictures: Float[Tensor, "batch 3 h w"], numbers: Int64[Tensor, "batch word"]
    ) -> Float[Tensor, "batch word vocabulary"]:
        """As `speak`, from pictures in 0..1 and texts as `words.encode` gives them."""
        return self.speak(self.look(pictures), numbers)

    @torch.no_grad()
    def answer(
        self, pictures: Float[Tensor, "batch 3 h w"], questions: Sequence[str], *, longest: int = 8
    ) -> tuple[str, ...]:
        """What it answers to one question about each picture: "is the tail forked ?" -> "yes"."""
        seen, asked = self.look(pictures), [self.words.numbers(question) for question in questions]
        said = [""] * len(asked)
        for length in {len(numbers) for numbers in asked}:
            rows = [at for at, numbers in enumerate(asked) if len(numbers) == length]
            begun = torch.tensor([[BEGIN, *asked[at]] for at in rows], device=pictures.device)
            likely = lambda numbers, rows=rows: self.speak(seen[rows], numbers)[:, -1]
            for at, numbers in zip(rows, _greedy(likely, begun, begun.shape[1] + longest), strict=True):
                said[at] = self.words.decode(numbers)
        return tuple(said)

    @torch.no_grad()
    def generate(
        self, pictures: Float[Tensor, "batch 3 h w"], *, beams: int = 1, longest: int = LONGEST
    ) -> tuple[str, ...]:
        """One caption per picture; see `Captioner.generate`."""
        return _told(self.speak, self.look(pictures), self.words, beams, longest)


def _begin(embed: nn.Embedding, places: nn.Parameter) -> None:
    nn.init.normal_(embed.weight, std=0.1)
    nn.init.trunc_normal_(places, std=0.02)


def _told(
    speak: Speech, seen: Float[Tensor, "batch token width"], words: Words, beams: int, longest: int
) -> tuple[str, ...]:
    """A sentence for each picture from nothing but its begin."""
    if beams == 1:
        begun = torch.full((len(seen), 1), BEGIN, device=seen.device)
        spoken = _greedy(lambda numbers: speak(seen, numbers)[:, -1], begun, longest)
    else:
        begun = torch.full((1, 1), BEGIN, device=seen.device)
        likely = [lambda numbers, one=one: speak(one.expand(len(numbers), -1, -1), numbers)[:, -1] for one in seen]
        spoken = [_search(following, begun, beams, longest) for following in likely]
    return tuple(words.decode(numbers) for numbers in spoken)


def _greedy(likely: Speak, begun: Int64[Tensor, "text word"], longest: int) -> list[list[int]]:
    """The likeliest word at each step, for all texts at once; the begun words are left out."""
    texts, over = begun, torch.zeros(len(begun), dtype=torch.bool, device=begun.device)
    while texts.shape[1] < longest and not bool(over.all()):
        following = likely(texts).argmax(dim=-1)
        over |= following == END
        texts = torch.cat([texts, following[:, None]], dim=1)
    return texts[:, begun.shape[1] :].tolist()  # words after an end are left out when they are read


def _search(likely: Speak, begun: Int64[Tensor, "1 word"], beams: int, longest: int) -> list[int]:
    """The likeliest way on from `begun` that `beams` find; the begun words are left out.

    likely: texts begun -> logits of the next word
    """
    alive, scores = begun, torch.zeros(1, device=begun.device)
    ended: list[tuple[float, list[int]]] = []
    while alive.shape[1] < longest and len(alive):
        following = likely(alive).log_softmax(dim=-1)
        totals = (scores[:, None] + following).flatten()
        top = totals.topk(min(beams, len(totals)))
        rows, words = top.indices // following.shape[1], top.indices % following.shape[1]
        over = words == END
        ended += [(float(top.values[at]), alive[rows[at]].tolist()) for at in over.nonzero().flatten().tolist()]
        best = max((score for score, _ in ended), default=-torch.inf)
        going = ~over & (top.values > best)  # a longer text only grows less likely
        alive = torch.cat([alive[rows[going]], words[going, None]], dim=1)
        scores = top.values[going]
    if not ended:
        ended = [(float(scores[0]), alive[0].tolist())]
    return max(ended, key=lambda pair: pair[0])[1][begun.shape[1] :]
