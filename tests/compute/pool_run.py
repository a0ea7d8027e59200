"""Work for several processes that is killed on purpose: `python -m tests.compute.pool_run FOLDER`. Nothing heavy."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pellucid.compute.pool import spread


@dataclass(frozen=True)
class Square:
    """Squares a number, and leaves a file named after the process that did it.

    seconds: how long it dawdles
    """

    folder: Path
    seconds: float = 0.0

    def __call__(self, item: int) -> int:
        (self.folder / f"{os.getpid()}").touch()
        time.sleep(self.seconds)
        return item * item


if __name__ == "__main__":
    list(spread(Square(Path(sys.argv[1]), 60.0), range(4), 2))
