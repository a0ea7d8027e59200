"""Commands and options that do not exist, and what the testbed does not have."""

from __future__ import annotations

import pellucid as pl
from pellucid import errors
from tests.faults.row import WRONG_USAGE, Nowhere, Refused, Row, Typed, explain, value
from tests.faults.subjects import bird, cnn, tensor, twin

WRONG = Nowhere("Python itself refuses a word that is none of its own")
REQUEST = errors.RequestError


def usage(*words: str, says: tuple[str, ...]) -> Typed:
    return Typed(words, WRONG_USAGE, says, usage=True)


COMMANDS = [
    Row("no picture", value(None), Refused(REQUEST, ("no picture to explain",)),
        lambda _: pl.explain(cnn(), iter([])), usage("explain", says=("Missing argument", "IMAGE"))),
    Row("no model", value(None), Refused(errors.ModelError, ("nn.Module or a callable", "NoneType")),
        lambda given: pl.explain(given, bird()),
        usage("explain", "BIRD", says=("Missing option", "--model"))),
    Row("an unknown option", value(1), Refused(REQUEST, ("no parameter 'wrong'", "Parameters:")),
        lambda given: pl.attribute(twin(), tensor(), "gradient", wrong=given),
        explain("BIRD", "--wrong", says=("No such option", "--wrong"), usage=True)),
    Row("an option without its value", value(None), Refused(errors.LoadError, ("a NoneType is no spec", "pl.wrap")),
        pl.load, usage("layers", "--model", says=("--model", "requires an argument"))),
    Row("a picture that looks like an option", value("-dash.png"), Refused(errors.ImageError, ("-dash.png", "no such")),
        pl.read, explain("GIVEN", says=("No such option", "-d"), usage=True)),
    Row("an unknown command", value(None), Refused(REQUEST, ()), WRONG,
        usage("frobnicate", says=("No such command", "frobnicate"))),
    Row("layers of an unknown net", value("testbed:nope"), Refused(errors.LoadError, ("testbed:nope", "digits")),
        lambda given: pl.load(given).layers, Typed(("layers", "-m", "GIVEN"), WRONG_USAGE)),
    Row("training an unknown net", value("nope"), Refused(errors.SceneError, ("'nope'", "digits")),
        lambda given: _train(given),
        Typed(("testbed", "train", "GIVEN"), WRONG_USAGE)),
    Row("no scenes", value(0), Refused(REQUEST, ("--scenes 0", "at least 1")), lambda given: _pointing(cnn(), given),
        usage("testbed", "evaluate", "--scenes", "0", says=("--scenes", "greater than or equal to 1"))),
    Row("scenes the net does not know", value("testbed:digits"), Refused(REQUEST, ("digits", "testbed:cnn")),
        lambda given: _pointing(pl.load(given), 1), Typed(("testbed", "evaluate", "-m", "GIVEN"), WRONG_USAGE)),
]  # fmt: skip


def _train(name: str) -> object:
    from pellucid.testbed.train import train

    return train(name, 0)


def _pointing(model: pl.VisionModel, count: int) -> object:
    from pellucid.stories.pointing import pointing

    return pointing(model, count=count, seed=0)
