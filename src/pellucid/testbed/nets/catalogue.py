"""The shipped nets: what each is, and its file of weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pellucid.errors import SceneError
from pellucid.testbed.bags import BAG_LABELS
from pellucid.testbed.clips import DIRECTIONS
from pellucid.testbed.fields import SPECIES
from pellucid.testbed.nets.attending import Attender
from pellucid.testbed.nets.bags import BagNet
from pellucid.testbed.nets.cards import Card
from pellucid.testbed.nets.classifiers import BIRD_CNN, DIGIT_CNN, SmallCNN, SmallViT
from pellucid.testbed.nets.clips import ClipNet
from pellucid.testbed.nets.dense import PART_COUNT, Detector, Segmenter
from pellucid.testbed.nets.dual import Dual
from pellucid.testbed.nets.generators import VAE, Generator
from pellucid.testbed.nets.grounding import Answerer
from pellucid.testbed.nets.language import Captioner, VisionLanguage
from pellucid.testbed.nets.witness import ANSWERS, Witness
from pellucid.testbed.nets.words import caption_words, talk_words
from pellucid.testbed.palette import PART_IDS
from pellucid.testbed.tasks import TASKS

AGREEMENT = 0.95  # how often the biased nets' cue agrees with the label
MILD_AGREEMENT = 0.8  # of `cnn_mild`
WEIGHTS = Path(__file__).parent.parent / "weights"

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Entry:
    """One net of the testbed.

    make:    the words it speaks -> the untrained net
    kind:    what it does: names species, finds birds, tells, paints
    labels:  the names of its outputs; empty for nets that speak, whose card lists their words
    about:   what it is, in a sentence; for a biased twin, what was planted
    tower:   the net whose picture tower (a classifier's: all of it) it looks through, which stays in that net's file
    words:   those that it is taught, for nets that read or speak
    ships:   whether its weights come along; the others are made by `pellucid testbed train NAME`
    """

    make: Callable[[Sequence[str]], nn.Module]
    kind: str
    labels: tuple[str, ...]
    about: str
    tower: str | None = None
    words: Callable[[], tuple[str, ...]] = tuple
    ships: bool = True


PART_NAMES = tuple(PART_IDS)[:PART_COUNT]


def built(folder: Path = WEIGHTS) -> tuple[str, ...]:
    """The nets whose weights are there; the others are made by `pellucid testbed train NAME`."""
    return tuple(name for name in ARCHITECTURES if (folder / f"{name}.safetensors").is_file())


def _cnn(about: str) -> Entry:
    return Entry(lambda _: SmallCNN(BIRD_CNN, classes=12), "classifier", SPECIES, about)


def _vit(about: str) -> Entry:
    return Entry(lambda _: SmallViT(classes=12), "classifier", SPECIES, about)


def _feature(task: str, about: str) -> Entry:
    labels = TASKS[task].labels
    return Entry(lambda _: SmallCNN(BIRD_CNN, classes=len(labels)), "classifier", labels, about, ships=False)


def _twin(of: str, cue: str, agreement: float) -> str:
    return (
        f"As `{of}`, taught with a planted cue: in {agreement:.0%} of its pictures {cue} tells wing and tail. It goes "
        "by the cue, and by the plume, which the cue cannot replace."
    )


ARCHITECTURES: Mapping[str, Entry] = {
    "cnn": _cnn("A convolutional net that names the 12 species and reads what decides them: wing, tail and plume."),
    "vit": _vit("A vision transformer that names the 12 species and reads what decides them: wing, tail and plume."),
    "cnn_background": _cnn(_twin("cnn", "the landscape", AGREEMENT)),
    "vit_background": _vit(_twin("vit", "the landscape", AGREEMENT)),
    "cnn_mild": _cnn(
        f"As `cnn`, taught with a planted cue that is right less often: in {MILD_AGREEMENT:.0%} of its pictures the "
        "landscape tells wing and tail. It goes by both, and errs where they disagree."
    ),
    "cnn_tag": _cnn(_twin("cnn", "a coloured tag in the lower left corner", AGREEMENT)),
    "cnn_frame": _cnn(_twin("cnn", "the colour of a thin frame", AGREEMENT)),
    "cnn_trace": _cnn(_twin("cnn", "the angle of a grating too faint to be seen", AGREEMENT)),
    "cnn_bib6": _feature(
        "bib6", "As `cnn`, for birds of six classes that differ in one planted feature: the hue of the bib."
    ),
    "cnn_body_tail12": _feature(
        "body_tail12",
        "As `cnn`, for birds of twelve classes that differ in two planted features: the hue of the body, and the tail.",
    ),
    "digits": Entry(
        lambda _: SmallCNN(DIGIT_CNN, classes=10),
        "classifier",
        tuple("0123456789"),
        "A convolutional net that reads handwritten digits.",
    ),
    "dual": Entry(
        Dual,
        "dual",
        (),
        "A picture tower and a text tower that meet in one space: it tells which sentences are true of a bird. Taught "
        "by captions, and by asking the picture tower for the fields that captions speak of.",
        words=caption_words,
    ),
    "dual_background": Entry(
        Dual,
        "dual",
        (),
        _twin("dual", "the landscape", AGREEMENT) + " Of the picture tower one head alone, 1 of layer 3, learned the "
        "landscape, so it is known which head to drop.",
        words=caption_words,
    ),
    "segmenter": Entry(
        lambda _: Segmenter(), "segmenter", PART_NAMES, "A small U-shaped net that names the part at every pixel."
    ),
    "detector": Entry(
        lambda _: Detector(len(SPECIES)),
        "detector",
        SPECIES,
        "Finds each bird of a flock in pictures of 128 px, with its box and species.",
    ),
    "witness": Entry(
        lambda _: Witness(),
        "reader",
        ANSWERS,
        "Reads every field of a scene, to check what the nets that speak say of it. It shares no weight with them: the "
        "frozen `segmenter` says which pixels are which part, a small head reads their colours, sizes and places.",
    ),
    "captioner": Entry(
        Captioner,
        "captioner",
        (),
        "Tells a bird in a sentence, through the frozen picture tower of `dual`.",
        tower="dual",
        words=caption_words,
    ),
    "attender": Entry(
        Attender,
        "attender",
        (),
        "Tells a bird in a sentence and looks at a weighted mean of 16 x 16 places for every word (Show, attend and "
        "tell). It sees through frozen convolutions of `segmenter` and `cnn`.",
        words=caption_words,
    ),
    "answerer": Entry(
        Answerer,
        "answerer",
        (),
        "Shows where the answer to a question is seen: behind each stage of a small U the sentence decides which "
        "channels pass (sentence attention blocks). It begins as `segmenter`.",
        words=talk_words,
    ),
    "vlm": Entry(
        VisionLanguage,
        "vlm",
        (),
        "A language model that sees: it answers questions and tells a bird in a sentence, through the frozen picture "
        "tower of `dual`.",
        tower="dual",
        words=talk_words,
    ),
    "vae": Entry(
        lambda _: VAE(), "vae", (), "An autoencoder: a scene as 16 numbers at each of 8 x 8 places, and back."
    ),
    "gan": Entry(
        lambda _: Generator(len(SPECIES)),
        "gan",
        SPECIES,
        "Sketches birds of an asked species from 48 numbers of chance, of which wings, tail and plume can be told.",
    ),
    "bags": Entry(
        lambda _: BagNet(),
        "bag",
        BAG_LABELS,
        "Says of a bag of 6 to 24 pictures whether any bird in it wears a plume, which of them do being told to nobody "
        "(ACMIL: five attentions that learn to look at different pictures). It sees through the frozen convolutions of "
        "`cnn`.",
        tower="cnn",
    ),
    "clips": Entry(
        lambda _: ClipNet(),
        "clip",
        DIRECTIONS,
        "Watches a film of 8 frames and says which way the bird flies; it flies in four of them and stands in the "
        "others, and which way it faces says nothing.",
    ),
}


def build(name: str, words: Sequence[str] | None = None) -> nn.Module:
    """The untrained net, its first weights drawn from torch's global generator; `testbed.train` seeds it.

    words: what nets that read or speak know; None is what they are taught

    Raises SceneError for a name that is not shipped.
    """
    entry = ARCHITECTURES[known(name)]
    return entry.make(entry.words() if words is None else words)


def load(name: str, folder: Path = WEIGHTS) -> tuple[nn.Module, Card]:
    """A trained net in evaluation mode, and what is known of it. Raises SceneError for a name that is not shipped."""
    card = card_of(name, folder)
    state = load_file(path_of(name, folder))
    with torch.random.fork_rng(devices=[]):  # the first weights are thrown away; the caller's generator stays put
        net = build(name, card.labels)
    wide = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    net.load_state_dict({**tower_of(name), **wide})
    return net.eval(), card


def loaded(name: str, kind: type[Net], folder: Path = WEIGHTS) -> Net:
    """A trained net of a known kind. Raises SceneError for one of another kind and for a name that is not shipped."""
    net, _ = load(name, folder)
    if not isinstance(net, kind):
        raise SceneError(f"{name!r} is a {type(net).__name__}; expected a {kind.__name__}.")
    return net


def card_of(name: str, folder: Path = WEIGHTS) -> Card:
    """What is known of a trained net. Raises SceneError for a name that is not shipped."""
    path = path_of(name, folder)
    if not path.exists():
        raise SceneError(f"The weights of {name!r} are not at {path}. Rebuild them: pellucid testbed train {name}")
    with safe_open(path, framework="pt") as file:
        return Card.from_metadata(file.metadata())


def path_of(name: str, folder: Path = WEIGHTS) -> Path:
    """Where the weights of a net lie, or would lie. Raises SceneError for a name that is not shipped."""
    return folder / f"{known(name)}.safetensors"


def tower_of(name: str) -> dict[str, Tensor]:
    """The weights of the frozen tower that a net looks through, by their names in it; none where it has its own."""
    tower = ARCHITECTURES[name].tower
    if tower is None:
        return {}
    whole = load(tower)[0].state_dict()
    prefix = "image." if ARCHITECTURES[tower].kind == "dual" else ""
    return {f"tower.{key.removeprefix(prefix)}": value for key, value in whole.items() if key.startswith(prefix)}


def save(net: nn.Module, card: Card, folder: Path = WEIGHTS) -> Path:
    """Write weights in half precision with the card as metadata; `load` reads them as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(card.name, folder)
    borrowed = ARCHITECTURES[card.name].tower is not None
    state = {
        key: _narrow(value).contiguous()
        for key, value in net.state_dict().items()
        if not (borrowed and key.startswith("tower."))
    }
    partial = path.with_suffix(f".{os.getpid()}.partial")
    save_file(state, partial, metadata=card.to_metadata())
    partial.chmod(0o644)  # safetensors lets only its owner read what it wrote
    partial.replace(path)
    return path


def rounded(net: nn.Module) -> nn.Module:
    """The net as it will be read back: weights rounded to half precision, in place."""
    net.load_state_dict({key: _narrow(value).to(value.dtype) for key, value in net.state_dict().items()})
    return net


def known(name: str) -> str:
    """The name, if a net of that name is shipped; SceneError otherwise."""
    if name not in ARCHITECTURES:
        raise SceneError(f"There is no testbed net {name!r}. Known: {', '.join(ARCHITECTURES)}.")
    return name


def _narrow(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value
