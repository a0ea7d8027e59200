"""Randomness that is asked for by name, never taken from global state."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.errors import RequestError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Seed:
    """A number from which any count of independent, reproducible generators grows."""

    value: int = 0

    def __post_init__(self) -> None:
        number = None if isinstance(self.value, bool) else getattr(self.value, "__index__", lambda: None)()
        if number is None or number < 0:
            raise RequestError(f"seed={self.value!r}; expected a whole number, 0 or more.")
        object.__setattr__(self, "value", number)  # a NumPy integer becomes a plain one

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
