"""A captioner that looks at one place after another: which it looked at for a word can be read off.

Xu et al., Show, attend and tell: neural image caption generation with visual attention, ICML 2015; the deterministic
("soft") attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from pellucid.testbed.nets.classifiers import BIRD_CNN, SmallCNN
from pellucid.testbed.nets.dense import Segmenter
from pellucid.testbed.nets.words import BEGIN, END, LONGEST, Words

GRID = 16  # places on a side, of 4 x 4 pixels
_TEMPERATE = 0.1  # spread of the embeddings at first


@dataclass(frozen=True, eq=False)
class Attended:
    """What was said of some pictures, and where was looked for it.

    logits: of the next word, after each word
    looks:  how much each place counted for it; of each word they sum to 1
    gates:  how much of what was seen there was let through, 0 to 1
    """

    logits: Float[Tensor, "batch word vocabulary"]
    looks: Float[Tensor, "batch word place"]
    gates: Float[Tensor, "batch word"]


@dataclass(frozen=True, eq=False)
class _State:
    """The memory between two words, and the places with their part of the attention's sum, which no word changes."""

    hidden: Float[Tensor, "batch width"]
    cell: Float[Tensor, "batch width"]
    places: Float[Tensor, "batch place channel"]
    keys: Float[Tensor, "batch place key"]


class Eye(nn.Module):
    """What can be looked at: convolutions of `segmenter`, which knows parts, and of `cnn`, which knows wings and tails.

    They stay as those nets learned them. No place sees further than 35 pixels around.
    """

    channels = 163

    def __init__(self) -> None:
        super().__init__()
        parts = Segmenter()
        self.normalise = parts.normalise
        self.down1, self.down2, self.down3, self.up2 = parts.down1, parts.down2, parts.down3, parts.up2
        self.forms = nn.Sequential(*list(SmallCNN(BIRD_CNN, classes=1).features)[:4])

    def forward(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch channel rows columns"]:
        inputs = self.normalise(pictures)
        fine = self.down1(inputs)
        middle = self.down2(fine)
        coarse = self.down3(middle)
        wide = self.up2(torch.cat([functional.interpolate(coarse, scale_factor=2.0, mode="nearest"), middle], dim=1))
        pool = functional.avg_pool2d
        return torch.cat([pool(inputs, 4), pool(fine, 4), pool(wide, 2), coarse, self.forms(inputs)], dim=1)


class Attender(nn.Module):
    """Tells what it sees, word by word, and looks at a weighted mean of 16 x 16 places for each word.

    words: the closed list it speaks
    """

    def __init__(
        self, words: Sequence[str], *, width: int = 128, channels: int = 96, embedding: int = 48, key: int = 64
    ) -> None:
        super().__init__()
        self.words = Words(words)
        self.eye = Eye()
        self.mix = nn.Linear(self.eye.channels, channels)
        self.embed = nn.Embedding(len(self.words), embedding)
        self.begin_hidden = nn.Linear(channels, width)
        self.begin_cell = nn.Linear(channels, width)
        self.of_place = nn.Linear(channels, key)
        self.of_hidden = nn.Linear(width, key)
        self.energy = nn.Linear(key, 1)
        self.gate = nn.Linear(width, 1)
        self.memory = nn.LSTMCell(embedding + channels, width)
        self.from_hidden = nn.Linear(width, embedding)
        self.from_seen = nn.Linear(channels, embedding)
        self.head = nn.Linear(embedding, len(self.words))
        nn.init.normal_(self.embed.weight, std=_TEMPERATE)

    def look(self, pictures: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch place channel"]:
        """What it can look at: one vector per place, row by row."""
        return self.eye(pictures).flatten(2).transpose(1, 2)

    def attend(self, seen: Float[Tensor, "batch place channel"], numbers: Int64[Tensor, "batch word"]) -> Attended:
        """One logit per word that could come next, at every place of a sentence begun, and where it looked."""
        state = self._begun(seen)
        steps: list[tuple[Tensor, Tensor, Tensor]] = []
        for words in numbers.unbind(dim=1):
            state, *step = self._step(state, words)
            steps.append((step[0], step[1], step[2]))
        logits, looks, gates = (torch.stack(one, dim=1) for one in zip(*steps, strict=True))
        return Attended(logits, looks, gates)

    def speak(
        self, seen: Float[Tensor, "batch place channel"], numbers: Int64[Tensor, "batch word"]
    ) -> Float[Tensor, "batch word vocabulary"]:
        """The logits of `attend` alone."""
        return self.attend(seen, numbers).logits

    def forward(
        self, pictures: Float[Tensor, "batch 3 h w"], numbers: Int64[Tensor, "batch word"]
    ) -> Float[Tensor, "batch word vocabulary"]:
        """As `speak`, from pictures in 0..1 and sentences as `words.encode` gives them."""
        return self.speak(self.look(pictures), numbers)

    @torch.no_grad()
    def generate(self, pictures: Float[Tensor, "batch 3 h w"], *, longest: int = LONGEST) -> tuple[str, ...]:
        """One caption per picture: the likeliest word at each step."""
        state = self._begun(self.look(pictures))
        word = torch.full((len(pictures),), BEGIN, device=pictures.device)
        over, said = torch.zeros_like(word, dtype=torch.bool), list[Tensor]()
        while len(said) < longest and not bool(over.all()):
            state, logits, _, _ = self._step(state, word)
            word = logits.argmax(dim=-1)
            over |= word == END
            said.append(word)
        return tuple(self.words.decode(numbers) for numbers in torch.stack(said, dim=1).tolist())

    def _begun(self, seen: Float[Tensor, "batch place channel"]) -> _State:
        places = functional.relu(self.mix(seen))
        mean = places.mean(dim=1)
        hidden, cell = torch.tanh(self.begin_hidden(mean)), torch.tanh(self.begin_cell(mean))
        return _State(hidden, cell, places, self.of_place(places))

    def _step(self, state: _State, words: Int64[Tensor, "batch"]) -> tuple[_State, Tensor, Tensor, Tensor]:
        """One word read: where is looked for the next, and which it could be."""
        energies = self.energy(torch.tanh(state.keys + self.of_hidden(state.hidden)[:, None]))[..., 0]
        looks = functional.softmax(energies, dim=1)
        gate = torch.sigmoid(self.gate(state.hidden))
        seen = gate * (looks[:, None] @ state.places)[:, 0]
        before = self.embed(words)
        hidden, cell = self.memory(torch.cat([before, seen], dim=1), (state.hidden, state.cell))
        logits = self.head(torch.tanh(before + self.from_hidden(hidden) + self.from_seen(seen)))
        return _State(hidden, cell, state.places, state.keys), logits, looks, gate[:, 0]
