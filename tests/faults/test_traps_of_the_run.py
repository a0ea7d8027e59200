"""The traps of a run: training mode, exceptions, caller's modes, threads, batches, broken files, maps to draw.

The other half of tests/faults/test_traps; the model is as before after each.
"""

from __future__ import annotations

import copy
import json
import signal
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import pellucid as pl
from pellucid import errors
from tests.attribution.asked import ALL, CONVOLUTIONAL, DIFFERENCES
from tests.faults import files
from tests.faults.doors import Command, started
from tests.faults.subjects import CHEAP, quick, values_of
from tests.guests import unchanged
from tests.oracles.asking import ask, relative
from tests.oracles.nets import Twin, pictures, tiny_vit

# -- a model left in training ---------------------------------------------------------------------------------------


def trained() -> nn.Module:
    return nn.Sequential(Twin("module"), nn.Dropout(0.9)).train()


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_a_model_in_training_gives_the_same_map_twice_and_keeps_its_statistics(name: str) -> None:
    network, inputs = trained(), pictures(2, 24, 28, seed=45)
    with unchanged(network):
        first, again = (values_of(network, inputs, name) for _ in range(2))
    assert torch.equal(first, again)
    assert relative(first, values_of(Twin("module"), inputs, name)) < 1e-6


def test_it_is_told_once_that_the_model_was_in_training() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        heats = pl.attribute(trained(), pictures(1, 24, 28), ["gradient", "grad_cam"], target=1)
        pl.attribute(trained().eval(), pictures(1, 24, 28), "gradient", target=1)
    (warning,) = (str(one.message) for one in said)
    assert warning.startswith("The model is in training mode. It was explained as in evaluation")
    assert all(warning in heat.notes for heat in heats.values())


# -- an exception in the middle -------------------------------------------------------------------------------------


class Fragile(Twin):
    """Breaks off at its nth pass. The count lies outside, so that the model itself does not change."""

    def __init__(self, passes: list[int], at: int, error: type[BaseException]) -> None:
        super().__init__("in place")
        self.break_off: Callable[[], None] = lambda: _break_off(passes, at, error)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self._relu(self.relu1, self.norm1(self.conv1(inputs)))
        self.break_off()
        return self.head(self._relu(self.relu2, self.norm2(self.conv2(hidden))).mean(dim=(2, 3)))


class Boom(Exception):
    pass


def _break_off(passes: list[int], at: int, error: type[BaseException]) -> None:
    passes[0] += 1
    if passes[0] == at:
        raise error


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_whatever_breaks_off_a_method_leaves_the_model_as_it_was(name: str, error: type[BaseException]) -> None:
    """At every pass of the method in turn, the first few: looking at the model, the shared pair, perturbed inputs."""
    for at in range(1, 6):
        passes = [0]
        network = Fragile(passes, at, error).train()
        network.head.weight.grad = torch.ones_like(network.head.weight)
        with unchanged(network):
            try:
                values_of(network, pictures(1, 24, 28), name, target=1)
            except (Boom, KeyboardInterrupt):
                continue
        assert passes[0] < at, "the error was swallowed"


def test_a_target_that_raises_leaves_the_model_as_it_was() -> None:
    def boom(_: Tensor) -> Tensor:
        raise Boom

    network = Twin("in place").train()
    for target, error in ((boom, Boom), (lambda answer: answer[:, 99], errors.TargetError),
                          (lambda answer: answer.sum(), errors.TargetError)):  # fmt: skip
        with unchanged(network), pytest.raises(error):
            pl.attribute(network, pictures(1, 24, 28), ["gradient", "grad_cam", "ablation_cam"], target=target)


def test_ctrl_c_in_the_middle_of_a_picture_leaves_no_half_files_and_the_next_run_makes_all(
    pellucid: Command, scenes: list[Path], tmp_path: Path
) -> None:
    """A real process and a real signal, sent while it explains: as soon as the folder of answers is there."""
    out = tmp_path / "out"
    words = ["explain", *map(str, scenes), "-m", "testbed:cnn", "--out", str(out), "--methods", "rise", "--json"]
    deadline = time.monotonic() + 120
    with started(words) as process:
        while not out.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said.startswith("Stopped. Finished: ")
    assert "Traceback" not in said
    left = {path.name for path in out.iterdir()} - {"journal.jsonl"}
    assert not [name for name in left if name.endswith(".part")]
    assert len({Path(name).stem for name in left}) < len(scenes)
    ran = pellucid(*words[:-3], "--methods", "gradient", "--budget", "3", "--json")
    assert ran.code == 0
    assert len(json.loads(ran.out)["done"]) == len(scenes)


# -- frozen parameters, no_grad, inference mode ---------------------------------------------------------------------


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_frozen_under_no_grad_and_in_inference_mode_the_map_is_the_same(name: str) -> None:
    inputs, expected = pictures(1, 24, 28, seed=46), None
    expected = values_of(Twin("module"), inputs, name)
    frozen = Twin("module").requires_grad_(False)
    with unchanged(frozen):
        assert torch.equal(values_of(frozen, inputs, name), expected)
    with torch.no_grad():
        assert torch.equal(values_of(Twin("module"), inputs, name), expected)
    network = Twin("module")  # made outside: weights that are inference tensors themselves have no gradients at all
    with torch.inference_mode():
        tensor = inputs * 1
        assert torch.equal(values_of(network, tensor, name), expected)
    assert torch.equal(values_of(network, tensor, name), expected)


# -- two threads, one model -----------------------------------------------------------------------------------------


def test_eight_threads_with_different_methods_on_one_model_give_the_serial_maps() -> None:
    network = Twin("in place").train()
    names = [
        "gradient",
        "guided_backprop",
        "deconvnet",
        "grad_cam",
        "ablation_cam",
        "fullgrad",
        "hires_cam",
        "occlusion",
    ]
    batches = [pictures(1, 24, 28, seed=seed) for seed in range(len(names))]
    serial = [values_of(network, batch, name) for name, batch in zip(names, batches, strict=True)]
    jobs = [(name, index) for _ in range(5) for index, name in enumerate(names)]
    with unchanged(network), warnings.catch_warnings(), ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("ignore")
        found = list(pool.map(lambda job: values_of(network, batches[job[1]], job[0]), jobs))
    wrong = [name for (name, index), values in zip(jobs, found, strict=True) if relative(values, serial[index]) > 1e-6]
    assert not wrong


# -- a batch against single pictures --------------------------------------------------------------------------------

SIZES = {"cnn": (37, 53), "vit": (32, 48)}
NETWORKS: dict[str, nn.Module] = {"cnn": Twin("module"), "vit": tiny_vit(32, 48, registers=1)}


@pytest.mark.parametrize(("kind", "name"), [("cnn", name) for name in CONVOLUTIONAL] + [("vit", name) for name in ALL])
def test_a_picture_gets_the_same_map_alone_as_among_eight(kind: str, name: str) -> None:
    inputs = pictures(8, *SIZES[kind], seed=30) * torch.linspace(0.5, 2, 8)[:, None, None, None]
    targets = [2, 0, 2, 1, 3, 2, 0, 1]
    together = ask(name, NETWORKS[kind], inputs, targets, **quick(name))
    assert len(together) == 8
    assert together.isfinite().all()
    for index in (0, 3, 7):
        alone = ask(name, NETWORKS[kind], inputs[index : index + 1], targets[index], **quick(name))
        gap = relative(together[index : index + 1], alone)
        assert gap < (1e-4 if name in DIFFERENCES else 1e-5), f"picture {index}: {gap:.1e}"


# -- files that are no pictures -------------------------------------------------------------------------------------


def test_bad_files_among_good_ones_are_skipped_with_the_reason_and_counted(
    pellucid: Command, scenes: list[Path], tmp_path: Path
) -> None:
    reasons = {
        "bird1.png": "empty (0 bytes)",
        "bird2.png": "not a picture but a text",
        "bird3.png": "damaged or cut off",
    }
    scenes[1].write_bytes(b"")
    scenes[2].write_text("Dear model, what do you see?")
    scenes[3].write_bytes(scenes[0].read_bytes()[:-2000])
    out = tmp_path / "out"
    ran = pellucid("explain", tmp_path / "birds", "-m", "testbed:cnn", "--out", out, *CHEAP)
    assert ran.code == 1
    assert "1 of 4 pictures explained, 3 failed" in ran.out
    index = (out / "index.html").read_text()
    lines = ran.err.splitlines()
    assert len(lines) == 3
    for line, (name, reason) in zip(lines, reasons.items(), strict=True):
        assert line.count(name) == 1, "the file is named once"
        assert reason in line
        assert name in index
        assert reason in index
    assert {path.stem for path in out.glob("*.json")} == {"bird0"}


# -- maps that are flat, maps below zero ----------------------------------------------------------------------------


def test_a_flat_map_is_drawn_as_flat_and_the_page_says_so(
    pellucid: Command, scenes: list[Path], tmp_path: Path
) -> None:
    network = files.network(weight=0.0)(tmp_path)
    command = (
        "explain",
        scenes[0],
        "-m",
        network,
        "--methods",
        "occlusion",
        "--budget",
        "60",
        "--out",
        tmp_path / "out",
    )
    assert pellucid(*command).code == 0
    story = pl.open(tmp_path / "out" / "bird0.json")
    assert story.chosen.flat()
    assert not story.choice.beats_controls
    page = (tmp_path / "out" / "bird0.html").read_text()
    assert "The map is flat" in page
    with Image.open(tmp_path / "out" / "bird0.png") as sheet:
        sheet.verify()


@pytest.mark.parametrize("signed", [False, True])
def test_a_map_below_zero_is_drawn_and_its_legend_says_so(signed: bool, tmp_path: Path) -> None:
    heat = pl.attribute(Twin("module"), pictures(1, 24, 28), "gradient", target=1)
    below = copy.copy(heat)
    object.__setattr__(below, "values", -heat.values.abs() - 1)
    object.__setattr__(below, "signed", signed)
    page = below.save(tmp_path / "below.html").read_text()
    assert "nothing raised the answer" in page
    with Image.open(below.save(tmp_path / "below.png")) as drawn:
        assert np.asarray(drawn).std() > 0
