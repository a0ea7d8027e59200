"""How fast and how small pellucid is beside Captum and pytorch-grad-cam, on the same model and the same pictures.

    make bench                                  all cases, writes benchmarks/RESULTS.md
    make bench ARGS="--cases grad_cam_1 --rounds 3 --out -"
    make bench ARGS="--cases cams_all"          measures these cases again; the other rows of RESULTS.md stay

Seconds of one machine say little about another, so everything is a ratio. In each round of a case every contender
runs once, in turn, in one process with one thread; a ratio is taken inside a round and the median over the rounds is
reported. The unit of cost is the plain forward pass of the same batch without gradients, the median of three in the
same round. Peak memory comes from a fresh process per contender: the highest resident size during one call, less that
before the call, after a forward pass and the first method have warmed up the allocator. The maps are compared too, so
that nobody is fast at something else.

Seconds are those that the process's one thread spent on the core, so that others on the machine do not count. They
still share its caches, so how busy it was stands beside each case.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
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
from typing import Any, TypeVar

os.environ["TQDM_DISABLE"] = "1"  # the peers' progress bars

import torch
from torch import Tensor, nn

TARGET = 207
STEPS = 50
CURVE_STEPS = 8
FLOOR = "the plain passes alone"
ONE_PASS_CAMS = ("grad_cam", "grad_cam_pp", "eigen_cam", "layer_cam", "hires_cam", "xgrad_cam")
ALL_CAMS = (*ONE_PASS_CAMS, "score_cam", "ablation_cam")
RESULTS = Path(__file__).with_name("RESULTS.md")

Answer = TypeVar("Answer")
Maps = dict[str, Tensor]  # method -> [batch height width]
Explainer = Callable[[Tensor, Sequence[str]], Maps]  # pictures and methods


@dataclass(frozen=True)
class Case:
    """One question asked of every contender: which methods, of how many pictures.

    contenders: by name, what makes an explainer of a network and a layer
    """

    name: str
    words: str
    methods: tuple[str, ...]
    pictures: int
    contenders: dict[str, Callable[[nn.Module, str], Explainer]]
    rounds: int
    network: str = "resnet18"
    layer: str = "layer4"


@dataclass
class Timing:
    """What one contender took, over the rounds of a case."""

    seconds: list[float] = field(default_factory=list[float])
    forwards: list[float] = field(default_factory=list[float])  # cost in plain forward passes of the batch
    ratio: list[float] = field(default_factory=list[float])  # its seconds over pellucid's, in the same round
    agreement: tuple[float, str] = (1.0, "")  # lowest correlation of its maps with pellucid's, and the method's name
    load: list[float] = field(default_factory=list[float])  # of the whole machine, in processes that want to run


# --- contenders: each builds once, outside the clock, and is then called ---


def pellucid(module: nn.Module, layer: str) -> Explainer:
    import pellucid as pl

    model = pl.wrap(module)

    def explain(inputs: Tensor, methods: Sequence[str]) -> Maps:
        options: dict[str, Any] = {} if {*methods} & {"gradient", "integrated_gradients"} else {"layer": layer}
        if "integrated_gradients" in methods:
            options["steps"] = STEPS
        heats = pl.attribute(model, inputs, list(methods), target=TARGET, **options)
        return {name: torch.as_tensor(heat.values) for name, heat in heats.items()}

    return explain


def captum_gradient(module: nn.Module, _layer: str) -> Explainer:
    from captum.attr import Saliency

    saliency = Saliency(module)

    def explain(inputs: Tensor, methods: Sequence[str]) -> Maps:
        watched = inputs.clone().requires_grad_()  # Captum warns when it has to do this itself
        return {methods[0]: saliency.attribute(watched, target=TARGET).amax(dim=1).detach()}

    return explain


def captum_integrated_gradients(module: nn.Module, _layer: str) -> Explainer:
    from captum.attr import IntegratedGradients

    integrated = IntegratedGradients(module)

    def explain(inputs: Tensor, methods: Sequence[str]) -> Maps:
        return {methods[0]: integrated.attribute(inputs, target=TARGET, n_steps=STEPS).sum(dim=1)}

    return explain


def captum_grad_cam(module: nn.Module, layer: str) -> Explainer:
    from captum.attr import LayerAttribution, LayerGradCam

    cam = LayerGradCam(module, module.get_submodule(layer))

    def explain(inputs: Tensor, methods: Sequence[str]) -> Maps:
        small: Any = cam.attribute(inputs, target=TARGET, relu_attributions=True)
        height, width = inputs.shape[-2:]
        full: Any = LayerAttribution.interpolate(small, (height, width), interpolate_mode="bilinear")
        return {methods[0]: full[:, 0]}

    return explain


def pytorch_grad_cam(module: nn.Module, layer: str) -> Explainer:
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

    def explain(inputs: Tensor, methods: Sequence[str]) -> Maps:
        maps: Maps = {}
        for name in methods:  # built and closed each time: an open one leaves its hooks on the model
            with classes[name](model=module, target_layers=[module.get_submodule(layer)]) as cam:
                targets = [ClassifierOutputTarget(TARGET)] * len(inputs)
                maps[name] = torch.from_numpy(cam(input_tensor=inputs, targets=targets))
        return maps

    return explain


def pellucid_curves(module: nn.Module, _layer: str) -> Explainer:
    """Deletion and insertion of one map of every picture and of the three controls."""
    import pellucid as pl

    model = pl.wrap(module)
    heats: dict[int, Any] = {}

    def explain(inputs: Tensor, methods: Sequence[str]) -> Maps:
        if len(inputs) not in heats:  # made in the warm-up, off the clock
            heats[len(inputs)] = pl.attribute(model, inputs, "gradient", target=TARGET)
        pl.evaluate(model, inputs, heats[len(inputs)], list(methods), steps=CURVE_STEPS, fills=("mean",))
        return {methods[0]: torch.as_tensor(heats[len(inputs)].values)}

    return explain


def plain_passes(module: nn.Module, layer: str) -> Explainer:
    """As many pictures through the plain network, in batches as large, as pellucid's curves send through it."""
    batches: dict[int, list[int]] = {}
    measured = pellucid_curves(module, layer)

    def explain(inputs: Tensor, methods: Sequence[str]) -> Maps:
        if len(inputs) not in batches:  # counted in the warm-up, off the clock
            measured(inputs, methods)
            sizes: list[int] = []
            hook = module.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
            measured(inputs, methods)
            hook.remove()
            batches[len(inputs)] = sizes
        with torch.no_grad():
            for size in batches[len(inputs)]:
                module(inputs[:1].expand(size, -1, -1, -1).contiguous())
        return {methods[0]: torch.zeros(len(inputs), *inputs.shape[-2:])}

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
        "ablation_cam_1",
        "AblationCAM, 512 channels, 1 picture",
        ("ablation_cam",),
        1,
        {"pellucid": pellucid, "pytorch-grad-cam": pytorch_grad_cam},
        rounds=3,
    ),
    Case(
        "ablation_cam_vit",
        "AblationCAM, 192 channels, 1 picture, ViT-Ti/16, last block",
        ("ablation_cam",),
        1,
        {"pellucid": pellucid},
        rounds=5,
        network="vit_tiny_patch16_224",
        layer="blocks.11.norm1",
    ),
    Case(
        "curves_64",
        f"deletion and insertion, {CURVE_STEPS} steps, 64 maps (16 pictures, one map and three controls each)",
        ("deletion", "insertion"),
        16,
        {"pellucid": pellucid_curves, FLOOR: plain_passes},
        rounds=3,
    ),
    # ScoreCAM asks the whole model 512 times, whoever makes it: two rounds are minutes.
    Case(
        "cams_all",
        "eight CAM variants together (with ScoreCAM and AblationCAM), 1 picture",
        ALL_CAMS,
        1,
        {"pellucid": pellucid, "pytorch-grad-cam": pytorch_grad_cam},
        rounds=2,
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.memory:
        case, contender = options.memory
        print(json.dumps({"bytes": peak_bytes(_case(case), contender)}))
        return 0
    torch.set_num_threads(1)
    page = Path(options.out)
    table = _rows_of(page) if options.out != "-" and page.exists() else {}
    for case in [_case(name) for name in options.cases] or CASES:
        print(f"{case.words} …", file=sys.stderr, flush=True)
        timings = race(case, rounds=options.rounds or case.rounds)
        memory = {contender: _memory_in_a_fresh_process(case, contender) for contender in case.contenders}
        table[case.words] = [_row(case, name, timing, memory[name]) for name, timing in timings.items()]
        if options.out != "-":  # after each case: who stops here keeps what was measured
            page.write_text(_page(table), encoding="utf-8")
    if options.out == "-":
        print(_page(table))
    else:
        print(f"written: {options.out}", file=sys.stderr)
    return 0


def race(case: Case, *, rounds: int) -> dict[str, Timing]:
    """Every contender once a round, in turn; who begins changes from round to round."""
    inputs = _inputs(case.pictures)
    plain = _network(case.network)
    explainers = {name: build(_network(case.network), case.layer) for name, build in case.contenders.items()}
    timings = {name: Timing() for name in explainers}
    for name, explain in explainers.items():
        _warm_up(case, name, explain, inputs)
    _plain_forward(plain, inputs)
    names = list(explainers)
    for number in range(rounds):
        forward = statistics.median(_seconds(lambda: _plain_forward(plain, inputs)) for _ in range(3))
        turn = names[number % len(names) :] + names[: number % len(names)]
        taken = {name: _timed(lambda name=name: explainers[name](inputs, case.methods)) for name in turn}
        for name, (seconds, maps) in taken.items():
            timings[name].seconds.append(seconds)
            timings[name].forwards.append(seconds / forward)
            timings[name].ratio.append(seconds / taken["pellucid"][0])
            timings[name].load.append(os.getloadavg()[0])
            agreement = _agreement(taken["pellucid"][1], maps)  # that all answer the same question
            timings[name].agreement = min(timings[name].agreement, agreement)
    return timings


def peak_bytes(case: Case, contender: str) -> int | None:
    """The highest resident size during one call less that before it; None where the system does not tell."""
    inputs = _inputs(case.pictures)
    explain = case.contenders[contender](_network(case.network), case.layer)
    _plain_forward(_network(case.network), inputs)
    _warm_up(case, contender, explain, _inputs(1))
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # else the call reuses what the warm-up left, and seems to need nothing
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back
    except OSError:
        return None
    explain(inputs, case.methods)
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


def _network(name: str) -> nn.Module:
    """Random weights from a seed: speed does not depend on what was learned."""
    torch.manual_seed(0)
    if name.startswith("vit"):
        import timm

        return timm.create_model(name, pretrained=False).eval()
    from torchvision.models import get_model

    return get_model(name, weights=None).eval()


def _inputs(pictures: int) -> Tensor:
    return torch.randn(pictures, 3, 224, 224, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def _plain_forward(network: nn.Module, inputs: Tensor) -> None:
    network(inputs)


def _warm_up(case: Case, contender: str, explain: Explainer, inputs: Tensor) -> None:
    """Imports and buffers of the library itself; of many methods the first, for the dear ones take minutes."""
    explain(inputs, case.methods if "deletion" in case.methods else case.methods[:1])
    if contender == "pellucid" and len(case.methods) > 1 and "ablation_cam" in case.methods:
        explain(inputs, ("ablation_cam",))  # what follows a layer is proved once for a model, layer and size


def _seconds(work: Callable[[], object]) -> float:
    return _timed(work)[0]


def _timed(work: Callable[[], Answer]) -> tuple[float, Answer]:
    start = time.process_time()
    answer = work()
    return time.process_time() - start, answer


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
    if contender not in ("pellucid", FLOOR) and statistics.median(timing.ratio) < 1:
        ratio = f"**{ratio}**"  # a peer that is faster stays in sight until that is mended
    spread = "" if contender == "pellucid" else f" ({min(timing.ratio):.2f} to {max(timing.ratio):.2f})"
    correlation, lowest = (math.nan, "") if contender == FLOOR else timing.agreement
    agreement = f"{correlation:.4f} ({lowest})" if len(case.methods) > 1 and lowest else f"{correlation:.4f}"
    agreement = "–" if math.isnan(correlation) else agreement
    megabytes = "–" if memory is None else f"{memory / 2**20:.0f}"
    return (
        f"| {case.words} | {contender} | {ratio}{spread} | {statistics.median(timing.forwards):.2f} "
        f"| {megabytes} | {agreement} | {len(timing.ratio)} | {statistics.median(timing.load):.1f} |"
    )


def _rows_of(page: Path) -> dict[str, list[str]]:
    """The rows of a page written before, by case; those that another version laid out otherwise are left out."""
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    known, table = {case.words for case in CASES}, dict[str, list[str]]()
    for row in rows:
        words = row.split(" | ")[0].removeprefix("| ")
        if words in known and row.count("|") == _COLUMNS.count("|"):
            table.setdefault(words, []).append(row)
    return table


_COLUMNS = "| case | library | time / pellucid's | plain forwards | peak MiB | agrees | rounds | load |"


def _page(table: dict[str, list[str]]) -> str:
    rows = [row for case in CASES for row in table.get(case.words, [])]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pellucid", "captum", "grad-cam", "torch"))
    return "\n".join(
        [
            "# Speed beside the peers",
            "",
            "Made by `make bench`. ResNet-18 with random weights at 224 × 224 on the CPU, layer `layer4`, unless the "
            f"case says otherwise; target class {TARGET}, one thread on one of {os.cpu_count()} cores, Python "
            f"{platform.python_version()}, {libraries}.",
            "",
            "- **time / pellucid's**: seconds on the core over pellucid's in the same round, median over the rounds "
            "(least to most). Above 1: pellucid is faster; a peer that is faster stands in bold.",
            "- **plain forwards**: seconds over those of one plain forward pass of the same batch, median.",
            f"- **load**: processes that wanted to run during the case, of which {os.cpu_count()} could.",
            "- **peak MiB**: highest resident memory during one call less that before it, in a fresh process.",
            "- **agrees**: lowest correlation of a map with pellucid's map of the same picture and method (in brackets "
            "whose).",
            "",
            _COLUMNS,
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
