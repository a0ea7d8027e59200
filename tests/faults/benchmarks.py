"""Boards that cannot be made, and maps that cannot be as faithful as asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pellucid as pl
from pellucid import errors
from tests.faults.row import SOME_FAILED, WRONG_USAGE, Nowhere, Refused, Row, Typed, explain, value
from tests.faults.subjects import bird, cnn

REQUEST = errors.RequestError


def refused(*words: str) -> Refused:
    return Refused(REQUEST, words)


def board(**asked: Any) -> Callable[[Any], Any]:
    """A small board of the testbed's CNN; "GIVEN" stands for what the row gives."""

    def made(given: Any) -> Any:
        options: dict[str, Any] = {"methods": ["gradient"], "metrics": ["pointing_game"], "scenes": 2}
        options |= {name: given if entry == "GIVEN" else entry for name, entry in asked.items()}
        return pl.benchmark(options.pop("model", cnn()), **options)

    return made


def typed(*words: str, code: int = WRONG_USAGE, says: tuple[str, ...] | None = None, usage: bool = False) -> Typed:
    return Typed(("benchmark", "--scenes", "2", "--out", "OUT", *words), code, says, usage)


def sought(given: Any) -> Any:
    return pl.explain(cnn(), bird(), faithfulness_target=given)


def empty(folder: Path) -> str:
    (folder / "images").mkdir()
    return f"folder:{folder}"


BENCHMARKS = [
    Row("a truth from nowhere", value("somewhere"), refused("truth='somewhere'", "coco:DIR"), board(truth="GIVEN"),
        typed("--truth", "GIVEN")),
    Row("annotations that are not there", lambda folder: f"coco:{folder / 'gone'}",
        Refused(errors.AnnotationError, ("gone", "no such folder")), board(truth="GIVEN"),
        typed("--truth", "GIVEN", code=SOME_FAILED)),
    Row("a board on a folder without pictures", empty, Refused(errors.PellucidError, ("images",)), board(truth="GIVEN"),
        typed("--truth", "GIVEN", code=SOME_FAILED)),
    Row("a board of no such method", value("grad_camm"), Refused(errors.UnknownMethod, ("'grad_camm'", "grad_cam")),
        board(methods="GIVEN"), typed("--methods", "GIVEN")),
    Row("a board of no method", value([]), refused("methods is empty", "all"), board(methods="GIVEN"),
        typed("--methods", ",")),
    Row("a board of a method that cannot explain the net", value("chefer"),
        Refused(errors.MethodUnavailable, ("chefer", "no attention")), board(methods="GIVEN"),
        typed("--methods", "GIVEN")),
    Row("a board of no such measure", value("pointing"), Refused(errors.UnknownMethod, ("'pointing'", "pointing_game")),
        board(metrics="GIVEN"), typed("--metrics", "GIVEN")),
    Row("a board of no measure", value([]), refused("metrics is empty", "default"), board(metrics="GIVEN"),
        typed("--metrics", ",")),
    Row("a board ranked by what it does not measure", value("insertion"), refused("rank_by='insertion'"),
        board(rank_by="GIVEN"),
        typed("--metrics", "pointing_game", "--methods", "gradient", "--rank-by", "GIVEN")),
    Row("a cap on everything", value(0), refused("cap=0", "1 pass"), board(cap="GIVEN"),
        typed("--cap", "0", says=("--cap", "greater than or equal to 1"), usage=True)),
    Row("a cap that is no number", value(math.nan), refused("cap=nan", "1 pass"), board(cap="GIVEN"),
        typed("--cap", "nan", says=("--cap", "greater than or equal to 1"), usage=True)),
    Row("a board of no scenes", value(0), refused("0 scenes", "at least 1"), board(scenes="GIVEN"),
        Typed(("benchmark", "--scenes", "0"), WRONG_USAGE, ("--scenes", "greater than or equal to 1"), usage=True)),
    Row("a board on what the net learned from", value(0), refused("Seed 0", "from 2 on"), board(seed="GIVEN"),
        typed("--seed", "0")),
    Row("a board of a net that knows no birds", value("testbed:digits"), refused("digits", "testbed:cnn"),
        board(model="GIVEN"), typed("--model", "GIVEN")),
    Row("more faithful than anything", value(2.0), refused("faithfulness_target=2.0", "-1 to 1"), sought,
        explain("BIRD", "--faithfulness-target", "GIVEN")),
    Row("as faithful as no number", value(math.nan), refused("faithfulness_target=nan", "-1 to 1"), sought,
        explain("BIRD", "--faithfulness-target", "nan")),
    Row("faithfulness in words", value("very"), refused("faithfulness_target='very'", "number"), sought,
        explain("BIRD", "--faithfulness-target", "very", says=("--faithfulness-target", "valid number"), usage=True)),
    Row("nets from seeds that were not trained", value("nowhere"), refused("nowhere", "train-seeds"),
        lambda given: _alarms(given), Typed(("testbed", "alarms", "GIVEN", "--count", "1"), WRONG_USAGE)),
    Row("weights in a folder that has none", value("nowhere"),
        Refused(errors.LoadError, ("testbed:cnn", "pellucid testbed train cnn")),
        lambda given: pl.load("testbed:cnn", folder=given),
        Typed(("layers", "--model", "testbed:cnn?folder=GIVEN"), WRONG_USAGE)),
    Row("weights in a folder for a net from elsewhere", value("nowhere"), Refused(errors.LoadError, ("folder",)),
        lambda given: pl.load("timm:resnet18", folder=given),
        Nowhere("the options of a spec are checked by the same code")),
]  # fmt: skip


def _alarms(folder: str) -> object:
    from pellucid.stories.alarm import alarms
    from pellucid.testbed.train import seedlings

    return alarms(seedlings(Path(folder), count=1))
