"""Pictures of the measures of dictionaries, of probe pictures and of segments."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float, Int
from measure_charts import CONTROL, OTHER, RIGHT, Bar, Bars, Curves, Line, sheet
from measures_of_concepts import DOTS, Vectors, birds, orthonormal, planted_sums
from torch import Tensor

import pellucid as pl
from pellucid.trust import concepts

VALUES = 3  # of each of the two attributes
Table = Int[Tensor, "item attribute"]


def dictionary_approximation() -> bytes:
    world = known_world()
    strange = orthonormal(2, 12, seed=9)
    found = {
        "the dictionary that made them": world.activations.clone(),
        "least squares over the attributes": concepts.least_squares_dictionary(
            world.activations, world.attributes).reconstruct(world.attributes),
        "two random directions": world.activations @ strange.T @ strange,
    }  # fmt: skip
    held = {name: concepts.approximation(world.activations, made, world.right_by()) for name, made in found.items()}
    first = next(iter(held.values()))
    kinds = (RIGHT, RIGHT, OTHER)
    charts = [
        Bars([
            *(Bar.of(name, getattr(one, said), kind) for (name, one), kind in zip(held.items(), kinds, strict=True)),
            Bar("another item's reconstruction", getattr(first, f"shuffled_{said}"), CONTROL),
        ], heading)
        for said, heading in (
            ("sufficiency", "Sufficiency: what the reconstruction keeps"),
            ("necessity", "Necessity: what is lost without it"),
        )
    ]  # fmt: skip
    return sheet(
        "How much of a task a reconstruction carries; higher is better",
        "300 items of two attributes with three values each, as sums of six directions in 12 channels.",
        charts, "Whiskers hold 95 %.",
    )  # fmt: skip


def edit_control() -> bytes:
    world = known_world()
    after = world.attributes.clone()
    after[:, 0] = (after[:, 0] + 1) % VALUES
    true = one_hot(after) @ world.atoms
    probes = concepts.AttributeProbes.fitted(world.activations, world.attributes)
    known = concepts.least_squares_dictionary(world.activations, world.attributes)
    both = after.clone()
    both[:, 1] = (both[:, 1] + 1) % VALUES
    edits = {
        "vectors of the known attributes": known.edit(
            world.activations, 0, world.attributes[:, 0], after[:, 0]),
        "one code where two are needed": concepts.swap_edit(
            world.activations, world.codes, one_hot(after), world.atoms, true, swaps=1),
        "an edit that moves the other one too": one_hot(both) @ world.atoms,
        "codes of a random dictionary": concepts.swap_edit(
            world.activations, world.codes, world.codes.roll(1, dims=0), orthonormal(6, 12, seed=8), true, swaps=6),
    }  # fmt: skip
    found = {
        name: concepts.edit_control(world.activations, edited, true, world.decide, attribute=0, probes=probes)
        for name, edited in edits.items()
    }
    first = next(iter(found.values()))
    kinds = (RIGHT, OTHER, OTHER, OTHER)
    control = [Bar.of(name, one.control, kind) for (name, one), kind in zip(found.items(), kinds, strict=True)]
    talk = [
        Bar.of(name, one.cross_talk, kind)
        for (name, one), kind in zip(found.items(), kinds, strict=True) if one.cross_talk
    ]  # fmt: skip
    control += [Bar("another item's edit", first.shuffled, CONTROL), Bar("no edit", first.untouched, CONTROL)]
    talk.append(Bar("another item's edit", first.shuffled_cross_talk, CONTROL))
    return sheet(
        "Can a dictionary change one thing, and nothing else?",
        "The first of two attributes is changed in 300 items; the true activations after the change are known.",
        [Bars(control, "Control, decided as after the true change: higher is better"),
         Bars(talk, "Cross-talk, other attributes that change too: lower is better")],
        "Whiskers hold 95 %.",
    )  # fmt: skip


def feature_meanings() -> bytes:
    _, codes, layer = planted_sums()
    single = codes.amax(dim=(2, 3))
    attributes = (single > 0).long()
    own = concepts.feature_meanings(single, attributes, union=1)
    dense = concepts.feature_meanings(layer.mean(dim=(2, 3)).relu(), attributes, union=1)
    rows = [
        Bar.of("units of one feature each", own.mean, RIGHT),
        Bar.of("channels that hold sums of several", dense.mean),
        Bar.drawn("attributes shuffled", own.shuffled),
    ]
    return sheet(
        "How well does a feature stand for one attribute? Higher is better",
        "Two layers of a planted net: the first has a unit per feature, the second 12 features as sums in 8 channels.",
        [Bars(rows, "F1 of the attribute that tells a unit's activity best, mean over units")], DOTS,
    )  # fmt: skip


def over_splitting() -> bytes:
    draw = torch.Generator().manual_seed(0)
    present = torch.randint(0, 2, (400,), generator=draw) == 1
    split = torch.nn.functional.one_hot(torch.randint(0, 4, (400,), generator=draw), 4).float() * present[:, None]
    found = {
        "one unit for all of it": (concepts.over_splitting(present[:, None].float(), present), RIGHT),
        "four units, each for a part": (concepts.over_splitting(split, present), OTHER),
    }
    shuffled = found["four units, each for a part"][0].shuffled
    units = [Bar(name, one.units, kind) for name, (one, kind) in found.items()]
    return sheet(
        "Into how many features has one thing been split? Best at 1",
        "One attribute in about half of 400 items. The second dictionary spreads it over four units.",
        [
            Bars([*units, Bar("presence shuffled", shuffled, CONTROL)], "Units that stand for a part", (0.0, 4.0)),
            Bars([Bar(name, one.best, kind) for name, (one, kind) in found.items()], "F1 of the best of them"),
            Bars([Bar(name, one.together, kind) for name, (one, kind) in found.items()], "F1 of all joined"),
        ],
    )  # fmt: skip


def feature_occlusion() -> bytes:
    ratios = (1, 2, 4, 8, 16)
    clean = concepts.feature_occlusion(four_corners, ratios=ratios, draws=2)
    lossy = concepts.feature_occlusion(one_direction, ratios=ratios, draws=2)
    places = list(range(len(ratios)))
    lines = [
        Line.of("a dictionary that knows both", clean.weak, RIGHT),
        Line.of("the first principal direction alone", lossy.weak),
        Line("presence shuffled", clean.shuffled, CONTROL),
    ]
    return sheet(
        "Is a weak attribute still found beside a strong one? Higher is better",
        "Toy activations: two attributes as directions with a cosine of .5, one of them longer.",
        [Curves(places, lines, "how many times longer the strong one is", "F1 of the weak attribute",
                list(zip(places, [f"{ratio}" for ratio in ratios], strict=True)))],
        "Bands hold 95 %.",
    )  # fmt: skip


def probe_set_agreement() -> bytes:
    one, vectors = importances(0, 200)
    found = {
        "the same 200 scenes again": ((one, vectors), RIGHT),
        "200 other scenes": (importances(200, 400), OTHER),
        "20 other scenes": (importances(200, 220), OTHER),
    }
    held = {
        name: (concepts.probe_set_agreement(one, other, top=3, vectors=(vectors, theirs)), kind)
        for name, ((other, theirs), kind) in found.items()
    }
    first = next(iter(held.values()))[0]
    shuffled = Bar("concepts shuffled", first.shuffled, CONTROL)
    return sheet(
        "Would other probe pictures have told the same? Higher is better",
        "What 11 concepts are worth to each species of the testbed's convolutional net, measured with two sets of "
        "scenes.",
        [
            Bars([*(Bar.of(name, one.overlap, kind) for name, (one, kind) in held.items()), shuffled],
                 "Share of the three strongest concepts that both name"),
            Bars([Bar.of(name, one.order, kind) for name, (one, kind) in held.items()], "Rank correlation of all"),
        ], "Whiskers hold 95 %.",
    )  # fmt: skip


def fidelity_by_count() -> bytes:
    scores = torch.randn(600, 40, generator=torch.Generator().manual_seed(0))
    decisions = (scores[:, 5] > 0).long() + 2 * (scores[:, 11] > 0).long()
    found = concepts.fidelity_by_count(scores, decisions, slack=0.03)
    places = list(range(len(found.counts)))
    lines = [
        Line.of("the most important concepts", found.fidelity, RIGHT),
        Line("as many drawn by chance", found.random, CONTROL),
    ]
    return sheet(
        "How many concepts must one read to foretell the model? Fewer is better",
        f"600 decisions that follow two of 40 concepts. Reading {found.enough} comes within .03 of reading all.",
        [Curves(places, lines, "concepts read", "Decisions foretold",
                list(zip(places, [f"{count}" for count in found.counts], strict=True)),
                mark=("shuffled decisions", found.shuffled))],
        "Bands hold 95 %.",
    )  # fmt: skip


def segment_agreement() -> bytes:
    model = pl.load("testbed:cnn")
    frames = pl.testbed.scenes(5, 16).frames()
    grey, black = (
        by_tile(pl.attribute(model, frames, "occlusion", baseline=fill, window=16, stride=16).one_channel)
        for fill in ("mean", "black")
    )
    layer, slope = (by_tile(pl.attribute(model, frames, name).one_channel) for name in ("layer_cam", "gradient"))
    others = {"occlusion asked again": grey, "LayerCAM": layer, "gradient": slope, "occlusion by black": black}
    found = {name: concepts.segment_agreement(grey, other, tops=(1, 3, 5)) for name, other in others.items()}
    first = next(iter(found.values()))
    kinds = (RIGHT, OTHER, OTHER, OTHER)
    return sheet(
        "How far do two explanations over the same segments agree?",
        "Occlusion of 16 tiles by the mean colour, against other maps of the testbed's convolutional net; 16 scenes.",
        [
            Bars([*(Bar.of(n, one.spearman, kind) for (n, one), kind in zip(found.items(), kinds, strict=True)),
                  Bar.of("tiles shuffled", first.shuffled, CONTROL)], "Rank correlation over all tiles"),
            Bars([*(Bar.of(n, one.tops[3].feature, kind) for (n, one), kind in zip(found.items(), kinds, strict=True)),
                  Bar("tiles shuffled", first.tops[3].shuffled, CONTROL)], "Share of the three strongest both name"),
        ], "Whiskers hold 95 %.",
    )  # fmt: skip


def segment_faithfulness() -> bytes:
    draw = torch.Generator().manual_seed(5)
    worth = torch.rand(40, 12, generator=draw) ** 3

    def answers(shown: Float[Tensor, "version segment"]) -> Float[Tensor, "version class"]:
        own = (worth.repeat(len(shown) // len(worth), 1) * shown).sum(dim=1)
        return torch.stack([own, torch.full_like(own, 1.2)], dim=1)

    noisy = worth + 0.3 * torch.randn(worth.shape, generator=draw)
    found = {
        "the worth itself": (concepts.segment_faithfulness(worth, answers), RIGHT),
        "the worth with noise added": (concepts.segment_faithfulness(noisy, answers), OTHER),
    }
    chance = found["the worth itself"][0].random

    def group(said: str, heading: str) -> Bars:
        rows = [Bar.of(name, getattr(one, said), kind) for name, (one, kind) in found.items()]
        return Bars([*rows, Bar.of("orders by chance", chance[said], CONTROL)], heading)

    return sheet(
        "What happens to the answer when segments go in the order of an explanation?",
        "40 items of 12 segments whose answer is the sum of what the segments are worth.",
        [group("deletion_rank", "Order against the loss of each alone: higher is better"),
         group("until_flip", "Share that has to go until the decision flips: lower is better")],
        "Whiskers hold 95 %.",
    )  # fmt: skip


# -- worlds in which the answer is known -------------------------------------------------------------------------------


class KnownWorld:
    """Two attributes of three values each, as sums of six orthogonal directions; the first one is decided by."""

    def __init__(self) -> None:
        self.attributes: Table = torch.randint(0, VALUES, (300, 2), generator=torch.Generator().manual_seed(0))
        self.codes, self.atoms = one_hot(self.attributes), orthonormal(2 * VALUES, 12)
        self.activations: Vectors = self.codes @ self.atoms

    def decide(self, values: Vectors) -> Int[Tensor, "row"]:
        return (values @ self.atoms[:VALUES].T).argmax(dim=1)

    def right_by(self) -> Callable[[Tensor], Tensor]:
        """How much higher the true value of the first attribute is than the mean of the others."""

        def answer(values: Tensor) -> Tensor:
            scores = values @ self.atoms[:VALUES].T
            return scores.gather(1, self.attributes[:, :1])[:, 0] - scores.mean(dim=1)

        return answer


@cache
def known_world() -> KnownWorld:
    return KnownWorld()


def one_hot(attributes: Table) -> Float[Tensor, "item code"]:
    return torch.nn.functional.one_hot(attributes, VALUES).flatten(1).float()


def one_direction(values: Tensor, seed: int) -> Tensor:
    """The first principal direction, either way."""
    centred = values - values.mean(dim=0)
    along = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[0]
    return torch.stack([along, -along], dim=1).relu()


def four_corners(values: Tensor, seed: int) -> Tensor:
    """The two directions read off the four clusters that two attributes make."""
    flat = values @ torch.linalg.svd(values, full_matrices=False).Vh[:2].T
    far = flat[flat.norm(dim=1).argmax()]
    corners = [flat[(flat - far).norm(dim=1).argmin()]]
    for _ in range(3):
        apart = torch.stack([(flat - corner).norm(dim=1) for corner in corners]).amin(dim=0)
        corners.append(flat[apart.argmax()])
    single = torch.stack(sorted(corners, key=lambda corner: float(corner.norm()))[1:3])
    return (flat @ torch.linalg.inv(single) - 0.5).relu()


def importances(start: int, end: int) -> tuple[Float[Tensor, "species concept"], Vectors]:
    """What each concept is worth to each species by the net's slopes, and the concepts' vectors."""
    seen = birds()
    features, present = seen.features[start:end], seen.present[start:end]
    vectors = torch.stack([features[row].mean(dim=0) - features[~row].mean(dim=0) for row in present.T])
    slopes = torch.stack([concepts.gradients_of(seen.head, features[:1], target)[0] for target in range(seen.classes)])
    return slopes @ torch.nn.functional.normalize(vectors, dim=1).T, vectors


def by_tile(maps: Float[Tensor, "scene h w"]) -> Float[Tensor, "scene tile"]:
    return torch.nn.functional.avg_pool2d(maps[:, None], 16).flatten(1)
