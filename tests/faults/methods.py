"""Methods, layers, parameters, budgets, memory and seeds that cannot be."""

from __future__ import annotations

import math

import torch

import pellucid as pl
from pellucid import errors
from tests.faults.files import network
from tests.faults.row import SOME_FAILED, Nowhere, Refused, Row, Shown, Typed, explain, value
from tests.faults.subjects import (
    bird,
    black_box,
    cnn,
    parameter,
    perceptron,
    photo,
    tensor,
    twin,
    with_layer,
    with_method,
)

DEFAULTS_ONLY = Nowhere("the command runs every method with its own defaults")
NO_COMMAND = Nowhere("no command measures a map that was made before")
REQUEST = errors.RequestError
UNAVAILABLE = errors.MethodUnavailable


def request(*words: str) -> Refused:
    return Refused(REQUEST, words)


def option(name: str, *says: str, usage: bool = False) -> Typed:
    return explain("BIRD", name, "GIVEN", says=says or None, usage=usage)


def explained(**options: object) -> object:
    """The one option of a row is what the row gives."""
    return lambda given: pl.explain(
        twin(),
        photo(),
        methods=["gradient"],
        **{name: given if entry == "GIVEN" else entry for name, entry in options.items()},
    )


def on_box(*says: str, methods: str) -> Typed:
    return explain("BIRD", "--model", "GIVEN", "--methods", methods, says=says or None)


METHODS = [
    Row("no such method", value("gradcam"), Refused(errors.UnknownMethod, ("'gradcam'", "Nearest: grad_cam")),
        with_method, option("--methods")),
    Row("a method in capitals", value("Grad-CAM"), Refused(errors.UnknownMethod, ("'Grad-CAM'", "grad_cam")),
        with_method, option("--methods")),
    Row("a bad method after a good one", value(["grad_cam", "glad_cam"]),
        Refused(errors.UnknownMethod, ("'glad_cam'", "grad_cam", "pellucid methods")), with_method,
        option("--methods"), typed=value("grad_cam,glad_cam")),
    Row("a number among the methods", value(["grad_cam", 3]),
        Refused(errors.UnknownMethod, ("no method 3", "pellucid methods")), with_method,
        option("--methods", "no method '3'", "pellucid methods"), typed=value("grad_cam,3")),
    Row("no method at all", value([]), request("pellucid methods"), with_method, option("--methods"), typed=value(",")),
    Row("a number for a method", value(7), request("7 names no method", "list of names"), with_method,
        option("--methods", "no method '7'", "pellucid methods")),
    Row("None for a method", value(None), request("None names no method", "list of names"), with_method,
        option("--methods", "no method 'None'", "pellucid methods")),
    Row("a method with its parameter in brackets", value("integrated_gradients(steps=0)"),
        Refused(errors.UnknownMethod, ("'integrated_gradients(steps=0)'", "Nearest: integrated_gradients")),
        with_method, option("--methods")),
    Row("gradients of a black box", value("gradient"), Refused(UNAVAILABLE, ("gradient", "black box", "occlusion")),
        lambda given: pl.attribute(black_box(), tensor(), given), on_box(methods="gradient"), typed=network()),
    Row("layers of a black box", value("grad_cam"), Refused(UNAVAILABLE, ("grad_cam", "black box", "occlusion")),
        lambda given: pl.attribute(black_box(), tensor(), given), on_box(methods="grad_cam"), typed=network()),
    Row("a CAM of a perceptron", value("grad_cam"),
        Refused(UNAVAILABLE, ("grad_cam", "none of its layers lies on a grid", "integrated_gradients")),
        lambda given: pl.attribute(perceptron(), tensor(), given),
        on_box("grad_cam", "black box", "occlusion", methods="grad_cam"), typed=network()),
    Row("attention of a CNN", value("attention_rollout"),
        Refused(UNAVAILABLE, ("no attention", "grad_cam", "instead")), with_method, option("--methods")),
    Row("relevance of a CNN's attention", value("chefer"), Refused(UNAVAILABLE, ("no attention", "grad_cam",
        "instead")),
        with_method, option("--methods")),
    Row("guided without activations", value("guided_backprop"), Refused(UNAVAILABLE, ("no ReLU", "gradient")),
        lambda given: pl.attribute(perceptron(), tensor(), given),
        on_box("guided_backprop", "black box", "occlusion", methods="guided_backprop"), typed=network()),
    Row("gradients of a model that detaches its answer", lambda _: Detached(),
        Refused(UNAVAILABLE, ("gradient", "carries none", "occlusion")),
        lambda given: pl.attribute(given, tensor(), "gradient"), Nowhere("no source names such a model")),
]  # fmt: skip

LAYERS = [
    Row("no such layer", value("secnd"), Refused(errors.UnknownLayer, ("'secnd'", "Nearest: second",
        "pellucid layers")),
        with_layer, option("--layer", "'features.99'", "features", "pellucid layers"), typed=value("features.99")),
    Row("no such layer, and a method that needs none", value("secnd"),
        Refused(errors.UnknownLayer, ("'secnd'", "Nearest: second")),
        lambda given: pl.attribute(twin(), tensor(), "gradient", layer=given),
        explain("BIRD", "--methods", "gradient", "--layer", "GIVEN", says=("'secnd'", "pellucid layers"))),
    Row("an empty name for a layer", value(""), Refused(errors.UnknownLayer, ("''", "pellucid layers")), with_layer,
        option("--layer")),
    Row("a call that does not happen", value("second#2"), Refused(errors.UnknownLayer, ("'second#2'", "second")),
        with_layer, option("--layer", "'features.0#2'", "features.0"), typed=value("features.0#2")),
    Row("a number for a layer", value(7), Refused(errors.UnknownLayer, ("no layer 7", "pellucid layers")), with_layer,
        option("--layer", "no layer '7'", "pellucid layers")),
    Row("a list for a layer", value(["second"]), Refused(errors.UnknownLayer, ("no layer ['second']", "second")),
        with_layer, option("--layer", "no layer '[features.0]'", "pellucid layers"), typed=value("[features.0]")),
    Row("a layer without a grid", value("head"), Refused(UNAVAILABLE, ("'head' is of kind vector", "pellucid layers")),
        with_layer, explain("BIRD", "--methods", "grad_cam", "--layer", "GIVEN")),
    Row("a layer of a black box", value("conv"), request("layer='conv'", "black box", "Leave the layer out"),
        lambda given: pl.attribute(black_box(), tensor(), "occlusion", window=5, layer=given),
        explain("BIRD", "--model", "GIVEN", "--layer", "conv"), typed=network()),
]  # fmt: skip

PARAMETERS = [
    Row("no such parameter", value(3), request("'stepz'", "steps=50"), parameter("integrated_gradients", stepz="GIVEN"),
        explain("BIRD", "--stepz", "3", says=("No such option", "--stepz"), usage=True)),
    Row("a parameter of another method", value(3), request("'window'", "grad_cam"), parameter("grad_cam",
        window="GIVEN"),
        explain("BIRD", "--window", "3", says=("No such option", "--window"), usage=True)),
    *(Row(name, value(given), request(*words), parameter(method, **{words[0]: "GIVEN"}), DEFAULTS_ONLY)
      for name, method, given, words in [
        ("no steps", "integrated_gradients", 0, ("steps", "whole number")),
        ("half a step", "integrated_gradients", 2.5, ("steps", "whole number")),
        ("steps in words", "integrated_gradients", "many", ("steps", "whole number")),
        ("steps that are no number", "integrated_gradients", math.nan, ("steps", "whole number")),
        ("a path from a picture", "integrated_gradients", torch.zeros(1, 3, 2, 2), ("baseline",)),
        ("no samples", "smoothgrad", 0, ("samples", "whole number")),
        ("negative noise", "smoothgrad", -1.0, ("noise", "0 or more")),
        ("noise that is no number", "smoothgrad", math.nan, ("noise", "0 or more")),
        ("noise in words", "smoothgrad", "loud", ("noise",)),
        ("no masks", "rise", 0, ("masks", "whole number")),
        ("more than all kept", "rise", 2.0, ("keep", "between 0 and 1")),
        ("a window larger than the picture", "occlusion", 500, ("window", "1 to 17")),
        ("a window of nothing", "occlusion", 0, ("window", "1 to 17")),
        ("a window of three sides", "occlusion", (1, 2, 3), ("window",)),
        ("a window in words", "occlusion", "wide", ("window",)),
        ("a window of half pixels", "occlusion", 2.5, ("window",)),
        ("a stride of nothing", "occlusion", 0, ("stride", "1 to 17")),
        ("an unknown baseline", "occlusion", "plaid", ("baseline", "'plaid'", "blur, mean")),
        ("no baseline", "occlusion", None, ("baseline", "blur, mean")),
        ("one patch", "lime", 1, ("segments", "whole number")),
        ("patches in words", "lime", "some", ("segments",)),
        ("no channel", "score_cam", 0, ("top", "whole number")),
        ("a channel past the last", "smooth_grad_cam_pp", [12], ("channels", "0 to 7")),
        ("a channel by name", "smooth_grad_cam_pp", ["beak"], ("channels",)),
        ("a closer look at less than nothing", "refined_occlusion", -1, ("closer", "whole number")),
    ]),
]  # fmt: skip

AMOUNTS = [
    Row("a budget for nothing", value(0), request("budget=0", "1 or more"), explained(budget="GIVEN"),
        option("--budget", "--budget", "greater than or equal to 1", usage=True)),
    Row("a budget in words", value("many"), request("budget='many'", "whole number"), explained(budget="GIVEN"),
        option("--budget", "--budget", "integer", usage=True)),
    Row("half a pass", value(2.5), request("budget=2.5", "whole number"), explained(budget="GIVEN"),
        option("--budget", "--budget", "integer", usage=True)),
    Row("a truth value for a budget", value(True), request("budget=True", "whole number"), explained(budget="GIVEN"),
        option("--budget", "--budget", "integer", usage=True)),
    Row("a budget too small for a look", value(1), request("A budget of 1 passes", "takes 3"),
        lambda given: pl.explain(cnn(), bird(), budget=given), option("--budget")),
    Row("a budget too small for a black box", value(5), request("5 passes is too small", "black box", "at least"),
        lambda given: pl.explain(black_box(), bird(), budget=given),
        explain("BIRD", "--model", "GIVEN", "--budget", "5"), typed=network()),
    Row("a budget that leaves nothing for scores", value(3),
        Shown(lambda story: story.choice.table == () and not story.choice.beats_controls),
        lambda given: pl.explain(cnn(), bird(), budget=given), explain("BIRD", "--budget", "GIVEN", code=0)),
    Row("no memory", value(0), request("memory", "0", "above 0"), explained(memory="GIVEN"),
        option("--memory", "--memory 0", "above 0")),
    Row("negative memory", value(-2), request("memory", "-2", "above 0"), explained(memory="GIVEN"),
        option("--memory", "--memory -2", "above 0")),
    Row("memory that is no number", value(math.nan), request("memory", "nan", "above 0"), explained(memory="GIVEN"),
        option("--memory", "--memory nan", "above 0")),
    Row("memory without end", value(math.inf), request("memory", "inf"), explained(memory="GIVEN"),
        option("--memory", "--memory inf", "above 0")),
    Row("memory in words", value("plenty"), request("memory", "'plenty'"), explained(memory="GIVEN"),
        option("--memory", "--memory", "valid number", usage=True)),
    Row("less memory than one picture takes", value(1e-6), Refused(errors.MemoryBudgetError, ("one picture takes",
        "--memory")),
        lambda given: pl.explain(cnn(), bird(), methods=["gradient"], budget=3, memory=given),
        explain("BIRD", "--memory", "GIVEN", code=SOME_FAILED)),
    Row("a negative seed", value(-3), request("seed=-3", "0 or more"), explained(seed="GIVEN"),
        option("--seed", "--seed", "greater than or equal to 0", usage=True)),
    Row("half a seed", value(1.5), request("seed=1.5", "whole number"), explained(seed="GIVEN"),
        option("--seed", "--seed", "integer", usage=True)),
    Row("a seed in words", value("lucky"), request("seed='lucky'", "whole number"), explained(seed="GIVEN"),
        option("--seed", "--seed", "integer", usage=True)),
    Row("a seed beyond all bounds", value(2**70), Shown(lambda story: story.seed == 2**70),
        lambda given: pl.explain(cnn(), bird(), methods=["random"], budget=3, seed=given),
        explain("BIRD", "--methods", "random", "--budget", "3", "--seed", "GIVEN", code=0)),
]  # fmt: skip


def measured(*asked: str, **options: object) -> object:
    return lambda given: pl.evaluate(twin(), tensor(), given, *asked, **options)


def gradient(_: object) -> pl.Heatmaps:
    return pl.attribute(twin(), tensor(), "gradient")


MEASURES = [
    Row("no such metric", gradient, Refused(errors.UnknownMethod, ("'delete'", "Nearest: deletion", "pl.metrics()")),
        measured("delete"), NO_COMMAND),
    Row("no metric", gradient, request("No metric was named", "pl.metrics()"),
        lambda given: pl.evaluate(twin(), tensor(), given, []), NO_COMMAND),
    Row("a number for a metric", gradient, request("7 names no metric", "pl.metrics()"),
        lambda given: pl.evaluate(twin(), tensor(), given, 7), NO_COMMAND),
    Row("a number for a map", value(7), request("int is no map", "pl.attribute"), measured("deletion"), NO_COMMAND),
    Row("values for a map", value(torch.zeros(1, 13, 17)), request("Tensor is no map", "pl.attribute"),
        measured("deletion"), NO_COMMAND),
    Row("maps of other pictures", gradient, Refused(errors.ShapeError, ("[1, 13, 17]", "2 maps, one per picture")),
        lambda given: pl.evaluate(twin(), tensor(2), given, ["deletion"]), NO_COMMAND),
    Row("maps of another size", gradient, Refused(errors.ShapeError, ("[1, 13, 17]", "[1, 20, 20]")),
        lambda given: pl.evaluate(twin(), torch.zeros(1, 3, 20, 20), given, ["deletion"]), NO_COMMAND),
    Row("a measure of truth without it", gradient, request("truth="), measured("pointing_game"), NO_COMMAND),
    Row("a truth of another shape", gradient, Refused(errors.ShapeError, ("truth", "[1, 13, 17]")),
        measured("pointing_game", truth=7), NO_COMMAND),
    Row("a number for the truth", value(7), request("truth has a int", "pl.Truth"),
        lambda given: pl.explain(twin(), photo(), methods=["gradient"], budget=3, truth=given), NO_COMMAND),
    Row("two targets for one picture", value([1, 2]), request("2 targets for 1 pictures"), explained(target="GIVEN"),
        explain("BIRD", "--target", "1,2", says=("'1,2'", "12 classes"))),
]  # fmt: skip


class Detached(torch.nn.Module):
    """A model whose answer is cut off from its input, as after decoding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.conv(pictures).mean((2, 3)).detach()


ASKED = [*METHODS, *LAYERS, *PARAMETERS, *AMOUNTS, *MEASURES]
