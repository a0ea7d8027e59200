"""Inside a dual encoder: its heads in texts, and its classes by description, with the controls of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import MethodUnavailable, RequestError
from pellucid.images import find, read_many
from pellucid.language.descriptors import PLAIN, TESTBED, Account, Descriptors, by_description
from pellucid.language.phrases import bird_phrases, everyday_phrases, read_phrases, species_descriptors
from pellucid.language.residual import Head, decompose, image_embeddings, text_embeddings
from pellucid.language.textspan import HeadTexts, spell_heads
from pellucid.language.word_controls import Controls, controls
from pellucid.subject import VisionModel
from pellucid.testbed import scenes

_TESTBED = "testbed:"


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
    """

    model: str
    name: str
    descriptions: tuple[tuple[str, float], ...]
    controls: Controls | None
    accounts: tuple[tuple[str, Account], ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model, "class": self.name, "descriptions": [list(one) for one in self.descriptions],
            "controls": None if self.controls is None else self.controls.to_dict(),
            "beats_controls": self.controls is not None and self.controls.meaning_helps,
            "accounts": [{"picture": picture, **asdict(account)} for picture, account in self.accounts],
            "notes": list(self.notes),
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{self.name}, {self.model}"]
        for text, auroc in self.descriptions:
            known = "" if auroc != auroc else f": tells the class from the rest with AUROC {auroc:.2f}"
            lines.append(f"  {text}{known}")
        lines += [] if self.controls is None else [str(self.controls)]
        lines += [f"{picture}: {account}" for picture, account in self.accounts]
        return "\n".join([*lines, *self.notes])


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
    scenes_drawn: int = 300, shown: int = 3, seed: int = 0,
) -> ClassInWords:  # fmt: skip
    """A class by its descriptions: which of them can be seen, whether their meaning helps, and why pictures got it.

    images:      pictures in folders that are named like classes are labelled by them
    descriptors: a YAML file; None is the list of the testbed's species

    Raises DescriptorError, RequestError where pictures or the list are missing.
    """
    testbed = _of_testbed(model)
    if descriptors is None and not testbed:
        raise RequestError("Say what can be seen of each class: --descriptors FILE.yaml.")
    listed = species_descriptors() if descriptors is None else Descriptors.read(descriptors)
    listed[name]  # a class that is not there is told before anything is computed
    inputs, names, labels = _pictures(model, images, scenes_drawn, seed, tuple(listed))
    pictures, wording = image_embeddings(model, inputs), TESTBED if testbed else PLAIN
    encode = lambda texts: text_embeddings(model, texts)
    described = by_description(listed, encode, wording=wording)
    notes = [
        f"{other!r} is described with another class's name: {texts[0]!r}."
        for other, texts in listed.naming_others().items()
    ]
    known, judged = labels >= 0, None
    if bool(known.any()):
        words = " ".join(bird_phrases() if testbed else everyday_phrases()).split()
        judged = controls(listed, encode, pictures[known], labels[known], words=words, wording=wording, seed=seed)
    else:
        notes.append("No picture is labelled, so nothing is controlled: put pictures into folders named like classes.")
    told = judged.visibility[name] if judged else tuple((text, float("nan")) for text in listed[name])
    mine = [at for at, number in enumerate(described.predict(pictures).tolist()) if described.names[number] == name]
    accounts = tuple((names[at], described.account(pictures[at])) for at in mine[:shown])
    return ClassInWords(model.spec or model.name, name, told, judged, accounts, tuple(notes))


def _of_testbed(model: VisionModel) -> bool:
    return (model.spec or "").startswith(_TESTBED) and model.texts


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
