"""A user's own folder of pictures: where a model fails on it, in words of a table."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

import pellucid as pl
from pellucid.errors import FileError, RequestError
from pellucid.stories.failing import describe_dataset
from pellucid.testbed import scenes
from pellucid.testbed.fields import LANDS, SPECIES

CLASSES = ("ripple swift", "pebble wren")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of scenes whose landscape says nothing, and a table of their landscapes."""
    root = tmp_path_factory.mktemp("birds")
    drawn = scenes(3600, 1800, shortcut="background", strength=0.3)
    rows: list[tuple[str, str]] = []
    for at in range(len(drawn)):
        name = SPECIES[drawn.labels[at]]
        if name in CLASSES:
            file = root / name / f"{len(rows) // 2}.png"  # the same name may stand in both folders
            while file.exists():
                file = file.with_stem(f"{file.stem}b")
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(drawn.pixels[at]).save(file, compress_level=1)
            rows.append((f"{name}/{file.name}", LANDS[drawn.fields["land"][at]]))
    with (root / "known.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("file", "land"), *rows])
    return root


def test_the_landscape_is_told_of_a_biased_net_and_nothing_of_a_clean_one(folder: Path) -> None:
    biased = describe_dataset(pl.load("testbed:cnn_background"), folder, attributes=folder / "known.csv")
    lines = "\n".join(biased.lines(3))
    assert "land: " in lines and "recognised in 0%" in lines, lines
    clean = describe_dataset(pl.load("testbed:cnn"), folder, attributes=folder / "known.csv")
    assert "No failure mode stands out" in "\n".join(clean.lines(3))


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    model = pl.load("testbed:cnn")
    with pytest.raises(RequestError, match="Say who tells"):
        describe_dataset(model, folder)
    with pytest.raises(RequestError, match="named like a class"):
        describe_dataset(pl.load("testbed:digits"), folder, attributes=folder / "known.csv")
    short = tmp_path / "short.csv"
    short.write_text("file,land\npebble wren/none.png,snow\n")
    with pytest.raises(FileError, match=r"no row for .*png.*as .*/.*png in `file`"):
        describe_dataset(model, folder, attributes=short)
    with pytest.raises(FileError, match="cannot be read"):
        describe_dataset(model, folder, attributes=tmp_path / "nothing.csv")
