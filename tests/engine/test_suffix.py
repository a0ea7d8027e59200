"""What follows a layer, run on its own: exactly what the whole model gives with that layer's output replaced."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from pellucid.engine import Ablate, Add, Evidence, Replace, look
from pellucid.engine.recording import Wanted, record
from pellucid.subject import VisionModel, wrap
from pellucid.values import Class, Tail, Unit
from tests.guests import unchanged
from tests.nets import ACTIVATIONS, Shared, TinyViT, Twin

SIZE = (13, 17)
POINTS = 6


def pictures(count: int, size: tuple[int, int] = SIZE, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def changed_activations(activation: Tensor, count: int = POINTS) -> list[Tensor]:
    """Half of the channels silenced and noise everywhere, another half each time."""
    generator = torch.Generator().manual_seed(2)
    shown = [(torch.rand(activation.shape[:2], generator=generator) < 0.5)[:, :, None, None] for _ in range(count)]
    noise = [torch.randn(activation.shape, generator=generator) * activation.std() for _ in range(count)]
    return [activation * part + 0.3 * one for part, one in zip(shown, noise, strict=True)]


def by_the_whole_model(evidence: Evidence, layer: str, points: list[Tensor]) -> Tensor:
    edit = Replace(evidence.layers[layer], torch.cat(points))
    inputs, targets = evidence.inputs.repeat(len(points), 1, 1, 1), evidence.targets * len(points)
    return record(evidence.model, inputs, targets, Wanted(), [edit]).scores.view(len(points), -1)


def compare(model: VisionModel, layer: str, inputs: Tensor, target: object = 1, within: float = 1e-6) -> Evidence:
    """Both ways differ by at most `within` of the largest score, and the changes are felt."""
    evidence = look(model, inputs, target)
    points = changed_activations(evidence.activation(layer))
    found = torch.stack(list(evidence.tail_scores(layer, iter(points))))
    expected = by_the_whole_model(evidence, layer, points)
    error = float((found - expected).abs().max() / expected.abs().max())
    assert error <= within, f"{layer}: {error:.1e} of the largest score"
    return evidence


def alone(evidence: Evidence, layer: str) -> bool:
    """Whether what follows the layer did run on its own."""
    return evidence._tails[layer] is not None and not evidence.notes


# -- kinds of model -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("layer", ["first", "norm", "second"])
def test_every_kind_of_relu_in_place_or_not(kind: str, layer: str) -> None:
    assert alone(compare(wrap(Twin(kind), input_size=SIZE), layer, pictures(2)), layer)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_any_number_of_pictures(count: int) -> None:
    model = wrap(TinyViT(), input_size=(12, 16))
    assert alone(compare(model, "blocks.0", pictures(count, (12, 16))), "blocks.0")


@pytest.mark.parametrize("address", ["conv#1", "conv#2"])
def test_each_call_of_a_reused_module(address: str) -> None:
    assert alone(compare(wrap(Shared(), input_size=SIZE), address, pictures(2), 0), address)


def test_bfloat16() -> None:
    evidence = compare(wrap(Twin().bfloat16(), input_size=SIZE), "first", pictures(2), within=1e-2)
    assert alone(evidence, "first")


class Branching(nn.Module):
    """A stem, a middle that is changed, and a way around it; `join` says how they meet."""

    def __init__(self, join: Callable[[Tensor, Tensor, nn.Module], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.stem, self.middle = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.side, self.head = nn.Conv2d(6, 6, 1), nn.Linear(6, 4)
        self.gate = nn.Linear(6, 6)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(x).relu()
        self.memory = torch.zeros_like(stem)
        return self.head(self.join(stem, self.middle(stem), self).flatten(2).mean(2))


def added_into_the_side(stem: Tensor, middle: Tensor, net: nn.Module) -> Tensor:
    side = net.side(stem)
    side += middle
    return side.relu_()


def skip_that_changes_later(stem: Tensor, middle: Tensor, net: nn.Module) -> Tensor:
    stem = stem + 1
    once = middle + stem
    stem.mul_(-2)  # what was read before must stay what it was
    return once + stem.square()


def squeezed_and_excited(stem: Tensor, middle: Tensor, net: nn.Module) -> Tensor:
    weights = net.gate(middle.mean((2, 3))).sigmoid()
    return stem + middle * weights[:, :, None, None]


def filled_piece_by_piece(stem: Tensor, middle: Tensor, net: nn.Module) -> Tensor:
    whole = stem.new_zeros(len(stem), 6, *stem.shape[2:])
    whole[:, :2], whole[:, 2:] = middle[:, :2], stem[:, 2:]
    return whole


def joined_by_parts(stem: Tensor, middle: Tensor, net: nn.Module) -> Tensor:
    one, other = torch.cat([middle, stem], dim=1).chunk(2, dim=1)
    return one.roll(2, dims=3) + torch.einsum("bchw,bcij->bchw", other, middle).tanh()


def rolled_around_the_pictures(stem: Tensor, middle: Tensor, net: nn.Module) -> Tensor:
    return middle.reshape(len(stem) * 3, 2, -1).softmax(1).reshape(len(stem), 6, -1) * stem.flatten(2)


def places_first(stem: Tensor, middle: Tensor, net: nn.Module) -> Tensor:
    places = (middle + stem).flatten(2).permute(2, 0, 1)  # place, picture, channel
    side = stem.flatten(2).permute(2, 0, 1)
    return (places.cumsum(0) * side).permute(1, 2, 0)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "join",
    [
        added_into_the_side, skip_that_changes_later, squeezed_and_excited, filled_piece_by_piece, joined_by_parts,
        rolled_around_the_pictures, places_first,
    ],
)  # fmt: skip
def test_ways_around_the_layer(join: Callable[[Tensor, Tensor, nn.Module], Tensor], count: int) -> None:
    evidence = compare(wrap(Branching(join), input_size=SIZE), "middle", pictures(count))
    assert alone(evidence, "middle"), evidence.notes


ZOO: dict[str, tuple[str, Callable[..., nn.Module], tuple[int, int], list[str]]] = {}


def zoo(name: str, package: str, size: tuple[int, int], layers: str, **settings: object) -> None:
    def build() -> nn.Module:
        if package == "torchvision":
            return pytest.importorskip("torchvision").models.get_model(name, num_classes=5, **settings)
        return pytest.importorskip("timm").create_model(name, num_classes=5, **settings)

    ZOO[name] = (package, build, size, layers.split())


zoo("resnet18", "torchvision", (64, 72), "layer4 layer2 layer4.0.relu#2")
zoo("densenet121", "torchvision", (64, 64), "features.denseblock4.denselayer9.conv2")
zoo("vgg11", "torchvision", (64, 64), "features.8")
zoo("mobilenet_v3_small", "torchvision", (65, 64), "features.6.block.2 features.10")
zoo("convnext_tiny", "torchvision", (64, 64), "features.5.2.block features.7")
zoo("swin_t", "torchvision", (64, 96), "features.5.1.norm1 features.7.0")
zoo("googlenet", "torchvision", (64, 64), "inception4c.branch2 inception5a", aux_logits=False, init_weights=False)
zoo("vit_tiny_patch16_224", "timm", (32, 48), "blocks.1.norm1 blocks.0", img_size=(32, 48), depth=2)
zoo("deit_tiny_distilled_patch16_224", "timm", (32, 32), "blocks.0", img_size=32, depth=2)
zoo("vit_small_patch14_reg4_dinov2", "timm", (42, 42), "blocks.0.mlp", img_size=42, depth=2)


@pytest.mark.parametrize("name", ZOO)
def test_families_of_classifiers(name: str) -> None:
    _, build, size, layers = ZOO[name]
    torch.manual_seed(0)
    net = build().eval()
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    model = wrap(net, input_size=size)
    for layer in layers:
        evidence = compare(model, layer, pictures(2, size), within=3e-6)
        assert alone(evidence, layer), evidence.notes


@pytest.mark.parametrize("spec", ["testbed:cnn", "testbed:vit"])
def test_the_testbeds_networks(spec: str) -> None:
    import pellucid as pl

    model = pl.load(spec)
    layer = model.layers.default
    assert layer is not None
    inputs = torch.rand(2, 3, *(model.input_size or (64, 64)), generator=torch.Generator().manual_seed(3))
    assert alone(compare(model, layer.name, inputs), layer.name)


# -- targets, batches, memory, passes -------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "read"), [("first", "second"), ("first", "first"), ("second", "first")])
def test_targets_inside_the_model(layer: str, read: str) -> None:
    """After the layer, at it, and before it, where no change is felt."""
    evidence = compare(wrap(Twin(), input_size=SIZE), layer, pictures(2), [Unit(read, 3), Class(2)])
    assert alone(evidence, layer)
    assert evidence.passes.cost < 1 + 1.5 + POINTS


@pytest.mark.parametrize("memory", [1e-5, 1e-4, None])
def test_results_keep_their_order_whatever_the_memory(memory: float | None) -> None:
    evidence = look(wrap(Twin(), input_size=SIZE), pictures(2), 1, memory=memory)
    points = changed_activations(evidence.activation("second"), 11)
    found = torch.stack(list(evidence.tail_scores("second", points)))
    assert (found - by_the_whole_model(evidence, "second", points)).abs().max() < 1e-6


def test_a_planned_suffix_costs_one_forward_its_proof_and_its_share() -> None:
    model = wrap(Twin(), input_size=SIZE)
    for count, proof in ((2, 1.5), (2, 0), (5, 0)):  # two pictures are proved with three; then it is known
        evidence = look(model, pictures(count), 1, needs=[Tail], layers=["second"])
        points = changed_activations(evidence.activation("second"))
        list(evidence.tail_scores("second", points))
        tail = evidence._tails["second"]
        assert tail is not None and 0 < tail.share < 0.7
        assert evidence.passes.forwards == pytest.approx(1 + proof + POINTS * tail.share)


def test_a_suffix_asked_for_later_costs_one_forward_more() -> None:
    model = wrap(Twin(), input_size=SIZE)
    list(look(model, pictures(2), 1).tail_scores("second", [torch.zeros(2, 8, 7, 9)] * POINTS))
    evidence = look(model, pictures(2), 1)
    evidence.gradient("second")
    list(evidence.tail_scores("second", changed_activations(evidence.activation("second"))))
    tail = evidence._tails["second"]
    assert tail is not None and evidence.passes.forwards == pytest.approx(2 + POINTS * tail.share)


def test_two_or_three_changes_are_not_worth_a_proof() -> None:
    evidence = look(wrap(Twin(), input_size=SIZE), pictures(2), 1)
    points = changed_activations(evidence.activation("second"), 3)
    found = torch.stack(list(evidence.tail_scores("second", points)))
    assert (found - by_the_whole_model(evidence, "second", points)).abs().max() < 1e-6
    assert evidence.passes.forwards == 1 + 3 and not evidence._tails


def test_new_weights_give_new_answers() -> None:
    net = Twin()
    model = wrap(net, input_size=SIZE)
    compare(model, "first", pictures(2))
    with torch.no_grad():
        net.second.weight.mul_(-1)
        net.head.weight = nn.Parameter(net.head.weight.flip(0))
    evidence = compare(model, "first", pictures(2))
    assert alone(evidence, "first") and evidence.passes.forwards < 1 + POINTS


def test_changes_of_one_layer_again_and_again_use_its_suffix() -> None:
    evidence = look(wrap(Twin(), input_size=SIZE), pictures(2), 1)
    layer, before = evidence.layers["second"], 0.0
    for channel in range(8):
        before = evidence.passes.forwards
        edit = Ablate(layer, [channel]) if channel % 2 else Add(layer, torch.eye(8)[channel])
        with evidence.edited(edit) as changed:
            found, outputs = changed.score(), changed.output()
        expected = record(evidence.model, evidence.inputs, evidence.targets, Wanted(), [edit])
        assert (found - expected.scores).abs().max() < 1e-6
        assert (outputs - expected.outputs).abs().max() < 1e-6
    assert evidence.passes.forwards - before < 0.7


# -- where it cannot be ---------------------------------------------------------------------------------------------


def made_before_the_layer(stem: Tensor, middle: Tensor, net: nn.Module) -> Tensor:
    net.memory[:, :2] = middle[:, :2]
    return net.memory


def asks_its_values(stem: Tensor, middle: Tensor, net: nn.Module) -> Tensor:
    return middle if middle.mean() > 0 else -middle


def picks_what_is_positive(stem: Tensor, middle: Tensor, net: nn.Module) -> Tensor:
    middle = middle + 0
    middle[middle < 0] = 0
    count = middle[middle > 0].numel()
    return middle / count


def goes_through_numpy(stem: Tensor, middle: Tensor, net: nn.Module) -> Tensor:
    return torch.from_numpy(middle.detach().numpy() ** 2) + 0 * middle


def windows_before_pictures(stem: Tensor, middle: Tensor, net: nn.Module) -> Tensor:
    """[window picture]: what is held for one picture does not lie together."""
    halves = torch.cat(stem[..., :8].chunk(2, dim=-1))
    others = torch.cat(middle[..., :8].chunk(2, dim=-1))
    return torch.cat((halves * others).chunk(2), dim=-1)


REASONS = {
    made_before_the_layer: "piece by piece",
    asks_its_values: "depends on values",
    picks_what_is_positive: "depends on values",
    goes_through_numpy: "differs from the whole model",
    windows_before_pictures: "differs from the whole model",
}


@pytest.mark.parametrize("join", REASONS)
def test_where_it_cannot_be_the_whole_model_runs_and_a_note_says_why(
    join: Callable[[Tensor, Tensor, nn.Module], Tensor],
) -> None:
    model = wrap(Branching(join), input_size=SIZE)
    for _ in range(2):  # the second time it is known
        evidence = compare(model, "middle", pictures(1))
        assert evidence._tails["middle"] is None
        assert len(evidence.notes) == 1 and REASONS[join] in evidence.notes[0], evidence.notes
        assert "middle" in evidence.notes[0]


# -- the model is a guest -------------------------------------------------------------------------------------------


def test_nothing_stays_behind() -> None:
    net = Twin("in-place module").train()
    with unchanged(net):
        compare(wrap(net, input_size=SIZE), "first", pictures(2))


def test_an_exception_leaves_no_trace() -> None:
    class Boom(Exception):
        pass

    def target(_output: Tensor) -> Tensor:
        if stop:
            raise Boom
        return _output[:, 0]

    stop, net = False, Twin("in-place module")
    evidence = look(wrap(net, input_size=SIZE), pictures(2), target)
    points = changed_activations(evidence.activation("first"))
    with unchanged(net):
        stream = evidence.tail_scores("first", points)
        next(stream)
        stop = True
        with pytest.raises(Boom):
            list(evidence.tail_scores("first", points))


def test_the_activations_given_stay_as_they_are() -> None:
    evidence = look(wrap(Twin("in-place functional"), input_size=SIZE), pictures(1), 1)
    points = changed_activations(evidence.activation("first"))
    copies = [point.clone() for point in points]
    list(evidence.tail_scores("first", points)), list(evidence.tail_scores("first", points))
    assert all(torch.equal(point, copy) for point, copy in zip(points, copies, strict=True))


def test_threads_on_one_module_give_the_serial_answers() -> None:
    model = wrap(Branching(added_into_the_side), input_size=SIZE)

    def explain(seed: int) -> Tensor:
        evidence = look(model, pictures(1, seed=seed), 1)
        return torch.stack(list(evidence.tail_scores("middle", changed_activations(evidence.activation("middle")))))

    serial = [explain(seed) for seed in range(6)]
    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(explain, range(6)), serial, strict=True):
            assert torch.equal(found, expected)


def test_within_autocast_and_no_grad() -> None:
    model = wrap(Twin(), input_size=SIZE)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert alone(compare(model, "first", pictures(2)), "first")
