"""Sentences for prefix vectors: drawn many times, the likeliest, or how likely a given one is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pellucid import hooks
from pellucid.language.translation.decoders import FILL, Decoder

_AT_ONCE = 512  # texts in one batch; keys and values of all their words are held


def drawn(
    decoder: Decoder, prefix: Float[Tensor, "picture slot width"], count: int, generator: torch.Generator, *,
    top_p: float = 0.95, temperature: float = 1.0, longest: int | None = None,
) -> tuple[tuple[str, ...], ...]:  # fmt: skip
    """`count` sentences for each prefix, each word drawn from the likeliest that together have the chance `top_p`.

    longest: most tokens of a sentence; None is the decoder's own limit
    """

    def choose(logits: Float[Tensor, "text vocabulary"]) -> Int64[Tensor, "text"]:
        chances = nucleus((logits.float() / temperature).softmax(dim=-1).cpu(), top_p)
        return torch.multinomial(chances, 1, generator=generator)[:, 0].to(logits.device)

    rows = prefix.repeat_interleave(count, dim=0)
    texts = [text for block in rows.split(_AT_ONCE) for text in _spoken(decoder, block, choose, longest)]
    return tuple(tuple(texts[at : at + count]) for at in range(0, len(texts), count))


def likeliest(
    decoder: Decoder, prefix: Float[Tensor, "picture slot width"], *, longest: int | None = None
) -> tuple[str, ...]:
    """One sentence for each prefix: the likeliest word at every step."""
    return tuple(
        text
        for block in prefix.split(_AT_ONCE)
        for text in _spoken(decoder, block, lambda logits: logits.argmax(dim=-1), longest)
    )


def likelihood(
    decoder: Decoder, prefix: Float[Tensor, "row slot width"], phrase: str, *, after: str = ""
) -> Float[Tensor, "row"]:
    """The mean log likelihood of the phrase's tokens, natural logarithm, for each prefix.

    after: what the sentence has said before the phrase; it is read, not scored
    """
    before = decoder.numbers([after])[0, :-1] if after else torch.zeros(0, dtype=torch.long)
    numbers = decoder.numbers([f"{after} {phrase}".strip()])[:, :-1]
    found: list[Tensor] = []
    with hooks.guest(decoder.network), torch.no_grad():
        for block in prefix.split(_AT_ONCE):
            told = numbers.to(block.device).expand(len(block), -1)
            chances = decoder.logits(block, told).float().log_softmax(dim=-1)
            own = chances.gather(2, told[..., None])[..., 0]
            found.append(own[:, len(before) :].mean(dim=1))
    return torch.cat(found)


def nucleus(chances: Float[Tensor, "text vocabulary"], top_p: float) -> Float[Tensor, "text vocabulary"]:
    """The chances of the fewest words that together have at least `top_p`, brought to sum 1 (Holtzman et al. 2020)."""
    ordered, order = chances.sort(dim=-1, descending=True)
    # A word stays as long as those before it have less than top_p, so the first always does.
    kept = ordered.masked_fill(ordered.cumsum(dim=-1) - ordered >= top_p, 0.0)
    return torch.zeros_like(chances).scatter(-1, order, kept / kept.sum(dim=-1, keepdim=True))


def _spoken(
    decoder: Decoder, prefix: Float[Tensor, "text slot width"], choose: Callable[[Tensor], Tensor], longest: int | None
) -> Sequence[str]:
    said: list[Tensor] = []
    most = min(longest or decoder.longest, decoder.longest)
    over = torch.zeros(len(prefix), dtype=torch.bool, device=prefix.device)
    with hooks.guest(decoder.network), torch.no_grad():
        logits, state = decoder.begin(prefix)
        for _ in range(most):
            following = choose(logits)
            said.append(following.masked_fill(over, FILL))
            over = over | (following == decoder.end)
            if bool(over.all()) or len(said) == most:
                break
            logits, state = decoder.step(following, state)
    return decoder.texts(torch.stack(said, dim=1))
