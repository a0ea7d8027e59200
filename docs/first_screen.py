"""The picture at the head of the README: three photographs and one scene whose answer is known, explained and drawn.

.venv/bin/python docs/first_screen.py                    writes docs/images/first-screen.png
.venv/bin/python docs/first_screen.py --out other.png    elsewhere
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pellucid as pl
from pellucid.report import write_gallery
from pellucid.stories.demo import SCENE_SEED, photographs
from pellucid.testbed.scene import scenes
from pellucid.testbed.truth import known

USUAL = Path(__file__).parent / "images" / "first-screen.png"
PHOTOGRAPHS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draw the picture at the head of the README.")
    parser.add_argument("--out", type=Path, default=USUAL)
    out: Path = parser.parse_args(arguments).out
    classifier = pl.load("demo:efficientnet_lite0")
    stories = [pl.explain(classifier, frame) for frame in photographs()[:PHOTOGRAPHS]]
    drawn = scenes(SCENE_SEED, (0,))
    stories.append(pl.explain(pl.load("testbed:cnn"), drawn.frames()[0], truth=known(drawn)[0]))
    print(write_gallery(out, [story for story in stories if isinstance(story, pl.Explanation)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
