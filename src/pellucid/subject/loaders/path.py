"""Local files and folders: weights with a config beside them, or for an architecture that is named.

What a folder is, is read from its `config.json`: transformers writes `model_type`, timm `architecture`, and our own has
an `architecture` with a prefix (see `pellucid.subject.loaders.config`); open_clip writes `open_clip_config.json`.
Weights are read without running anything that stands in the file: safetensors, or `torch.load(weights_only=True)`.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.errors import LoadError, UnknownModel
from pellucid.subject.loaders import SOURCES
from pellucid.subject.loaders.architecture import Architecture
from pellucid.subject.loaders.config import Config, beside, read, understood
from pellucid.subject.loaders.libraries import first_line
from pellucid.values.place import leads_to, place_of

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel

PREFIX = "path"
EXAMPLE = "path:birds.safetensors?arch=timm:resnet18"
HELP = "a file or folder, also without the prefix: weights with config.json beside them or ?arch=, timm or hf folders"

_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "ema", "module")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
_LISTED = 6
_HEAD_TENSORS = 6  # weight and bias of one head; a distilled DeiT has two of them, googlenet three
_CUT_OFF = "Copy it again; it may be cut off."


def load(
    name: str, *, arch: str | None = None, texts: Sequence[str] | None = None, trust_remote_code: bool = False,
    **wrapping: Any,
) -> VisionModel:  # fmt: skip
    """The model in a file or folder.

    arch: the architecture that a file of weights belongs to, as `timm:resnet18`; with it come its usual preprocessing
          and, where the number of classes is the usual one, its class names

    Raises LoadError that says what was found and what is missing.
    """
    path = place_of(name)
    spec = str(path)
    if leads_to(path) == "nothing":
        raise LoadError(spec, "there is no such file or folder.", "Check the path.")
    if path.is_dir():
        return _folder(path, arch, texts, trust_remote_code, wrapping)
    if texts is not None:
        raise LoadError(spec, "only dual encoders are compared with texts.", "Leave texts out.")
    if path.suffix.lower() == ".onnx":
        return SOURCES["onnx"].loader.load(spec, **wrapping)
    if path.suffix.lower() not in _WEIGHTS:
        raise LoadError(spec, f"files that end in {path.suffix or 'nothing'!r} are not known.",
                        f"Known are .onnx and {', '.join(_WEIGHTS)}.")  # fmt: skip
    return _filled(path, arch, beside(path), wrapping)


def _folder(
    path: Path, arch: str | None, texts: Sequence[str] | None, trust_remote_code: bool, wrapping: dict[str, Any]
) -> VisionModel:
    spec = str(path)
    if (path / "open_clip_config.json").is_file():
        return SOURCES["open_clip"].loader.load(f"local-dir:{path}", texts=texts, **wrapping)
    if arch is not None:
        return _filled(_only_weights(path), arch, None, wrapping)
    if not (path / "config.json").is_file():
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:_LISTED]) or "nothing"
        problem = f"the folder has no config.json; it holds {found}."
        raise LoadError(spec, problem, "Name the architecture: ?arch=timm:resnet18.")
    entries = read(path / "config.json")
    if "model_type" in entries:
        return SOURCES["hf"].loader.load(spec, texts=texts, trust_remote_code=trust_remote_code, **wrapping)
    if texts is not None:
        raise LoadError(spec, "only dual encoders are compared with texts.", "Leave texts out.")
    named = entries.get("architecture")
    if isinstance(named, str) and ":" in named:
        return _filled(_only_weights(path), None, understood(str(path / "config.json"), entries), wrapping)
    if isinstance(named, str):
        _only_weights(path)
        return SOURCES["timm"].loader.load(f"local-dir:{path}", **wrapping)
    raise LoadError(
        spec, f"its config.json has the keys {', '.join(list(entries)[:_LISTED]) or 'none'}.",
        "A transformers folder has model_type, a timm folder architecture; for bare weights write "
        '{"architecture": "timm:resnet18"}.',
    )  # fmt: skip


def _only_weights(folder: Path) -> Path:
    files = sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in _WEIGHTS)
    safe = [entry for entry in files if entry.suffix.lower() == ".safetensors"]
    found = safe or files
    if len(found) != 1:
        listing = ", ".join(entry.name for entry in found) or "none"
        raise LoadError(str(folder), f"one file of weights is expected in the folder; found {listing}.",
                        f"Name the file, or put one in ({', '.join(_WEIGHTS)}).")  # fmt: skip
    return found[0]


def _filled(path: Path, arch: str | None, told: Config | None, wrapping: dict[str, Any]) -> VisionModel:
    """The architecture with the weights in it."""
    from pellucid.subject.model import wrap

    told = told or Config()
    named = arch or told.architecture
    if named is None:
        raise LoadError(
            str(path), "a file of weights does not say to which architecture it belongs.",
            f"Write {path.name}?arch=timm:resnet18, or a {path.stem}.json beside it with "
            '{"architecture": "timm:resnet18"}.',
        )  # fmt: skip
    build = _builder(str(path), named)
    state = _stripped(weights(path))
    blank = build(None)
    count = _classes(state, blank.module.state_dict())
    if count is not None:
        blank = build(count)
    _check_match(str(path), named, state, blank.module.state_dict())
    blank.module.load_state_dict(state)
    usual: dict[str, Any] = {"preprocess": blank.preprocess, "labels": blank.labels, "name": path.stem}
    return wrap(blank.module, **{**usual, **told.wrapping, **wrapping})


def _builder(spec: str, named: str) -> Callable[[int | None], Architecture]:
    """A function of the number of classes (None: the usual one). Raises LoadError for what is no architecture."""
    prefix, _, name = named.partition(":")
    name = name.partition("@")[0]
    buildable = ("timm", "torchvision")
    if prefix not in buildable or not name:
        raise UnknownModel(
            spec, f"arch={named!r} is no architecture that can be filled.", asked=prefix, known=buildable,
            remedy="Name one of timm or torchvision, as timm:resnet18; wrap other modules with pl.wrap.",
        )  # fmt: skip
    build = SOURCES[prefix].loader.architecture
    return lambda classes: build(name, classes=classes)


def weights(path: Path) -> dict[str, Tensor]:
    """The tensors in a file, by name; nothing in it is run. Raises LoadError for pickled objects and damaged files."""
    spec = str(path)
    if path.suffix.lower() == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise LoadError(spec, f"it cannot be read: {first_line(error)}", _CUT_OFF) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch wonders about the pickle; what it cannot read is refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise LoadError(
            spec, f"it holds more than tensors, and reading that would run code from the file: {_refused(error)}",
            "If you trust it, load it yourself and save its weights: safetensors.torch.save_file(model.state_dict(), "
            "'weights.safetensors').",
        ) from error  # fmt: skip
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError) as error:
        if "TorchScript" in str(error):
            raise LoadError(spec, "it is a TorchScript archive, not a file of weights.",
                            "Wrap it: pl.wrap(torch.jit.load(path)).") from error  # fmt: skip
        told = first_line(error) if isinstance(error, (RuntimeError, OSError)) else "it is no file that torch wrote."
        raise LoadError(spec, f"it cannot be read: {told}", _CUT_OFF) from error
    return _tensors(spec, content)


def _refused(error: Exception) -> str:
    """The class that weights_only refused, out of torch's long explanation."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"it asks for {named[1]}." if named else "it is a pickle."


def _tensors(spec: str, content: Any) -> dict[str, Tensor]:
    """The state dict in what a training script saved."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        raise LoadError(spec, f"it holds a {type(content).__name__}, not named tensors.", "Save model.state_dict().")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(str(key) for key in list(content)[:_LISTED]) or "nothing"
        raise LoadError(spec, f"it holds no tensors; its keys are {keys}.", "Save model.state_dict().")
    return tensors


def _stripped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what a wrapper put before all of them: `module.`, `model.` and their like."""
    stripped = dict(state)
    while prefix := next((entry for entry in _PREFIXES if all(key.startswith(entry) for key in stripped)), None):
        stripped = {key.removeprefix(prefix): value for key, value in stripped.items()}
    return stripped


def _classes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> int | None:
    """The number of classes, where the head is all that differs and agrees on one number."""
    counts = {
        (len(value), len(wanted[key]))
        for key, value in state.items()
        if key in wanted and value.ndim and wanted[key].ndim and value.shape != wanted[key].shape
        and value.shape[1:] == wanted[key].shape[1:]
    }  # fmt: skip
    differing = sum(1 for key, value in state.items() if key in wanted and value.shape != wanted[key].shape)
    return next(iter(counts))[0] if len(counts) == 1 and differing <= _HEAD_TENSORS else None


def _check_match(spec: str, named: str, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    problems = []
    missing, unknown = [key for key in wanted if key not in state], [key for key in state if key not in wanted]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing:
        problems.append(f"{len(missing)} tensors are missing ({_some(missing)})")
    if unknown:
        problems.append(f"{len(unknown)} are not part of it ({_some(unknown)})")
    if wrong:
        shapes = [f"{key}: {list(state[key].shape)} instead of {list(wanted[key].shape)}" for key in wrong]
        problems.append(f"{len(wrong)} have another shape ({_some(shapes)})")
    if problems:
        listing = "; ".join(problems)
        raise LoadError(spec, f"the weights do not fit {named}: {listing}.", "Name the architecture they come from.")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
