"""Language models that a translator speaks through: how prefix vectors reach them, and how they give words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pellucid.errors import RequestError
from pellucid.testbed import nets
from pellucid.testbed.nets.words import BEGIN, END, LONGEST, PAD

FILL = -1  # in token numbers: nothing is there
TESTBED = "testbed:captioner"


@runtime_checkable
class Decoder(Protocol):
    """A frozen language model. Token numbers of a text end with its end token and are filled up with -1.

    spec:    the words that open it again, "" where it was handed over
    width:   channels of one prefix vector; scale: the usual length of such a vector
    longest: most tokens of a text, its end included
    end:     number of the end token
    """

    spec: str
    width: int
    scale: float
    longest: int
    end: int

    @property
    def network(self) -> nn.Module:
        """The module that runs, to be frozen while something learns through it."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of all weights that words depend on."""
        ...

    def numbers(self, texts: Sequence[str]) -> Int64[Tensor, "text token"]:
        """Texts as token numbers."""
        ...

    def texts(self, numbers: Int64[Tensor, "text token"]) -> tuple[str, ...]:
        """Token numbers as texts, up to the end token."""
        ...

    def logits(
        self, prefix: Float[Tensor, "text slot width"], numbers: Int64[Tensor, "text token"]
    ) -> Float[Tensor, "text token vocabulary"]:
        """What could stand at each place of these texts, given what stands before it and the prefix."""
        ...

    def begin(self, prefix: Float[Tensor, "text slot width"]) -> tuple[Float[Tensor, "text vocabulary"], Any]:
        """What could come first, and the state to go on from."""
        ...

    def step(self, numbers: Int64[Tensor, "text"], state: Any) -> tuple[Float[Tensor, "text vocabulary"], Any]:
        """What could come after one more token."""
        ...


def opened(lm: Any) -> Decoder:
    """A decoder from its spec, or from what the caller has.

    lm: `testbed:captioner`; the name or folder of any causal language model of transformers, with or without `hf:`;
        a pair of such a model and its tokenizer; a `Captioner`; or a decoder. Raises RequestError, LoadError
    """
    from pellucid.language.translation.causal import CausalDecoder

    if isinstance(lm, str):
        return CaptionerDecoder.shipped() if lm == TESTBED else CausalDecoder.opened(lm.removeprefix("hf:"))
    if isinstance(lm, nets.Captioner):
        return CaptionerDecoder(lm)
    if isinstance(lm, tuple):
        return CausalDecoder(*lm)
    if not hasattr(lm, "step"):
        raise RequestError(f"{type(lm).__name__} is no language model that a translator can speak through.")
    return lm


def hash_of(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A short hash of named tensors, the same on every machine."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in tensors:
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class CaptionerDecoder:
    """The language part of the testbed's captioner; its words look at the prefix as they did at a picture's tokens."""

    def __init__(self, captioner: nets.Captioner, spec: str = "") -> None:
        self.captioner, self.spec = captioner, spec
        self.width = int(captioner.embed.weight.shape[1])
        norm = captioner.tower.norm
        # A normalised vector has this length on average, after the norm's own weights.
        self.scale = float((norm.weight.square().sum() + norm.bias.square().sum()).sqrt())
        self.longest, self.end = LONGEST - 1, END

    @classmethod
    def shipped(cls) -> CaptionerDecoder:
        return cls(nets.loaded("captioner", nets.Captioner).requires_grad_(False), TESTBED)

    @property
    def network(self) -> nn.Module:
        return self.captioner

    @property
    def fingerprint(self) -> str:
        """Of its language part alone: the tower says nothing here."""
        state = self.captioner.state_dict().items()
        return hash_of((name, value) for name, value in state if not name.startswith("tower."))

    def numbers(self, texts: Sequence[str]) -> Int64[Tensor, "text token"]:
        """Raises SceneError for words that the captioner does not know."""
        coded = self.captioner.words.encode(texts)[:, 1:]
        return coded.masked_fill(coded == PAD, FILL)

    def texts(self, numbers: Int64[Tensor, "text token"]) -> tuple[str, ...]:
        return tuple(self.captioner.words.decode(row) for row in numbers.tolist())

    def logits(
        self, prefix: Float[Tensor, "text slot width"], numbers: Int64[Tensor, "text token"]
    ) -> Float[Tensor, "text token vocabulary"]:
        begun = torch.cat([torch.full_like(numbers[:, :1], BEGIN), numbers[:, :-1]], dim=1).clamp(min=PAD)
        return self.captioner.speak(prefix, begun)

    def begin(self, prefix: Float[Tensor, "text slot width"]) -> tuple[Float[Tensor, "text vocabulary"], Any]:
        looked: list[tuple[Tensor, Tensor]] = []
        for block in self._blocks:
            heads = (2, block.cross.num_heads, block.cross.head_dim)
            key, value = block.cross.key_value(prefix).unflatten(2, heads).permute(2, 0, 3, 1, 4)
            looked.append((key, value))
        state: list[Any] = [looked, [None] * len(looked), 0]
        return self.step(torch.full((len(prefix),), BEGIN, device=prefix.device), state)

    def step(self, numbers: Int64[Tensor, "text"], state: Any) -> tuple[Float[Tensor, "text vocabulary"], Any]:
        """One word further; keys and values of earlier words are kept, which makes a sentence ten times cheaper."""
        looked, said, at = state
        word = (self.captioner.embed(numbers) + self.captioner.pos_embed[0, at])[:, None]
        kept: list[Any] = []
        for block, seen, before in zip(self._blocks, looked, said, strict=True):
            word, own = _one_word(block, word, seen, before)
            kept.append(own)
        return self.captioner.head(self.captioner.norm(word))[:, 0], [looked, kept, at + 1]

    @property
    def _blocks(self) -> list[Any]:
        return list(self.captioner.blocks)


def _one_word(
    block: Any, word: Float[Tensor, "text 1 width"], seen: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor] | None
) -> tuple[Float[Tensor, "text 1 width"], tuple[Tensor, Tensor]]:
    """One block of the captioner for the newest word alone."""
    attn, cross = block.attn, block.cross
    shape = (3, attn.num_heads, attn.head_dim)
    query, key, value = attn.qkv(block.norm1(word)).unflatten(2, shape).permute(2, 0, 3, 1, 4)
    if before is not None:
        key, value = torch.cat([before[0], key], dim=2), torch.cat([before[1], value], dim=2)
    word = word + attn.proj(_mixed(query * attn.scale, key, value))
    asked = cross.query(block.norm2(word)).unflatten(2, (cross.num_heads, cross.head_dim)).transpose(1, 2)
    word = word + cross.proj(_mixed(asked * cross.scale, *seen))
    return word + block.mlp(block.norm3(word)), (key, value)


def _mixed(query: Tensor, key: Tensor, value: Tensor) -> Float[Tensor, "text 1 width"]:
    links = (query @ key.transpose(-2, -1)).softmax(dim=-1)
    return (links @ value).transpose(1, 2).flatten(2)
