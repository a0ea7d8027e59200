"""Inside a dual encoder: its heads in texts, and its classes by description, with the controls of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pellucid.compute import ranking
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.images import find, read_many
from pellucid.language.descriptors import PLAIN, TESTBED, Account, Descriptors, Encode, Wording, by_description
from pellucid.language.differential import Differential, beside_differences, from_descriptors
from pellucid.language.ensembling import Verdict, ensembling_control
from pellucid.language.matching import Matching, match_texts
from pellucid.language.phrases import bird_phrases, everyday_phrases, read_phrases, species_descriptors
from pellucid.language.residual import Head, decompose, image_embeddings, text_embeddings
from pellucid.language.textspan import HeadTexts, spell_heads
from pellucid.language.word_controls import Controls, controls
from pellucid.results import Beside
from pellucid.subject import VisionModel
from pellucid.testbed import scenes

_TESTBED = (64, 64)  # an encoder of pictures of this size is shown rendered scenes, as by Probe.for_model


@dataclass(frozen=True)
class HeadsInWords:
    """Heads of a dual encoder in texts.

    pictures: how many they were told by; error: how far the parts are from adding up to the embedding
    """

    model: str
    pictures: int
    error: float
    heads: tuple[HeadTexts, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model, "pictures": self.pictures, "error": self.error,
            "heads": [one.to_dict() for one in self.heads],
            "beats_controls": all(one.beats_controls for one in self.heads),
        }  # fmt: skip

    def __str__(self) -> str:
        lead = f"{self.model}, {self.pictures} pictures; the parts add up to the embedding within {self.error:.0e}."
        return "\n".join([lead, *map(str, self.heads)])


@dataclass(frozen=True)
class ClassInWords:
    """A class of a dual encoder by what can be seen of it.

    descriptions: each with the AUROC at which it alone tells the class from the rest; NaN without labelled pictures
    controls:     accuracies; None without labelled pictures
    accounts:     why pictures got their class, (name of the picture, parts of the score)
    matching:     which descriptions fit each picture of the class; None where that was not asked
    matched:      the names of these pictures
    ensembling:   whether chosen descriptions help by what they mean; None where that was not asked
    """

    model: str
    name: str
    descriptions: tuple[tuple[str, float], ...]
    controls: Controls | None
    accounts: tuple[tuple[str, Account], ...]
    notes: tuple[str, ...]
    matching: Matching | None = None
    ensembling: Verdict | None = None
    matched: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model, "class": self.name, "descriptions": [list(one) for one in self.descriptions],
            "controls": None if self.controls is None else self.controls.to_dict(),
            "beats_controls": self.controls is not None and self.controls.meaning_helps,
            "accounts": [{"picture": picture, **asdict(account)} for picture, account in self.accounts],
            "matching": None if self.matching is None else self.matching.to_dict(), "matched": list(self.matched),
            "ensembling": None if self.ensembling is None else self.ensembling.to_dict(),
            "notes": list(self.notes),
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{self.name}, {self.model}"]
        for text, auroc in self.descriptions:
            known = "" if auroc != auroc else f": tells the class from the rest with AUROC {auroc:.2f}"
            lines.append(f"  {text}{known}")
        lines += [] if self.controls is None else [str(self.controls)]
        lines += [f"{picture}: {account}" for picture, account in self.accounts]
        lines += [
            f"{picture}: " + ", ".join(f"{one.text} {one.share:.0%}" for one in texts)
            for picture, texts in zip(self.matched, () if self.matching is None else self.matching.texts, strict=True)
        ]
        lines += [str(one) for one in (self.matching, self.ensembling) if one is not None]
        return "\n".join([*lines, *self.notes])


@dataclass(frozen=True)
class ClassesApart:
    """Two classes of a dual encoder by what only one of them has.

    differences: said of the first, said of the second, and the AUROC at which the lead of one over the other tells
                 their pictures apart
    among:       how many of the likeliest classes of each picture are looked at again
    coverage:    share of pictures whose true class is among these
    beside:      how often the second look is right, beside differences that mean nothing
    """

    model: str
    first: str
    second: str
    differences: tuple[tuple[str, str, float], ...]
    among: int
    coverage: float
    beside: Beside

    def to_dict(self) -> dict[str, Any]:
        return {
            **vars(self), "differences": [list(one) for one in self.differences], "beside": self.beside.to_dict(),
            "beats_controls": self.beside.beats,
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{self.first} and {self.second}, {self.model}"]
        lines += [f"  {one} / {other}: AUROC {apart:.2f}" for one, other, apart in self.differences]
        lines += [] if self.differences else ["  Nothing listed is of one of them alone."]
        looked = f"The true class is among the {self.among} likeliest of {self.coverage:.1%} of all pictures."
        return "\n".join([*lines, looked, str(self.beside)])


def describe_heads(
    model: VisionModel, images: Sequence[str] = (), *, heads: Sequence[Head] | None = None,
    texts: str | Path | None = None, count: int = 5, scenes_drawn: int = 200, seed: int = 0,
) -> HeadsInWords:  # fmt: skip
    """What heads write, in texts, over the pictures given; over rendered scenes for the testbed's encoders.

    texts: a file of one text per line; None is a pool of our own

    Raises RequestError for heads that do not exist and where pictures are missing, TowerUnsupported.
    """
    inputs, _, _ = _pictures(model, images, scenes_drawn, seed, ())
    said = read_phrases(texts) if texts else bird_phrases() if _of_testbed(model) else everyday_phrases()
    parts = decompose(model, inputs)
    unknown = [head for head in heads or () if head not in parts.all_heads]
    if unknown:
        raise RequestError(
            f"There is no {unknown[0]}: {model.name} has {parts.heads.shape[1]} layers of {parts.heads.shape[2]} "
            "heads, counted from 0."
        )
    found = spell_heads(parts.normalised(), said, text_embeddings(model, said), heads=heads, count=count, seed=seed)
    return HeadsInWords(model.spec or model.name, len(inputs), parts.error, found)


def describe_class(
    model: VisionModel, name: str, images: Sequence[str] = (), *, descriptors: str | Path | None = None,
    scenes_drawn: int = 300, shown: int = 3, fitting: int = 0, ensembling: bool = False, seed: int = 0,
) -> ClassInWords:  # fmt: skip
    """A class by its descriptions: which of them can be seen, whether their meaning helps, and why pictures got it.

    images:      pictures in folders that are named like classes are labelled by them
    descriptors: a YAML file; None is the list of the testbed's species
    fitting:     how many descriptions are chosen for each picture of the class; 0 leaves that out
    ensembling:  also choose descriptions by half of the pictures, and ask on the others whether their meaning helps

    Raises DescriptorError, RequestError where pictures or the list are missing.
    """
    testbed, listed = _of_testbed(model), _listed(model, descriptors, name)
    inputs, names, labels = _pictures(model, images, scenes_drawn, seed, tuple(listed))
    pictures, wording = image_embeddings(model, inputs), TESTBED if testbed else PLAIN
    encode = lambda texts: text_embeddings(model, texts)
    described = by_description(listed, encode, wording=wording)
    notes = [
        f"{other!r} is described with another class's name: {texts[0]!r}."
        for other, texts in listed.naming_others().items()
    ]
    known, own = labels >= 0, labels == tuple(listed).index(name)
    judged, matching, verdict = None, None, None
    if bool(known.any()):
        words = " ".join(bird_phrases() if testbed else everyday_phrases()).split()
        judged = controls(listed, encode, pictures[known], labels[known], words=words, wording=wording, seed=seed)
        matching = _matched(listed, name, encode, wording, pictures[own], fitting, seed) if fitting else None
        verdict = _chosen(listed, encode, wording, pictures[known], labels[known], seed) if ensembling else None
    else:
        notes.append("No picture is labelled, so nothing is controlled: put pictures into folders named like classes.")
    told = judged.visibility[name] if judged else tuple((text, float("nan")) for text in listed[name])
    mine = [at for at, number in enumerate(described.predict(pictures).tolist()) if described.names[number] == name]
    accounts = tuple((names[at], described.account(pictures[at])) for at in mine[:shown])
    matched = () if matching is None else tuple(names[at] for at in own.nonzero().flatten().tolist())
    return ClassInWords(
        model.spec or model.name, name, told, judged, accounts, tuple(notes), matching, verdict, matched
    )  # fmt: skip


def describe_difference(
    model: VisionModel, first: str, second: str, images: Sequence[str] = (), *,
    descriptors: str | Path | None = None, among: int = 10, scenes_drawn: int = 300, seed: int = 0,
) -> ClassesApart:  # fmt: skip
    """What tells two classes apart, and whether a second look by such differences is right more often (FuDD).

    images:      pictures in folders that are named like classes are labelled by them
    descriptors: a YAML file; None is the list of the testbed's species. What only one of two classes has tells them
                 apart
    among:       how many of the likeliest classes are looked at again

    Raises DescriptorError, RequestError where pictures of both or the list are missing.
    """
    if first == second:
        raise RequestError(f"{first!r} is compared with itself; name two classes.")
    testbed, listed = _of_testbed(model), _listed(model, descriptors, first, second)
    inputs, _, labels = _pictures(model, images, scenes_drawn, seed, tuple(listed))
    pictures, names = image_embeddings(model, inputs), tuple(listed)
    encode = lambda texts: text_embeddings(model, texts)
    apart = Differential(names, encode, from_descriptors(listed), k=among, wording=TESTBED if testbed else PLAIN)
    numbers = names.index(first), names.index(second)
    of_first, of_second = (labels == number for number in numbers)
    if not (bool(of_first.any()) and bool(of_second.any())):
        raise RequestError(f"Pictures of {first!r} and of {second!r} are needed, in folders of these names.")
    shown = of_first | of_second
    rows: list[tuple[str, str, float]] = []
    for one in apart.pair(*sorted(numbers)):
        texts = (one.first, one.second) if numbers[0] < numbers[1] else (one.second, one.first)
        said = [apart.wording.of_both(name, text) for name, text in zip((first, second), texts, strict=True)]
        lead = pictures[shown] @ (encode(said[:1])[0] - encode(said[1:])[0])
        rows.append((*texts, ranking.auroc(of_first[shown].cpu().numpy(), lead.cpu().numpy())))
    known = labels >= 0
    words = " ".join(bird_phrases() if testbed else everyday_phrases()).split()
    beside = beside_differences(apart, pictures[known], labels[known], words=words, seed=seed)
    coverage = apart.rank(pictures[known]).coverage(labels[known])
    return ClassesApart(model.spec or model.name, first, second, tuple(rows), apart.k, coverage, beside)


def _of_testbed(model: VisionModel) -> bool:
    return model.texts and model.input_size == _TESTBED


def _listed(model: VisionModel, descriptors: str | Path | None, *names: str) -> Descriptors:
    """What can be seen of each class; a class that is not there is told before anything is computed."""
    if descriptors is None and not _of_testbed(model):
        raise RequestError("Say what can be seen of each class: --descriptors FILE.yaml.")
    listed = species_descriptors() if descriptors is None else Descriptors.read(descriptors)
    for name in names:
        listed[name]
    return listed


def _matched(
    listed: Descriptors, name: str, encode: Encode, wording: Wording, pictures: Float[Tensor, "picture dim"],
    count: int, seed: int,
) -> Matching | None:  # fmt: skip
    """The descriptions of a class that fit each of its pictures best; None where there are none of either."""
    labels, texts = torch.zeros(len(pictures), dtype=torch.long), listed[name]
    if not (len(pictures) and texts):
        return None
    embedded = encode([wording.of_both(name, text) for text in texts])
    return match_texts(pictures, labels, [texts], [embedded], count=count, seed=seed)


def _chosen(
    listed: Descriptors, encode: Encode, wording: Wording, pictures: Float[Tensor, "picture dim"],
    labels: Int64[Tensor, "picture"], seed: int,
) -> Verdict:  # fmt: skip
    """Descriptions chosen by every second picture and measured on the others, class names left out."""
    pool = tuple(dict.fromkeys(text for name in listed for text in listed[name]))
    return ensembling_control(
        encode([wording.of_name(name) for name in listed]), encode([wording.of_description(text) for text in pool]),
        (pictures[::2], labels[::2]), (pictures[1::2], labels[1::2]),
        assigned=[[pool.index(text) for text in listed[name]] for name in listed], seed=seed,
    )  # fmt: skip


def _pictures(
    model: VisionModel, images: Sequence[str], count: int, seed: int, classes: Sequence[str]
) -> tuple[Float[Tensor, "picture 3 height width"], tuple[str, ...], Tensor]:
    """Model input, a name for each picture, and its class number, -1 where unknown."""
    if not model.texts:
        raise MethodUnavailable("Describing heads and classes", "it is no dual encoder: it reads no texts.", ())
    if images:
        paths = find(list(images))
        labels = [classes.index(path.parent.name) if path.parent.name in classes else -1 for path in paths]
        return model.prepare(read_many(paths)), tuple(path.name for path in paths), torch.tensor(labels)
    if not _of_testbed(model):
        raise RequestError("Give pictures: files, folders or globs.")
    drawn = scenes(seed + 4000, count)
    labels = torch.from_numpy(drawn.labels.copy())
    known = tuple(model.labels)
    if classes and tuple(f"a {name}" for name in classes) != known and tuple(classes) != tuple(species_descriptors()):
        labels = torch.full_like(labels, -1)
    return drawn.tensor(), tuple(f"scene {at}" for at in range(count)), labels
