"""Does the benchmark catch nets that read the background, and only those? Asked of nets trained from many seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pellucid import testbed
from pellucid.errors import RequestError
from pellucid.stories.cases import SceneCases
from pellucid.stories.contest import benchmark
from pellucid.stories.ledger import Ledger
from pellucid.stories.runner import Here, Runner
from pellucid.stories.versions import versions
from pellucid.subject import load
from pellucid.testbed.nets import AGREEMENT
from pellucid.testbed.train.seeds import Seedling

SCENES, SEED = 30, 31


@dataclass(frozen=True)
class Alarm:
    """What the benchmark said of one net.

    net, seed: which net, and the seed it was trained from
    mass:      background mass of the map shown first, mean over the scenes it gets right, 0 to 1
    raised:    whether the board raises an alarm
    scenes:    how many it got right
    """

    net: str
    seed: int
    mass: float
    raised: bool
    scenes: int

    @property
    def planted(self) -> bool:
        """Whether the net learned in a world whose background tells the class."""
        return self.net.endswith("_background")


def alarms(
    nets: Iterable[Seedling], *, scenes: int = SCENES, seed: int = SEED, folder: Path | None = None,
    runner: Runner | None = None,
) -> tuple[Alarm, ...]:  # fmt: skip
    """The background alarm of the benchmark for trained nets, on the same scenes, whose background tells the class.

    That is where the cue hides: a net that reads it is right nearly always, as on the data it learned from.
    scenes: how many, drawn from `seed`
    folder: where finished nets are noted, so that the same call goes on where it stopped

    Raises RequestError for a net that has not been trained.
    """
    wanted = list(nets)
    for one in wanted:
        if not one.there:
            raise RequestError(f"{one.path} is not there yet; `pellucid testbed train-seeds` trains it.")
    ledger = Ledger(folder / "alarms.jsonl" if folder is not None else None)
    finished = ledger.read()

    def work(one: Seedling) -> Alarm:
        weights = hashlib.blake2b(one.path.read_bytes(), digest_size=8).hexdigest()
        key = f"{one.name} {weights} {scenes} {seed} {versions()['pellucid']}"
        if key in finished:
            return Alarm(**finished[key])
        found = _judged(one, scenes, seed)
        ledger.add(key, vars(found))
        return found

    return tuple((runner or Here()).run(work, wanted, label="Nets from seeds"))


def _judged(one: Seedling, count: int, seed: int) -> Alarm:
    model = load(f"testbed:{one.name}", folder=one.folder)
    drawn = testbed.scenes(seed, count, shortcut="background", strength=AGREEMENT)
    cases = SceneCases(model, drawn, f"testbed scenes of seed {seed} whose background tells the class")
    board = benchmark(model, cases, methods="layer_cam", metrics="background_mass", seed=seed)
    return Alarm(
        one.name, one.seed, board.standing("background_mass", "shown first").value.mean, bool(board.alarms),
        len(board.pictures),
    )  # fmt: skip
