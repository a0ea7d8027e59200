"""Pictures of the measures of concepts: on directions that are known to be right, and on their controls."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from measure_charts import CONTROL, OTHER, RIGHT, Bar, Bars, Curves, Line, sheet
from torch import Tensor

from pellucid import testbed
from pellucid.testbed import attributes, nets, planted
from pellucid.trust import concepts

HALF = 660  # two curves beside each other
DOTS = "Whiskers hold 95 %; dots are single draws."
READER = concepts.Reader(hidden=24, steps=80, rate=0.03)
Vectors = Float[Tensor, "row channel"]


def concept_completeness() -> bytes:
    features, labels, basis = classes_as_directions()
    tail = pooled(basis[:4])

    def of(directions: Vectors, sets: int = 1) -> concepts.Completeness:
        return concepts.concept_completeness(features, labels, directions, tail, reader=READER, random_sets=sets)

    whole, half, idle = of(basis[:4], sets=5), of(basis[:2]), of(basis[8:12])
    rows = [
        Bar.of("the four directions that decide", whole.eta, RIGHT),
        Bar.of("two of them", half.eta),
        Bar.of("four that nothing reads", idle.eta),
        Bar.drawn("four random directions", whole.random),
    ]
    return sheet(
        "Completeness of lists of concepts; higher is better",
        "240 items of four classes in 64 channels. Each class is one direction, so the right list is known.",
        [Bars(rows, mark=("the whole accuracy", 1.0))], DOTS,
    )  # fmt: skip


def concept_shap() -> bytes:
    features, labels, basis = classes_as_directions()
    twice = torch.cat([basis[:2], basis[2:3], basis[2:3] + 0.01 * basis[20:21], basis[9:10]])
    found = concepts.concept_shap(features, labels, twice, pooled(basis[:4]), reader=READER)
    names = ("first class", "second class", "third class", "third class, said again", "nothing reads it")
    rows = [
        Bar(name, float(value), RIGHT if at < 2 else OTHER)
        for at, (name, value) in enumerate(zip(names, found.values, strict=True))
    ]
    rows.append(Bar.drawn("five random directions", found.random.tolist()))
    return sheet(
        "What each concept adds to completeness; higher adds more",
        "240 items of four classes, each one direction of 64 channels. Two that say the same share what one of "
        "them is worth, and the idle one has none. All coalitions were tried.",
        [Bars(rows, ends=(0.0, 0.4))], "Dots are the shares of the five random directions.",
    )  # fmt: skip


def concept_curves() -> bytes:
    parts, worth = sum_of_atoms()
    drawn = torch.rand(worth.shape, generator=torch.Generator().manual_seed(3))
    found = {"by worth": (worth, RIGHT), "by chance": (drawn, CONTROL), "least first": (-worth, OTHER)}
    curves = {name: concepts.concept_curves(parts, order) for name, (order, _) in found.items()}
    places = [at / parts.concepts for at in range(parts.concepts + 1)]
    one, other = (
        Curves(
            places,
            [Line(name, getattr(curves[name], said), found[name][1]) for name in found],
            "share of the concepts", heading, ((0, "none"), (1, "all")), ends=None, width=HALF, keys=True,
        )
        for said, heading in (("deleted", "Deletion: lower is better"), ("inserted", "Insertion: higher is better"))
    )  # fmt: skip
    return sheet(
        "How fast the answer dies without its concepts, and comes with them",
        "Twelve planted concepts as sums in eight channels; what each is worth to the answer is known.",
        [one, other],
    )


def concept_mu_fidelity() -> bytes:
    net, codes, layer = planted_sums()
    parts = concepts.Decomposition(layer, codes, atoms(net), pooled(atoms(net)), 0)
    estimates = concepts.all_of(parts)
    told = {
        "occlusion": "Occlusion", "integrated_gradients": "Integrated gradients", "rise": "RISE, 256 masks",
        "sobol_total": "Total Sobol index",
    }  # fmt: skip
    found = {name: concepts.concept_mu_fidelity(parts, estimates[name]) for name in told}
    rows = [
        Bar.of(words, found[name].fidelity, RIGHT if name == "occlusion" else OTHER) for name, words in told.items()
    ]
    rows.append(Bar.of("Importances by chance", found["occlusion"].random, CONTROL))
    return sheet(
        "Do summed importances foretell what is lost? Higher is better",
        "The rest of the planted net is linear, so occlusion gives the exact worth. The Sobol index has no sign.",
        [Bars(rows)], "Whiskers hold 95 %.",
    )  # fmt: skip


def concept_existence() -> bytes:
    present, _, activations, directions = concepts_at_places()
    scores = concepts.concept_maps(activations, directions).flatten(2).amax(dim=2).round(decimals=4)
    weights = torch.eye(scores.shape[1])

    def of(shown: Float[Tensor, "item concept"]) -> concepts.ConceptExistence:
        return concepts.concept_existence(shown, weights + 0.2, shown.argmax(dim=1), present, top=2)

    right, swapped = of(scores), of(scores[:, [1, 0, 3, 2, 4, 5]])
    rows = [
        Bar.of("scores of the concepts themselves", right.existence, RIGHT),
        Bar.of("two pairs with exchanged names", swapped.existence),
        Bar.drawn("names shuffled", right.shuffled[:20]),
    ]
    return sheet(
        "Are the two concepts a decision rests on in the picture? Higher is better",
        "120 items and six concepts, each there in about half of them.",
        [Bars(rows, mark=("how often a concept is there", right.prevalence))], DOTS,
    )  # fmt: skip


def concept_global_importance() -> bytes:
    seen = birds()
    with_intercept = torch.cat([seen.present.float(), torch.ones(len(seen.present), 1)], dim=1)
    wanted = torch.nn.functional.one_hot(seen.decisions, seen.classes).float()
    ridge = with_intercept.T @ with_intercept + 4 * torch.eye(with_intercept.shape[1])
    learned = torch.linalg.solve(ridge, with_intercept.T @ wanted)[:-1].T
    rates = torch.stack([seen.present[seen.labels == at].float().mean(dim=0) for at in range(seen.classes)])
    found = concepts.concept_global_importance(learned, rates)
    noise = torch.randn(learned.shape, generator=torch.Generator().manual_seed(1))
    rows = [
        Bar.of("linear weights of wing, tail and colour", found.classes, RIGHT),
        Bar.of("weights by chance", concepts.concept_global_importance(noise, rates).classes),
        Bar.drawn("names shuffled", found.shuffled[:20]),
    ]
    return sheet(
        "Does each class weigh the concepts that make it? Higher is better",
        "A linear reader learned the testbed's 12 species from 11 attributes of 400 scenes; "
        "the truth is how often each species shows each.",
        [Bars(rows, ends=(-0.2, 1.0))], DOTS,
    )  # fmt: skip


def concept_location() -> bytes:
    net, codes, layer = planted_sums()
    regions = codes > 0.5 * codes.amax(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    found = concepts.concept_location(layer, atoms(net), regions)
    off = torch.nn.functional.normalize(atoms(net) + 0.5 * torch.randn(
        atoms(net).shape, generator=torch.Generator().manual_seed(2)), dim=1)  # fmt: skip
    rows = [
        Bar.of("the planted directions", found.location, RIGHT),
        Bar.of("the same with noise added", concepts.concept_location(layer, off, regions).location),
        Bar.drawn("random directions", found.random),
    ]
    return sheet(
        "Are concepts looked for where they are? Higher is better",
        "Twelve planted concepts as sums in eight channels; a concept is found where its map peaks inside its region.",
        [Bars(rows, mark=("area of the regions", found.area))], DOTS,
    )  # fmt: skip


def concept_learnability() -> bytes:
    seen = birds()
    everything = torch.ones(seen.classes, seen.present.shape[1], dtype=torch.bool)
    found = concepts.concept_learnability(seen.features, seen.present, seen.decisions, everything)
    rows = [
        Bar(words, float(value), RIGHT if "wing" in words or "tail" in words else OTHER)
        for words, value in zip(seen.words, found.concepts, strict=True)
    ]
    rows.append(Bar("concepts dealt to scenes by chance", found.shuffled, CONTROL))
    return sheet(
        "How easily is each concept read off the net? Higher is easier",
        "The testbed's convolutional net over 400 scenes. Wing and tail decide the species; the body's colour decides "
        "nothing.",
        [Bars(rows, mark=("a guess", found.prevalence))], "Average precision at a prevalence of .1 for all.",
    )  # fmt: skip


def tcav() -> bytes:
    seen = birds()
    kept = [at for at, words in enumerate(seen.words) if "wing" in words or "tail" in words]
    examples = {seen.words[at]: seen.features[seen.present[:, at]][:40] for at in kept}
    slopes = concepts.gradients_of(seen.head, seen.features[:60], target=int(seen.decisions.mode().values))
    found = concepts.tcav(slopes, examples, seen.features[200:], sets=12, random_concepts=60, random_sets=2)
    tests = found.concepts
    real = {words for words, test in tests.items() if abs(test.alignment) > max(map(abs, found.alignments))}
    share = [
        Bar(words, test.score.mean, RIGHT if words in real else OTHER, draws=test.scores)
        for words, test in tests.items()
    ]
    lines = [Bar(words, test.alignment, RIGHT if words in real else OTHER) for words, test in tests.items()]
    share.append(Bar.drawn("random concepts", found.random))
    lines.append(Bar.drawn("60 random concepts", found.alignments))
    return sheet(
        "Does the answer rise along a concept more than along random directions?",
        "One species of the testbed's convolutional net. Random concepts reach shares of 0 and 1 too; what tells a "
        "concept from them is how strongly it is aligned.",
        [Bars(share, "Share of items whose answer rises"), Bars(lines, "Alignment", (-0.8, 0.8))],
        "Dots are single draws. Green: more strongly aligned than every one of the 60 random concepts.",
    )


def inherent_interpretability() -> bytes:
    values = torch.randint(0, 4, (300, 3), generator=torch.Generator().manual_seed(0))
    features = torch.nn.functional.one_hot(values).flatten(1).float()
    own = concepts.inherent_interpretability(features, values[:, 0], torch.eye(12), random_sets=1)
    strange = concepts.inherent_interpretability(features, values[:, 0], orthonormal(12, 12, seed=4), random_sets=1)
    lines = [
        Line.of(f"the attributes themselves: {own.score.mean:.2f}", own.retention, RIGHT),
        Line.of(f"random directions: {strange.score.mean:.2f}", strange.retention, CONTROL),
    ]
    return sheet(
        "How much accuracy is left when few concepts may speak? Higher is better",
        "300 items of three attributes with four values each; the first attribute is the class.",
        [Curves(
            own.sparsities, lines, "share of the concepts silenced in each item", "Accuracy, in parts of the whole",
            tuple((place, f"{place:.0%}") for place in (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)),
            mark=("chance", own.chance / own.accuracy),
        )], "Bands hold 95 %. The figure is the area under the curve.",
    )  # fmt: skip


# -- worlds in which the concepts are known ----------------------------------------------------------------------------


def orthonormal(count: int, channels: int, seed: int = 0) -> Vectors:
    """Rows at right angles, each of length 1."""
    drawn = torch.randn(channels, channels, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(drawn)[0][:count]


def pooled(weight: Float[Tensor, "class channel"]) -> Callable[[Tensor], Tensor]:
    """The rest of a net that pools places and weighs channels."""
    return lambda values: (values.flatten(2).mean(dim=2) if values.ndim > 2 else values) @ weight.T


@cache
def classes_as_directions() -> tuple[Vectors, Int[Tensor, "row"], Vectors]:
    """Each of 240 items is one of four orthonormal directions, its class, and channels that say nothing."""
    basis = orthonormal(64, 64)
    draw = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, (240,), generator=draw)
    return basis[labels] + 0.02 * torch.rand(240, 60, generator=draw) @ basis[4:], labels, basis


@cache
def concepts_at_places() -> tuple[
    Bool[Tensor, "item concept"], Bool[Tensor, "item concept h w"], Float[Tensor, "item channel h w"], Vectors
]:
    """Six concepts, each with a cell of its own: presence, regions, activations, directions."""
    draw = torch.Generator().manual_seed(0)
    present = torch.rand(120, 6, generator=draw) < 0.4
    present[torch.arange(120), torch.randint(0, 6, (120,), generator=draw)] = True
    cells = torch.zeros(6, 16, dtype=torch.bool)
    cells[torch.arange(6), 2 * torch.arange(6)] = True
    places = present[:, :, None] & cells
    directions = orthonormal(6, 16)
    activations = torch.einsum("ikp,kc->icp", places.float(), directions).unflatten(2, (4, 4))
    return present, places.unflatten(2, (4, 4)), activations, directions


@cache
def planted_sums() -> tuple[planted.Planted, Float[Tensor, "item feature h w"], Float[Tensor, "item channel h w"]]:
    """The planted net of twelve features in eight channels: the net, its features and their sums over scenes."""
    net = planted.mixed()
    detect, mono, poly = (net.module.get_submodule(name) for name in ("detect", "mono", "poly"))
    with torch.no_grad():
        codes = mono(detect(net.pictures(net.stimuli(7, 60))))
        return net, codes, poly(codes)


def atoms(net: planted.Planted) -> Vectors:
    """The directions of its dictionary."""
    return torch.tensor(net.dictionaries[0].atoms.T.copy()).float()


@cache
def sum_of_atoms() -> tuple[concepts.Decomposition, Float[Tensor, "item concept"]]:
    """Scenes in which the first planted feature shows, taken apart, and what each feature is worth to its answer."""
    net, codes, layer = planted_sums()
    known, there = atoms(net), codes[:, 0].flatten(1).amax(dim=1) > 0
    parts = concepts.Decomposition(layer[there], codes[there], known, pooled(known), 0)
    return parts, codes[there].flatten(2).mean(dim=2) * (known @ known[0])


class Birds:
    """What the testbed's convolutional net makes of 400 scenes, and which attributes they have."""

    def __init__(self) -> None:
        net, _ = nets.load("cnn")
        shown = testbed.scenes(11, 400)
        table = attributes.table(shown, ("wing", "tail", "body_hue"))
        self.head: torch.nn.Module = net.get_submodule("head")
        self.words, self.present = table.words, torch.from_numpy(table.values)
        self.labels = torch.from_numpy(shown.labels.copy()).long()
        features, pool = net.get_submodule("features"), net.get_submodule("pool")
        normalise = net.get_submodule("normalise")
        with torch.no_grad():
            self.features: Vectors = torch.cat(
                [pool(features(normalise(part))).flatten(1) for part in shown.tensor().split(50)]
            )
            self.decisions: Int[Tensor, "row"] = self.head(self.features).argmax(dim=1)
        self.classes = len(shown.task.labels)


@cache
def birds() -> Birds:
    return Birds()
