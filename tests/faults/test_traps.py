"""The traps in which explainers are caught: for each a result, or an error that says what to do.

One section per trap, here those that lie in the model and in what is asked of it; those of the run (training mode,
exceptions, threads, batches, files, drawing) are in test_traps_of_the_run. What only one room can see is tested there:
ReLUs and calls in tests/engine, grids in tests/subject, flat maps in tests/canvas.
"""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid import errors
from pellucid.registry import find_method, methods
from tests.attribution.asked import ALL, ATTENTION, CONVOLUTIONAL, QUICK
from tests.faults import files
from tests.faults.doors import Command
from tests.faults.subjects import CHEAP, quick, values_of
from tests.faults.test_bad_input import BY_NAME
from tests.guests import unchanged
from tests.nets import Shared, Unshared
from tests.oracles.asking import ask, evidence_of, explainer_for, relative
from tests.oracles.nets import Twin, pictures, seeded, tiny_vit

# -- ReLU in place, as a function, as a module ----------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["in place", "function"])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_the_spelling_of_relu_changes_nothing(name: str, spelling: str) -> None:
    """At norm2, whose output an in-place ReLU overwrites: what is kept has to be the value before."""
    own: dict[str, Any] = {"layers": ["norm1", "norm2"]} if name in ("normgrad_layers", "refine_cam") else {}
    layered = {**own, "layer": "norm2"} if find_method(name).layered else own
    # It reads modules by name, of which the net with functions has fewer.
    layered |= explainer_for(name, pl.wrap(Twin("function"), input_size=(37, 53)), (37, 53))
    inputs = pictures(2, 37, 53, seed=40)
    expected, found = (ask(name, Twin(kind), inputs, 2, **layered, **quick(name)) for kind in ("module", spelling))
    assert relative(found, expected) < 1e-6


def test_the_layer_before_an_in_place_relu_keeps_its_negative_values() -> None:
    inputs = pictures(2, 37, 53, seed=40)
    activation = evidence_of(Twin("in place"), inputs).activation("norm2")
    assert (activation < 0).any()
    assert torch.equal(activation, evidence_of(Twin("module"), inputs).activation("norm2"))


# -- a module that runs more than once ------------------------------------------------------------------------------


# A step on weights moves those of two modules apart, and those of one by the sum: there the maps rightly differ.
@pytest.mark.parametrize(
    "name", [name for name in CONVOLUTIONAL if not find_method(name).control and name != "meta_normgrad"]
)
def test_a_reused_module_gives_the_map_of_its_twin_that_has_two(name: str) -> None:
    layers = ("conv#1", "conv") if find_method(name).layered else (None, None)
    inputs = pictures(2, 20, 28, seed=41)
    shared, unshared = (ask(name, net, inputs, 1, layer, **quick(name)) for net, layer in zip(
        (Shared(), Unshared()), layers, strict=True
    ))  # fmt: skip
    assert relative(shared, unshared) < 1e-5


def test_the_command_says_which_call_it_took_and_how_to_name_another(
    pellucid: Command, scenes: list[Path], tmp_path: Path
) -> None:
    spec = "torchvision:resnet18@random"
    layers = {layer["name"] for layer in json.loads(pellucid("layers", "-m", spec, "--json").out)["layers"]}
    assert {"layer4.1.relu#1", "layer4.1.relu#2"} <= layers
    ran = pellucid("explain", scenes[0], "-m", spec, "--layer", "layer4.1.relu", "--out", tmp_path / "out", *CHEAP)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("layer4.1.relu runs 2 times; taking the last call, layer4.1.relu#2. Name layer4.1.relu#1") == 1
    assert pl.open(tmp_path / "out" / "bird0.json").chosen.layer.name == "layer4.1.relu#2"


# -- answers in dicts, tuples and records ---------------------------------------------------------------------------

Named = namedtuple("Named", ["logits", "hidden"])


@dataclass
class Record:
    logits: Tensor
    hidden: Tensor


def _hugging_face(logits: Tensor, hidden: Tensor) -> Any:
    output = pytest.importorskip("transformers.modeling_outputs")
    return output.ImageClassifierOutput(logits=logits, hidden_states=(hidden,))


PACKED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "a dict": lambda logits, hidden: {"hidden": hidden, "logits": logits},
    "a tuple": lambda logits, hidden: (logits, hidden),
    "a list": lambda logits, hidden: [hidden, logits],
    "a named tuple": Named,
    "a dataclass": Record,
    "a ModelOutput": _hugging_face,
}


class Packed(Twin):
    """The twin, with its answer in something, beside another tensor."""

    def __init__(self, pack: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__("module")
        self.pack = pack

    def forward(self, inputs: Tensor) -> Any:
        return self.pack(super().forward(inputs), inputs)


@pytest.mark.parametrize("kind", PACKED)
def test_the_scores_are_found_in(kind: str) -> None:
    inputs = pictures(2, 24, 28, seed=42)
    for name in ("gradient", "grad_cam", "occlusion"):
        found, expected = (values_of(one, inputs, name) for one in (Packed(PACKED[kind]), Twin("module")))
        assert torch.equal(found, expected), name


def test_two_that_could_be_the_scores_are_listed_by_the_command_too() -> None:
    row = BY_NAME["an ambiguous answer"]
    assert row.command.says == ("first: [1, 4]", "second: [1, 4]", "output=KEY")  # type: ignore[union-attr]


# -- input that is neither square nor 224 ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 48), (40, 56)])
@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_a_map_has_the_height_and_width_of_the_input(kind: str, size: tuple[int, int]) -> None:
    network = Twin("module") if kind == "cnn" else tiny_vit(*size)
    names = CONVOLUTIONAL if kind == "cnn" else ALL
    inputs = pictures(1, *size, seed=43)
    found = [
        name for name in names if name not in QUICK and not methods()[name].fitting
    ]  # one look for all; the others are slower and of one kind
    for name, heat in pl.attribute(network, inputs, found, target=1).items():
        assert heat.values.shape[-2:] == size, name


def test_a_transformer_of_160_x_224_is_laid_on_its_grid() -> None:
    heat = pl.attribute(tiny_vit(160, 224), pictures(1, 160, 224), ["grad_cam", "chefer"], target=1)
    assert {one.values.shape for one in heat.values()} == {(1, 160, 224)}
    assert heat["grad_cam"].layer is not None
    assert heat["grad_cam"].layer.grid == (20, 28)


def test_the_command_explains_with_a_saved_transformer_that_is_not_square(
    pellucid: Command, scenes: list[Path], tmp_path: Path
) -> None:
    timm = pytest.importorskip("timm")
    settings = {"img_size": [64, 96], "num_classes": 3}
    network = timm.create_model("test_vit", **settings)
    timm.models.save_for_hf(network, tmp_path / "vit", model_config={"model_args": {"img_size": [64, 96]}})
    ran = pellucid("explain", scenes[0], "-m", tmp_path / "vit", "--out", tmp_path / "out", *CHEAP)
    assert ran.code == 0, ran.err
    chosen = pl.open(tmp_path / "out" / "bird0.json").chosen
    assert chosen.values.shape == (1, 64, 96)
    assert chosen.on_frame().shape == (64, 64)


# -- transformers with prefix tokens, registers, windows ------------------------------------------------------------

FAMILIES: dict[str, tuple[str, dict[str, Any], int, int]] = {
    # architecture, its settings, side of the input, prefix tokens
    "a class token": ("vit_tiny_patch16_224", {"img_size": 64, "depth": 2}, 64, 1),
    "a distillation token": ("deit_tiny_distilled_patch16_224", {"img_size": 64, "depth": 2}, 64, 2),
    "four registers": ("vit_small_patch14_reg4_dinov2", {"img_size": 70, "depth": 2, "num_classes": 5}, 70, 5),
    "windows and channels last": ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2}, 64, 0),
    "no class token": (
        "vit_base_patch16_gap_224",
        {"img_size": 64, "depth": 2, "embed_dim": 48, "num_heads": 2},
        64,
        0,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_transformer_is_laid_on_the_picture_with(family: str) -> None:
    timm = pytest.importorskip("timm")
    name, settings, side, prefix = FAMILIES[family]
    torch.manual_seed(0)
    network = seeded(timm.create_model(name, **settings))
    with unchanged(network):
        found = pl.attribute(network, pictures(1, side, side), ["hires_cam", "layer_cam", "eigen_cam"], target=1)
    for heat in found.values():
        assert heat.values.shape == (1, side, side)
        assert heat.layer is not None
        assert heat.layer.prefix_tokens == prefix
    # Eigen-CAM's strongest pattern may lie below zero everywhere in a net that never learned; it then says so itself.
    assert not found["hires_cam"].flat()
    assert found["eigen_cam"].flat() != found["eigen_cam"].passed(0)


@pytest.mark.parametrize(("spec", "grid"), [("timm:test_vit@random", [10, 10]), ("testbed:vit", [8, 8])])
def test_the_command_shows_the_grid_of_a_transformer(spec: str, grid: list[int], pellucid: Command) -> None:
    tree = json.loads(pellucid("layers", "-m", spec, "--json").out)
    (default,) = (layer for layer in tree["layers"] if layer["name"] == tree["default"])
    assert (default["kind"], default["grid"], default["prefix_tokens"]) == ("tokens", grid, 1)


# -- the last block or the final norm as layer ----------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["blocks.2", "norm"])
def test_a_layer_after_which_only_the_class_token_counts_is_named_with_a_better_one(layer: str) -> None:
    heat = pl.attribute(tiny_vit(), pictures(1, 32, 32), "grad_cam", target=1, layer=layer)
    assert heat.flat()
    assert {check.name for check in heat.checks[0] if check.passed is False} == {"not flat"}
    (note,) = heat.notes
    assert note.startswith(f"No gradient reaches the places of {layer}, so a map there is flat. Look at blocks.2.norm1")
    assert not pl.attribute(tiny_vit(), pictures(1, 32, 32), "hires_cam", target=1, layer="blocks.2.norm1").flat()


def test_the_command_says_so_on_the_terminal_and_on_the_page(
    pellucid: Command, scenes: list[Path], tmp_path: Path
) -> None:
    ran = pellucid("explain", scenes[0], "-m", "testbed:vit", "--layer", "norm", "--out", tmp_path / "out", *CHEAP)
    assert (ran.code, ran.err) == (0, "")
    page = (tmp_path / "out" / "bird0.html").read_text()
    for said in (ran.out, page):
        assert "No gradient reaches the places of norm, so a map there is flat. Look at blocks.3.norm1" in said
    assert "The map is flat" in page


# -- what a paper promises of its map -------------------------------------------------------------------------------


def test_what_a_method_promises_is_kept_with_its_map_and_a_broken_promise_too(
    pellucid: Command, scenes: list[Path], tmp_path: Path
) -> None:
    inputs = pictures(1, 32, 32)
    kept = pl.attribute(tiny_vit(), inputs, "integrated_gradients", target=1)
    broken = pl.attribute(tiny_vit(), inputs * 4, "integrated_gradients", target=1, steps=1, most_steps=1)
    for heat, holds in ((kept, True), (broken, False)):
        (check,) = (check for check in heat.checks[0] if check.name == "completeness")
        assert (check.passed, heat.passed()) == (holds, holds), check
        assert check.value is not None
    command = ("explain", scenes[0], "-m", "testbed:vit", "--methods", "integrated_gradients", "--budget", "3")
    assert pellucid(*command, "--out", tmp_path / "out").code == 0
    checks = {check.name: check for check in pl.open(tmp_path / "out" / "bird0.json").chosen.checks[0]}
    assert checks["completeness"].value is not None


def test_a_map_of_values_that_are_no_numbers_fails_its_check_and_is_never_first() -> None:
    """A net that divides by the spread of its input knows nothing of one flat colour, which is where some begin."""
    found = pl.attribute(Standardised(), pictures(1, 24, 24), ["integrated_gradients", "gradient"], target=1)
    assert not found["integrated_gradients"].passed()
    assert found["gradient"].passed()
    story = pl.explain(Standardised(), pictures(1, 24, 24), methods=["integrated_gradients", "gradient"], budget=60)
    assert isinstance(story, pl.Explanation)
    assert story.chosen.method == "gradient"


class Standardised(Twin):
    def __init__(self) -> None:
        super().__init__("module")

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward((inputs - inputs.mean((1, 2, 3), keepdim=True)) / inputs.std((1, 2, 3), keepdim=True))


# -- targets that do not exist or do not fit ------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "target"), [(1, 99), (1, -1), (2, [0, 1, 2]), (2, [0]), (1, [])])
def test_a_target_that_cannot_be_leaves_no_map_and_the_model_as_it_was(count: int, target: Any) -> None:
    network = Twin("in place").train()
    with unchanged(network), pytest.raises(errors.TargetError):
        pl.attribute(network, pictures(count, 24, 24), ["gradient", "grad_cam", "ablation_cam"], target=target)


def test_the_table_holds_each_of_them_for_both_doors() -> None:
    for name in ("a class past the last", "a negative class", "three targets for two pictures",
                 "one listed target for two pictures", "an empty list of targets"):  # fmt: skip
        assert BY_NAME[name].command.code == 2  # type: ignore[union-attr]


# -- a model without convolutions -----------------------------------------------------------------------------------


def perceptron(size: int = 16) -> nn.Module:
    return seeded(nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 12), nn.ReLU(), nn.Linear(12, 4)))


@pytest.mark.parametrize("name", ALL)
def test_a_perceptron_is_explained_or_the_method_names_others(name: str) -> None:
    network, inputs = perceptron(), pictures(2, 16, 16, seed=44)
    model = pl.wrap(network, input_size=(16, 16))
    options = {"window": 6, "stride": 5} if name == "occlusion" else quick(name)
    if methods()[name].layered or methods()[name].fitting or name in (*ATTENTION, "guided_grad_cam"):
        with pytest.raises(errors.MethodUnavailable) as caught:
            pl.attribute(model, inputs, name, target=1, **options)
        assert caught.value.instead
        assert any(other.split(" ")[0] in methods() for other in caught.value.instead)
        return
    heat = pl.attribute(model, inputs, name, target=1, **options)
    assert heat.values.shape == (2, 16, 16)
    assert heat.finite()


def test_the_command_explains_a_model_without_layers_by_covering_parts(
    pellucid: Command, scenes: list[Path], tmp_path: Path
) -> None:
    network = files.network()(tmp_path)
    assert pellucid("explain", scenes[0], "-m", network, "--out", tmp_path / "out", "--budget", "60").code == 0
    assert pl.open(tmp_path / "out" / "bird0.json").chosen.method in ("occlusion", "refined_occlusion")
    refused = pellucid("explain", scenes[0], "-m", network, "--methods", "grad_cam", "--out", tmp_path / "no")
    assert refused.code == 2
    assert "Use occlusion or rise or lime instead" in refused.message
