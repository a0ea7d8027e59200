"""Randomness that is asked for by name, never taken from global state."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Seed:
    """A number from which any count of independent, reproducible generators grows."""

    value: int = 0

    def child(self, *keys: object) -> Seed:
        """The seed of something inside: the same keys give the same seed, other keys an unrelated one."""
        text = "/".join([str(self.value), *map(str, keys)])
        return Seed(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1)

    def generator(self, device: str = "cpu") -> torch.Generator:
        """A fresh torch generator; the global one is never touched."""
        import torch

        return torch.Generator(device=device).manual_seed(self.value)

    def __int__(self) -> int:
        return self.value
