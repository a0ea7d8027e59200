"""How fast and how small pellucid is beside Captum and pytorch-grad-cam, on the same model and the same pictures.

    make bench                                  all cases, writes benchmarks/RESULTS.md
    make bench ARGS="--cases grad_cam_1 --rounds 3 --out -"

Seconds of one machine say little about another, so everything is a ratio. In each round of a case every contender
runs once, in turn, in one process; a ratio is taken inside a round and the median over the rounds is reported. The
unit of cost is the plain forward pass of the same batch without gradients. Peak memory comes from a fresh process per
contender: the highest resident size during one call, less that before the call, after a forward pass has warmed up
the allocator. The maps are compared too, so that nobody is fast at something else.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

TARGET = 207
LAYER = "layer4"
STEPS = 50
ONE_PASS_CAMS = ("grad_cam", "grad_cam_pp", "eigen_cam", "layer_cam", "hires_cam", "xgrad_cam")
ALL_CAMS = (*ONE_PASS_CAMS, "score_cam", "ablation_cam")
RESULTS = Path(__file__).with_name("RESULTS.md")

Maps = dict[str, Tensor]  # method -> [batch height width]
Explainer = Callable[[Tensor], Maps]


@dataclass(frozen=True)
class Case:
    """One question asked of every contender: which methods, of how many pictures."""

    name: str
    words: str
    methods: tuple[str, ...]
    pictures: int
    contenders: dict[str, Callable[[nn.Module, tuple[str, ...]], Explainer]]
    rounds: int


@dataclass
class Timing:
    """What one contender took, over the rounds of a case."""

    seconds: list[float] = field(default_factory=list[float])
    forwards: list[float] = field(default_factory=list[float])  # cost in plain forward passes of the batch
    ratio: list[float] = field(default_factory=list[float])  # its seconds over pellucid's, in the same round
    agreement: tuple[float, str] = (1.0, "")  # lowest correlation of its maps with pellucid's, and the method's name


# --- contenders: each builds once, outside the clock, and is then called ---


def pellucid(module: nn.Module, methods: tuple[str, ...]) -> Explainer:
    import pellucid as pl

    model = pl.wrap(module)
    options: dict[str, Any] = {} if set(methods) & {"gradient", "integrated_gradients"} else {"layer": LAYER}
    if "integrated_gradients" in methods:
        options["steps"] = STEPS

    def explain(inputs: Tensor) -> Maps:
        heats = pl.attribute(model, inputs, list(methods), target=TARGET, **options)
        return {name: torch.as_tensor(heat.values) for name, heat in heats.items()}

    return explain


def captum_gradient(module: nn.Module, methods: tuple[str, ...]) -> Explainer:
    from captum.attr import Saliency

    saliency = Saliency(module)

    def explain(inputs: Tensor) -> Maps:
        watched = inputs.clone().requires_grad_()  # Captum warns when it has to do this itself
        return {methods[0]: saliency.attribute(watched, target=TARGET).amax(dim=1).detach()}

    return explain


def captum_integrated_gradients(module: nn.Module, methods: tuple[str, ...]) -> Explainer:
    from captum.attr import IntegratedGradients

    integrated = IntegratedGradients(module)
    return lambda inputs: {methods[0]: integrated.attribute(inputs, target=TARGET, n_steps=STEPS).sum(dim=1)}


def captum_grad_cam(module: nn.Module, methods: tuple[str, ...]) -> Explainer:
    from captum.attr import LayerAttribution, LayerGradCam

    cam = LayerGradCam(module, module.get_submodule(LAYER))

    def explain(inputs: Tensor) -> Maps:
        small: Any = cam.attribute(inputs, target=TARGET, relu_attributions=True)
        height, width = inputs.shape[-2:]
        full: Any = LayerAttribution.interpolate(small, (height, width), interpolate_mode="bilinear")
        return {methods[0]: full[:, 0]}

    return explain


def pytorch_grad_cam(module: nn.Module, methods: tuple[str, ...]) -> Explainer:
    import pytorch_grad_cam as peer
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    classes: dict[str, Any] = {
        "grad_cam": peer.GradCAM,
        "grad_cam_pp": peer.GradCAMPlusPlus,
        "eigen_cam": peer.EigenCAM,
        "layer_cam": peer.LayerCAM,
        "hires_cam": peer.HiResCAM,
        "xgrad_cam": peer.XGradCAM,
        "score_cam": peer.ScoreCAM,
        "ablation_cam": peer.AblationCAM,
    }

    def explain(inputs: Tensor) -> Maps:
        maps: Maps = {}
        for name in methods:  # built and closed each time: an open one leaves its hooks on the model
            with classes[name](model=module, target_layers=[module.get_submodule(LAYER)]) as cam:
                targets = [ClassifierOutputTarget(TARGET)] * len(inputs)
                maps[name] = torch.from_numpy(cam(input_tensor=inputs, targets=targets))
        return maps

    return explain


GRAD_CAM = {"pellucid": pellucid, "Captum": captum_grad_cam, "pytorch-grad-cam": pytorch_grad_cam}
CASES = (
    Case("grad_cam_1", "Grad-CAM, 1 picture", ("grad_cam",), 1, GRAD_CAM, rounds=25),
    Case("grad_cam_16", "Grad-CAM, 16 pictures", ("grad_cam",), 16, GRAD_CAM, rounds=7),
    Case(
        "gradient_16",
        "gradient, 16 pictures",
        ("gradient",),
        16,
        {"pellucid": pellucid, "Captum": captum_gradient},
        rounds=7,
    ),
    Case(
        "integrated_gradients_1",
        f"integrated gradients, {STEPS} steps, 1 picture",
        ("integrated_gradients",),
        1,
        {"pellucid": pellucid, "Captum": captum_integrated_gradients},
        rounds=7,
    ),
    Case(
        "cams_one_pass",
        "six one-pass CAMs together, 1 picture",
        ONE_PASS_CAMS,
        1,
        {"pellucid": pellucid, "pytorch-grad-cam": pytorch_grad_cam},
        rounds=15,
    ),
    Case(
        "cams_all",
        "eight CAM variants together (with ScoreCAM and AblationCAM), 1 picture",
        ALL_CAMS,
        1,
        {"pellucid": pellucid, "pytorch-grad-cam": pytorch_grad_cam},
        rounds=3,
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.memory:
        case, contender = options.memory
        print(json.dumps({"bytes": peak_bytes(_case(case), contender)}))
        return 0
    rows: list[str] = []
    for case in [_case(name) for name in options.cases] or CASES:
        print(f"{case.words} …", file=sys.stderr, flush=True)
        timings = race(case, rounds=options.rounds or case.rounds)
        memory = {contender: _memory_in_a_fresh_process(case, contender) for contender in case.contenders}
        rows += [_row(case, contender, timing, memory[contender]) for contender, timing in timings.items()]
    page = _page(rows)
    if options.out == "-":
        print(page)
    else:
        Path(options.out).write_text(page, encoding="utf-8")
        print(f"written: {options.out}", file=sys.stderr)
    return 0


def race(case: Case, *, rounds: int) -> dict[str, Timing]:
    """Every contender once a round, in turn; who begins changes from round to round."""
    inputs = _inputs(case.pictures)
    plain = _network()
    explainers = {name: build(_network(), case.methods) for name, build in case.contenders.items()}
    timings = {name: Timing() for name in explainers}
    ours = explainers["pellucid"](inputs)
    for name, explain in explainers.items():  # the warm-up is also the proof that all answer the same question
        timings[name].agreement = _agreement(ours, explain(inputs))
    _plain_forward(plain, inputs)
    names = list(explainers)
    for number in range(rounds):
        forward = statistics.median(_seconds(lambda: _plain_forward(plain, inputs)) for _ in range(3))
        turn = names[number % len(names) :] + names[: number % len(names)]
        taken = {name: _seconds(lambda name=name: explainers[name](inputs)) for name in turn}
        for name, seconds in taken.items():
            timings[name].seconds.append(seconds)
            timings[name].forwards.append(seconds / forward)
            timings[name].ratio.append(seconds / taken["pellucid"])
    return timings


def peak_bytes(case: Case, contender: str) -> int | None:
    """The highest resident size during one call less that before it; None where the system does not tell."""
    inputs = _inputs(case.pictures)
    explain = case.contenders[contender](_network(), case.methods)
    _plain_forward(_network(), inputs)
    explain(_inputs(1))  # imports and buffers of the library itself
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # else the call reuses what the warm-up left, and seems to need nothing
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back
    except OSError:
        return None
    explain(inputs)
    return max(0, _resident("VmHWM") - before)


# --- below: parts ---


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed and memory of pellucid beside Captum and pytorch-grad-cam.")
    parser.add_argument("--cases", nargs="*", default=[], help=f"of {', '.join(case.name for case in CASES)}")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of every case, instead of each case's own number")
    parser.add_argument("--out", default=str(RESULTS), help="the page to write; - prints it")
    parser.add_argument("--memory", nargs=2, metavar=("CASE", "CONTENDER"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _case(name: str) -> Case:
    table = {case.name: case for case in CASES}
    if name not in table:
        raise SystemExit(f"There is no case {name!r}. There are: {', '.join(table)}.")
    return table[name]


def _network() -> nn.Module:
    """ResNet-18 with random weights from a seed: speed does not depend on what was learned."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return resnet18(weights=None).eval()


def _inputs(pictures: int) -> Tensor:
    return torch.randn(pictures, 3, 224, 224, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def _plain_forward(network: nn.Module, inputs: Tensor) -> None:
    network(inputs)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _agreement(ours: Maps, theirs: Maps) -> tuple[float, str]:
    """The lowest correlation over methods and pictures, and whose it is.

    Peers scale and shift their maps for display, which correlation ignores, and cut what is negative, so that ours is
    cut too where theirs has nothing below zero.
    """
    lowest = (1.0, "")
    for name in ours:
        for mine, other in zip(ours[name].detach().float(), theirs[name].detach().float(), strict=True):
            cut = mine.clamp(min=0) if other.min() >= 0 else mine
            correlation = float(torch.corrcoef(torch.stack([cut.flatten(), other.flatten()]))[0, 1])
            lowest = min(lowest, (correlation, name))
    return lowest


def _memory_in_a_fresh_process(case: Case, contender: str) -> int | None:
    command = [sys.executable, __file__, "--memory", case.name, contender]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])["bytes"]


def _resident(entry: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(entry):
            return int(line.split()[1]) * 1024
    raise OSError(f"{entry} is not reported here")


def _row(case: Case, contender: str, timing: Timing, memory: int | None) -> str:
    ratio = "1" if contender == "pellucid" else f"{statistics.median(timing.ratio):.2f}"
    if contender != "pellucid" and statistics.median(timing.ratio) < 1:
        ratio = f"**{ratio}**"  # a peer that is faster stays in sight until that is mended
    spread = "" if contender == "pellucid" else f" ({min(timing.ratio):.2f} to {max(timing.ratio):.2f})"
    correlation, lowest = timing.agreement
    agreement = f"{correlation:.4f} ({lowest})" if len(case.methods) > 1 and lowest else f"{correlation:.4f}"
    megabytes = "–" if memory is None else f"{memory / 2**20:.0f}"
    return (
        f"| {case.words} | {contender} | {ratio}{spread} | {statistics.median(timing.forwards):.1f} "
        f"| {megabytes} | {agreement} | {len(timing.ratio)} |"
    )


def _page(rows: Sequence[str]) -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pellucid", "captum", "grad-cam", "torch"))
    return "\n".join(
        [
            "# Speed beside the peers",
            "",
            "Made by `make bench`. ResNet-18 at 224 × 224 on the CPU, layer `layer4`, target class "
            f"{TARGET}, {torch.get_num_threads()} thread(s) on {os.cpu_count()} cores, Python "
            f"{platform.python_version()}, {libraries}.",
            "",
            "- **time / pellucid's**: seconds over pellucid's in the same round, median over the rounds (least to "
            "most). Above 1: pellucid is faster; a peer that is faster stands in bold.",
            "- **plain forwards**: seconds over those of one plain forward pass of the same batch, median.",
            "- **peak MiB**: highest resident memory during one call less that before it, in a fresh process.",
            "- **agrees**: lowest correlation of a map with pellucid's map of the same picture and method (in brackets "
            "whose).",
            "",
            "| case | library | time / pellucid's | plain forwards | peak MiB | agrees | rounds |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
