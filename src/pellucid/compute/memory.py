"""How much may be held at once, and what to do when it was too much."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TypeVar

import torch

from pellucid.errors import MemoryBudgetError, RequestError

GIB = 2**30
_DEFAULT_SHARE = 0.25
_UNKNOWN_AVAILABLE = 4 * GIB
# Past this a larger batch no longer runs faster: the card is full, or (CPU) what a pass writes outgrows the caches.
# EfficientNet-Lite0 on one core: 17 ms a picture in batches of 8, 37 ms in batches of 32.
_LARGEST_BATCH = {"cpu": 64, "cuda": 256}
_CACHE_FRIENDLY = 384 * 2**20

Result = TypeVar("Result")


@dataclass(frozen=True)
class Budget:
    """The memory one request may use for what a model holds while it runs, in bytes.

    firm: whether somebody set it; what is only a share of the free memory refuses nothing
    """

    size: int
    firm: bool = False

    @classmethod
    def of(cls, gib: float | None, device: torch.device | None = None) -> Budget:
        """`gib` GiB, or a quarter of what is free where None. Raises RequestError unless positive and finite."""
        if gib is None:
            return cls(int(_available(device) * _DEFAULT_SHARE))
        if isinstance(gib, bool) or not isinstance(gib, Real) or not 0 < gib < math.inf:
            raise RequestError(f"memory={gib!r}; expected a number of GiB above 0, or nothing.")
        return cls(int(gib * GIB), firm=True)

    def hold(self, needed: int, *, without_gradients: int | None = None) -> None:
        """Raises MemoryBudgetError where one picture, which takes `needed` bytes at least, cannot fit.

        without_gradients: what it would take at least if no gradient were asked for
        """
        if self.firm and needed > self.size:
            raise MemoryBudgetError(self.size, needed, without_gradients)

    def batch(self, sample_bytes: int, device: torch.device | None = None) -> int:
        """Samples that fit at once, at least one."""
        kind = device.type if device else "cpu"
        room = min(self.size, _CACHE_FRIENDLY) if kind == "cpu" else self.size
        return max(1, min(_LARGEST_BATCH.get(kind, 64), room // max(1, sample_bytes)))


def _available(device: torch.device | None) -> int:
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return _UNKNOWN_AVAILABLE
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024


def halving(run: Callable[[int], Result], size: int) -> tuple[Result, int]:
    """`run(size)`, with half the size again and again while memory does not suffice.

    returns: the answer and the size that fitted
    Raises MemoryBudgetError when not even one sample fits.
    """
    while True:
        try:
            return run(size), size
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if size == 1:
                raise MemoryBudgetError from error
            size = max(1, size // 2)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryBudgetError):
        return False
    text = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )
