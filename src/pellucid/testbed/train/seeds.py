"""The same net from many seeds, for claims about training itself: one command, both cores, killed and gone on with."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pellucid.compute.pool import spread
from pellucid.compute.progress import track
from pellucid.testbed import nets
from pellucid.testbed.nets import Card
from pellucid.testbed.train.plans import SHORT_PLANS, Plan
from pellucid.testbed.train.run import measured, trained

FIRST_SEED = 101  # the scenes of these seeds are used by nothing else


def nursery() -> Path:
    """Where the nets are kept unless said otherwise: `testbed-seeds` in pellucid's cache folder of this user.

    That folder is PELLUCID_CACHE, or `pellucid` in XDG_CACHE_HOME, or `~/.cache/pellucid`.
    """
    own = os.environ.get("PELLUCID_CACHE")
    common = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(own) if own else Path(common) / "pellucid") / "testbed-seeds"


@dataclass(frozen=True)
class Seedling:
    """One net from one seed, and the folder its file goes to."""

    name: str
    seed: int
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.safetensors"

    @property
    def plan(self) -> Plan:
        return SHORT_PLANS[self.name]

    @property
    def there(self) -> bool:
        """Whether it has been trained by this plan."""
        return self.path.exists() and nets.card_of(self.name, self.folder).recipe == self.plan.to_dict()


def seedlings(folder: Path, names: Iterable[str] = tuple(SHORT_PLANS), count: int = 20) -> tuple[Seedling, ...]:
    """The nets that `train_seeds` makes: `seed-101/cnn.safetensors` and so on; `nets.load` opens them by folder."""
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    return tuple(Seedling(name, seed, folder / f"seed-{seed}") for seed in seeds for name in names)


def train_seeds(
    folder: Path, names: Iterable[str] = tuple(SHORT_PLANS), *, count: int = 20, workers: int = 2
) -> tuple[Card, ...]:
    """Train each of `names` from `count` seeds, `workers` at a time, one file each; what is there already is kept.

    Killed at any moment, the next call goes on where it stopped, to the same files.
    """
    wanted = seedlings(folder, names, count)
    missing = [seedling for seedling in wanted if not seedling.there]
    for _ in track(spread(grow, missing, workers), total=len(missing), label="Nets from seeds"):
        pass
    return tuple(nets.load(seedling.name, seedling.folder)[1] for seedling in wanted)


def grow(seedling: Seedling) -> None:
    """Train one, measure it and write it to its file."""
    outcome = trained(seedling.name, seedling.seed, plan=seedling.plan, folder=seedling.folder)
    card = measured(seedling.name, nets.rounded(outcome.net), seedling.seed, outcome.plan)
    nets.save(outcome.net, card, seedling.folder)
