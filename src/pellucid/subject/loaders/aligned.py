"""Classifiers that learned where the descriptions of their pictures lie, so that they can be asked in words."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pellucid.compute.bootstrap import wilson
from pellucid.compute.train import seeded
from pellucid.errors import LoadError
from pellucid.subject.loaders import dual
from pellucid.subject.loaders.dual import EncodeTexts
from pellucid.subject.sentences import SentenceEncoder
from pellucid.values.place import place_of

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel

PREFIX = "aligned"
EXAMPLE = "aligned:cnn.aligned?texts=a bird in the snow|a bird in a forest"
HELP = "a file of `pellucid translate align-to-text`: a classifier that learned where descriptions lie, against texts"

SCALE = 1 / 0.07  # of cosines before a softmax: where CLIP begins
WORDS = "words"
_NETWORK, _HEARD = "network.", "heard"


@dataclass(frozen=True)
class Retrieval:
    """Pictures that were held out, each asked which of their descriptions is its own. Shares, 0 to 1.

    found:    the nearest description is the picture's own; chance: one of them by lot
    shuffled: the same with another picture's features
    before:   the same before anything was learned
    right, right_before: classes that are answered as they were taught, after learning and before
    """

    pictures: int
    found: float
    chance: float
    shuffled: float
    before: float
    right: float
    right_before: float

    @property
    def beats_controls(self) -> bool:
        """Whether more are found than by lot, with other features and before, at the worst of the Wilson interval."""
        least = wilson(self.found * self.pictures, self.pictures).low
        return least > max(self.chance, self.shuffled, self.before)

    def __str__(self) -> str:
        verdict = "" if self.beats_controls else " No better than its controls: it cannot be asked in words."
        return (
            f"{self.found:.1%} of {self.pictures} held-out pictures find their own description; by lot "
            f"{self.chance:.1%}, with another picture's features {self.shuffled:.1%}, before learning "
            f"{self.before:.1%}. Classes right {self.right:.1%}, before learning {self.right_before:.1%}.{verdict}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "beats_controls": self.beats_controls}


@dataclass(frozen=True)
class Record:
    """What an aligned model learned from, kept in its file.

    model, encoder: what opens them again; "" where they were given in memory
    head:           the linear layer that gives `classes` numbers and then the embedding
    known:          two of the descriptions; the encoder still has to put the first where it was
    """

    model: str
    encoder: str
    head: str
    classes: int
    known: tuple[str, str]
    corpus: str
    aim: str
    weight: float
    steps: int
    seed: int
    retrieval: Retrieval


@dataclass(frozen=True, eq=False)
class Aligned:
    """A classifier whose last linear layer also gives where its picture lies among texts.

    base:    how its pictures and classes are read; its own weights are those from before
    network: gives one number per class, then the embedding
    encode:  texts -> embeddings of length 1
    """

    base: VisionModel
    network: nn.Module
    encode: EncodeTexts
    record: Record

    @property
    def classifier(self) -> VisionModel:
        """It as the classifier that it still is."""
        made = self.base.with_module(_narrowed(self.network, self.record.head, slice(None, self.record.classes)))
        made.name, made.spec, made.explainers = self._name, None, {}
        return made

    def among(self, texts: Sequence[str] | None = None, **wrapping: Any) -> VisionModel:
        """It as a dual encoder, one class per text; None is "a" and the name of each class."""
        asked = [f"a {name}" for name in self.base.labels.names] if texts is None else texts
        tower = _narrowed(self.network, self.record.head, slice(self.record.classes, None))
        usual: dict[str, Any] = {
            "preprocess": self.base.preprocess, "input_size": self.base.input_size, "name": self._name,
            "notes": (str(self.record.retrieval),),
        }  # fmt: skip
        if (layer := self.base.layers.default) is not None:
            usual |= {"default_layer": f"image.{layer.name}", "why_layer": "as the classifier has it"}
        spec = f"{PREFIX}:{self._name}"
        encode = lambda said: self.encode(said).to(self.base.device)
        checked = dual.checked(spec, asked)
        return dual.wrapped(spec, tower, encode, checked, scale=SCALE, bias=None, **{**usual, **wrapping})

    def save(self, path: str | Path) -> Path:
        """Write it; the whole file or none of it. The encoder is not in it."""
        place = place_of(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_suffix(f".{os.getpid()}.partial")
        state = {
            _NETWORK + name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()
        }
        state[_HEARD] = self.encode(self.record.known[:1])[0].detach().cpu().contiguous()
        save_file(state, partial, metadata={PREFIX: json.dumps(asdict(self.record))})
        partial.replace(place)
        return place

    @property
    def _name(self) -> str:
        return f"{self.base.name}, aligned to text"


def load(name: str, *, texts: Sequence[str] | None = None, **wrapping: Any) -> VisionModel:
    """The model in that file as a dual encoder.

    texts: one class per text; None is "a" and the name of each class that it was taught

    Raises LoadError for what is no such file, and where the classifier or the encoder does not open or has changed.
    """
    return reopened(name).among(texts, **wrapping)


def reopened(path: str | Path, model: VisionModel | None = None, encoder: str | EncodeTexts | None = None) -> Aligned:
    """What `Aligned.save` wrote.

    model, encoder: those it was made of, where they cannot be opened by their names; of the model only the architecture
                    counts

    Raises LoadError.
    """
    from pellucid.subject.loaders import load as load_any

    place = place_of(path)
    spec = f"{PREFIX}:{place}"
    try:
        with safe_open(place, framework="pt") as file:
            told: dict[str, Any] = json.loads(file.metadata()[PREFIX])
        state = load_file(place)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise LoadError(
            spec, "it holds no aligned model.", "Write one with `pellucid translate align-to-text`."
        ) from error
    told["known"], told["retrieval"] = tuple(told["known"]), Retrieval(**told["retrieval"])
    record = Record(**told)
    if (model is None and not record.model) or (encoder is None and not record.encoder):
        raise LoadError(spec, "it was made of what had no name.", "Open it by align.reopened(path, model, encoder).")
    base = load_any(record.model) if model is None else model
    encode = encoder_of(record.encoder if encoder is None else encoder, record.known)
    heard = state.pop(_HEARD)
    if not torch.allclose(encode(record.known[:1])[0].cpu().float(), heard.float(), atol=1e-3):
        raise LoadError(spec, "the encoder puts texts elsewhere than when the model learned.", "Align it anew.")
    network = widened(base, record.head, len(heard))
    try:
        network.load_state_dict({name.removeprefix(_NETWORK): value for name, value in state.items()})
    except RuntimeError as error:
        raise LoadError(spec, f"its weights do not fit {base.name}.", "Name the model that it was made of.") from error
    return Aligned(base, network, encode, record)


def encoder_of(asked: str | EncodeTexts, texts: Sequence[str]) -> EncodeTexts:
    """Texts to embeddings of length 1.

    asked: a dual encoder by its spec, `words` for the sentence encoder of that extra, or any callable
    texts: two that it can read

    Raises LoadError for a model that reads no texts.
    """
    from pellucid.subject.loaders import load as load_any

    if not isinstance(asked, str):
        return asked
    if asked == WORDS:
        return SentenceEncoder()
    encode = load_any(asked, texts=list(dict.fromkeys(texts))[:2]).text_encoder
    if encode is None:
        raise LoadError(asked, "it reads no texts.", "Name a dual encoder, or `words`.")

    def embedded(said: Sequence[str]) -> Tensor:
        with torch.no_grad():
            return torch.stack([encode(text) for text in said])

    return embedded


def widened(model: VisionModel, name: str, dim: int, seed: int = 0) -> nn.Module:
    """A copy of its network, float32, whose linear layer `name` gives `dim` further numbers, untaught."""
    assert model.network is not None
    narrow = model.network.get_submodule(name)
    assert isinstance(narrow, nn.Linear)
    classes = narrow.out_features
    with seeded(seed), torch.no_grad():
        wide = nn.Linear(narrow.in_features, classes + dim).to(narrow.weight.device)
        wide.weight[:classes] = narrow.weight
        wide.bias[:classes] = dict(narrow.named_parameters()).get("bias", torch.zeros(classes))
    return _with_head(model.network, name, wide).float()


def _narrowed(network: nn.Module, name: str, rows: slice) -> nn.Module:
    """A copy whose linear layer `name` gives these of its numbers only."""
    narrow = copy.deepcopy(network.get_submodule(name))
    assert isinstance(narrow, nn.Linear)
    narrow.weight = nn.Parameter(narrow.weight.detach()[rows].clone())
    narrow.bias = nn.Parameter(narrow.bias.detach()[rows].clone())
    narrow.out_features = len(narrow.weight)
    return _with_head(network, name, narrow)


def _with_head(network: nn.Module, name: str, head: nn.Linear) -> nn.Module:
    copied = copy.deepcopy(network)
    above, _, last = name.rpartition(".")
    setattr(copied.get_submodule(above), last, head)
    return copied.eval()
