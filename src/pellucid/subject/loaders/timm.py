"""Classifiers of timm, with the preprocessing of their own config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from pellucid.compute.train import seeded
from pellucid.errors import LoadError, UnknownModel
from pellucid.subject import timm_config
from pellucid.subject.labels import Labels
from pellucid.subject.loaders import imagenet
from pellucid.subject.loaders.architecture import Architecture, untrained
from pellucid.subject.loaders.libraries import first_line, library
from pellucid.values import Preprocess

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel

PREFIX = "timm"
EXAMPLE = "timm:resnet50.a1_in1k"
HELP = "a timm classifier, also hf-hub:owner/name of one; @random leaves it untrained"


def load(
    name: str, *, weights: bool | str = True, seed: int = 0, input_size: tuple[int, int] | None = None, **wrapping: Any
) -> VisionModel:
    """A timm classifier: `resnet50.a1_in1k`, or `hf-hub:owner/name`, or `local-dir:folder`.

    input_size: rows and columns other than the usual ones; position embeddings are resized by timm

    Raises LoadError for an unknown name, one without trained weights, and when the download fails.
    """
    from pellucid.subject.model import wrap

    full = name if not isinstance(weights, str) else f"{name}@{weights}" if ":" in name else f"{name}.{weights}"
    module = _create(full, trained=weights is not False, seed=seed, input_size=input_size)
    notes = () if weights is not False else (untrained(seed),)
    if wrapping.get("preprocess") is None:
        wrapping["preprocess"] = _own_preprocess(full, module, input_size)
    wrapping.setdefault("labels", _labels(module))
    return wrap(module.eval(), name=name.rpartition(":")[2], notes=notes, **wrapping)


def architecture(name: str, *, classes: int | None = None, seed: int = 0) -> Architecture:
    """A timm model with weights drawn from `seed`, for `classes` classes (None: as it was published)."""
    module = _create(name, trained=False, seed=seed, classes=classes)
    labels = _labels(module) if classes is None else None
    return Architecture(module.eval(), _own_preprocess(name, module, None), labels)


def preprocess(spec: str, config: Mapping[str, Any]) -> Preprocess:
    """The value of timm's `data_config`, equal to timm's own evaluation transform.

    Raises LoadError for what Preprocess cannot say.
    """
    said = timm_config.preprocess(config)
    if said is None:
        raise LoadError(spec, f"its preprocessing cannot be followed: {dict(config)}.", "Say it yourself: preprocess=.")
    return said


def _create(
    name: str, *, trained: bool, seed: int, classes: int | None = None, input_size: tuple[int, int] | None = None
) -> nn.Module:
    spec = f"{PREFIX}:{name}"
    timm = library("timm", "timm", spec)
    if "/" in name and ":" not in name:
        raise LoadError(spec, "timm has no model of that name.", f"On the hub it would be {PREFIX}:hf-hub:{name}.")
    if ":" not in name and not timm.is_model(name):
        base = name.partition(".")[0]
        known = timm.list_pretrained(f"{base}.*") if timm.is_model(base) else timm.list_models()
        raise UnknownModel(spec, "timm has no model of that name.", asked=name, known=known,
                           remedy="timm.list_models() lists all.")  # fmt: skip
    if trained and ":" not in name:
        _check_trained(timm, spec, name)
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if input_size is not None and _sized(timm, name):
        options["img_size"] = input_size
    try:
        with seeded(seed):
            return timm.create_model(name, pretrained=trained, **options)
    except FileNotFoundError as error:  # neither on this machine nor reachable
        other = "" if ":" in name else f" {PREFIX}:{name.partition('.')[0]}@random is an untrained one."
        raise LoadError(spec, f"it could not be fetched: {first_line(error)}",
                        f"Check the name and the connection.{other}") from error  # fmt: skip
    except (OSError, RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise LoadError(
            spec, f"timm could not load it: {first_line(error)}", "Check the name and the files."
        ) from error


def _check_trained(timm: Any, spec: str, name: str) -> None:
    """Refuses a name without trained weights before a network of that size is built."""
    base, _, tag = name.partition(".")
    tags = timm.list_pretrained(f"{base}.*") + timm.list_pretrained(base)
    if not tags:
        raise LoadError(spec, "timm knows no trained weights for it.", f"{PREFIX}:{base}@random is an untrained one.")
    if tag and name not in tags:
        raise UnknownModel(spec, f"it has no weights {tag!r}.", asked=name, known=tags,
                           remedy=f"Trained weights exist for {', '.join(tags[:8])}.")  # fmt: skip


def _sized(timm: Any, name: str) -> bool:
    """Whether the architecture is built for one size, as a transformer with position embeddings is."""
    if ":" in name:
        return True
    config = timm.get_pretrained_cfg(name)
    return bool(config and config.fixed_input_size)


def _own_preprocess(name: str, module: nn.Module, input_size: tuple[int, int] | None) -> Preprocess:
    data = library("timm.data", "timm", f"{PREFIX}:{name}")
    config: Mapping[str, Any] = getattr(module, "pretrained_cfg", None) or {}
    size = input_size or _built_for(module)
    asked = {} if size is None or tuple(config.get("input_size", ()))[1:] == size else {"input_size": (3, *size)}
    config = data.resolve_data_config(asked, pretrained_cfg=getattr(module, "pretrained_cfg", None))
    return preprocess(f"{PREFIX}:{name}", config)


def _built_for(module: nn.Module) -> tuple[int, int] | None:
    """The size that a transformer's positions were laid out for, whatever its config says of the usual one."""
    size = getattr(getattr(module, "patch_embed", None), "img_size", None)
    return (int(size[0]), int(size[1])) if isinstance(size, (tuple, list)) and len(size) == 2 else None


def _labels(module: nn.Module) -> Labels | None:
    """Class names from its config, or those of the ImageNet subset it was trained on; None where neither is known."""
    config: Mapping[str, Any] = getattr(module, "pretrained_cfg", None) or {}
    classes = getattr(module, "num_classes", None)
    names, described = config.get("label_names"), config.get("label_descriptions")
    if names and len(names) == classes:
        return imagenet.labels([described[name] for name in names] if isinstance(described, Mapping) else names)
    data = library("timm.data", "timm", "ImageNet class names")
    subset = data.infer_imagenet_subset(module)
    if subset is None or config.get("num_classes") != classes:
        return None
    info = data.ImageNetInfo(subset)
    return imagenet.labels([info.index_to_description(index) for index in range(info.num_classes())])
