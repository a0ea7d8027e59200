"""The testbed's own nets: plain modules that take pictures in 0..1 and normalise inside."""

from pellucid.testbed.nets.attending import Attended, Attender
from pellucid.testbed.nets.bags import BagNet, features_of
from pellucid.testbed.nets.blocks import Attention, Block, CrossAttention, Mlp, Normalise
from pellucid.testbed.nets.cards import Card
from pellucid.testbed.nets.catalogue import (
    AGREEMENT,
    ARCHITECTURES,
    MILD_AGREEMENT,
    WEIGHTS,
    Entry,
    build,
    built,
    card_of,
    known,
    load,
    loaded,
    path_of,
    rounded,
    save,
    tower_of,
)
from pellucid.testbed.nets.classifiers import SmallCNN, SmallViT
from pellucid.testbed.nets.clips import ClipNet
from pellucid.testbed.nets.dense import Detections, Detector, Segmenter
from pellucid.testbed.nets.dual import Dual
from pellucid.testbed.nets.generators import VAE, Critic, Generator
from pellucid.testbed.nets.grounding import Answerer, Grounded
from pellucid.testbed.nets.language import Captioner, VisionLanguage
from pellucid.testbed.nets.page import in_markdown, in_words
from pellucid.testbed.nets.words import Words, words_of

__all__ = [
    "card_of",
    "in_markdown",
    "in_words",
    "path_of",
    "VAE",
    "Answerer",
    "Attended",
    "Attender",
    "Captioner",
    "Critic",
    "Detections",
    "Detector",
    "Generator",
    "Grounded",
    "VisionLanguage",
    "AGREEMENT",
    "MILD_AGREEMENT",
    "ARCHITECTURES",
    "WEIGHTS",
    "Attention",
    "BagNet",
    "Block",
    "Card",
    "ClipNet",
    "CrossAttention",
    "Dual",
    "Entry",
    "Mlp",
    "Normalise",
    "Segmenter",
    "SmallCNN",
    "SmallViT",
    "Words",
    "build",
    "features_of",
    "built",
    "known",
    "load",
    "loaded",
    "rounded",
    "save",
    "tower_of",
    "words_of",
]
