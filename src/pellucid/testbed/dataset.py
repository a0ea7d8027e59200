"""Scenes for a training loop: random access, safe in any number of workers, and no picture kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import data

from pellucid.errors import SceneError
from pellucid.testbed.scene import Scenes, scenes, world_of
from pellucid.testbed.truth import causal

ITEMS: Mapping[str, Callable[[Scenes], Iterable[Any]]] = {
    "picture": lambda drawn: drawn.tensor(),
    "label": lambda drawn: torch.from_numpy(drawn.labels.copy()),
    "target": lambda drawn: torch.from_numpy(drawn.targets),
    "decided": lambda drawn: torch.from_numpy(drawn.decided),
    "parts": lambda drawn: torch.from_numpy(drawn.parts.copy()).long(),
    "birds": lambda drawn: torch.from_numpy(drawn.birds.copy()).long(),
    "causal": lambda drawn: torch.from_numpy(causal(drawn)),
    "boxes": lambda drawn: torch.from_numpy(drawn.bird_boxes()),
    "bird_labels": lambda drawn: torch.from_numpy(drawn.bird_labels),
    "cue": lambda drawn: torch.from_numpy(drawn.cue.copy()),
    "caption": lambda drawn: drawn.captions,
    "index": lambda drawn: torch.from_numpy(drawn.index.copy()),
}


class Dataset(data.Dataset[tuple[Any, ...]]):
    """Scenes of one seed as a torch data set: `Dataset(0, 24_000, size=64)`, item i is scene i.

    seed, count, settings: as for `scenes`; `count` may be a list of indices
    items: what each item holds, in this order; keys of ITEMS. `picture` is float32 [3 height width] in 0..1, `label`
           int64, `target` a probability per class, `parts` the id map, `boxes` [bird 4], `caption` a string

    Nothing is drawn before it is asked for and nothing is kept after, so it is small in memory, may be copied into
    workers, and gives the same item in whatever order. A loader that fetches batches gets them painted together.
    """

    def __init__(
        self,
        seed: int,
        count: int | Sequence[int] | np.ndarray,
        *,
        items: Sequence[str] = ("picture", "label"),
        **settings: Any,
    ) -> None:
        unknown = [name for name in items if name not in ITEMS]
        if unknown or not items:
            raise SceneError(f"Scenes hold no {', '.join(unknown) or 'nothing'!r}. Known: {', '.join(ITEMS)}.")
        self.seed, self.items, self.settings = int(seed), tuple(items), dict(settings)
        world_of(settings)  # a wrong setting is told here, not in a worker
        self.index = np.arange(count) if isinstance(count, (int, np.integer)) else np.asarray(count, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, at: int) -> tuple[Any, ...]:
        return self.__getitems__([at])[0]

    def __getitems__(self, places: Sequence[int]) -> list[tuple[Any, ...]]:
        """Several items at once: torch's loaders ask so."""
        drawn = self.scenes(places)
        return list(zip(*(ITEMS[name](drawn) for name in self.items), strict=True))

    def scenes(self, places: Sequence[int]) -> Scenes:
        """The scenes behind some of the items. Raises IndexError beyond the last."""
        for place in places:
            if not -len(self) <= place < len(self):
                raise IndexError(f"Item {place} does not exist: there are {len(self)}.")
        return scenes(self.seed, self.index[list(places)], **self.settings)
