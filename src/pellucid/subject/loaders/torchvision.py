"""Classifiers, detectors and segmenters of torchvision, with the preprocessing and labels of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from pellucid.compute.train import seeded
from pellucid.errors import LoadError, UnknownModel
from pellucid.subject.loaders import dense
from pellucid.subject.loaders.architecture import Architecture, untrained
from pellucid.subject.loaders.libraries import first_line, library
from pellucid.values import Preprocess

if TYPE_CHECKING:
    from pellucid.subject.model import VisionModel

PREFIX = "torchvision"
EXAMPLE = "torchvision:resnet50"
HELP = (
    "a torchvision classifier, detector or segmenter; @IMAGENET1K_V1 chooses its weights, @random leaves it untrained"
)

# torchvision builds these two otherwise when their weights come with them; weights from a file belong to that build.
# Their own first weights take a minute to draw, and are thrown away.
_AS_PUBLISHED: Mapping[str, Mapping[str, bool]] = {
    "googlenet": {"transform_input": True, "init_weights": False},
    "inception_v3": {"transform_input": True, "init_weights": False},
}


def load(name: str, *, weights: bool | str = True, seed: int = 0, **wrapping: Any) -> VisionModel:
    """A torchvision model. `resnet50.IMAGENET1K_V1` and `resnet50@IMAGENET1K_V1` mean the same.

    Raises LoadError for an unknown name, for tasks such as optical flow and video, and when the download fails.
    """
    from pellucid.subject.model import wrap

    entry, _, tag = name.partition(".")
    if _is_dense(entry):
        return _dense(entry, tag, weights, seed, wrapping)
    if weights is False:
        drawn = architecture(entry, seed=seed)
        found: dict[str, Any] = {"preprocess": drawn.preprocess, "labels": drawn.labels, "notes": (untrained(seed),)}
        return wrap(drawn.module, name=entry, **{**found, **wrapping})
    chosen = _weights(entry, tag or (weights if isinstance(weights, str) else "DEFAULT"))
    elsewhere = f"Fetch {chosen.url} elsewhere and load it with pl.load('FILE.pth?arch={PREFIX}:{entry}'), or write"
    module = _trained(entry, chosen, elsewhere)
    found = {"preprocess": _preprocess(chosen), "labels": chosen.meta["categories"]}
    return wrap(module.eval(), name=entry, **{**found, **wrapping})


def _trained(entry: str, chosen: Any, elsewhere: str, **options: Any) -> Any:
    """The module with its weights. Raises LoadError where they cannot be fetched; `elsewhere` begins what to do."""
    try:
        # Fetched once with pickles refused; get_model then reads the same checked file from the cache.
        chosen.get_state_dict(progress=False, check_hash=True, weights_only=True)
        return _models(entry).get_model(entry, weights=chosen, progress=False, **options)
    except (URLError, TimeoutError, ConnectionError) as error:
        raise LoadError(
            f"{PREFIX}:{entry}", f"its weights could not be downloaded: {first_line(error)}",
            f"{elsewhere} {PREFIX}:{entry}@random for an untrained one.",
        ) from error  # fmt: skip


def _is_dense(name: str) -> bool:
    """Whether it is a detector or a segmenter."""
    models = _models(name)
    return name in [*models.list_models(module=models.detection), *models.list_models(module=models.segmentation)]


def _dense(entry: str, tag: str, weights: bool | str, seed: int, wrapping: dict[str, Any]) -> VisionModel:
    """A detector or segmenter, which answers for pictures as well as for their places; see `subject.places`."""
    from pellucid.subject.model import wrap

    chosen = _entry(entry, tag or (weights if isinstance(weights, str) else "DEFAULT"))
    categories = list(chosen.meta["categories"])
    notes: tuple[str, ...] = ()
    if weights is False:
        with seeded(seed):
            module = _models(entry).get_model(entry, weights=None, weights_backbone=None, num_classes=len(categories))
        notes = (untrained(seed),)
    else:
        module = _trained(entry, chosen, f"Put {chosen.url} into torch's own cache, or write", weights_backbone=None)
    found: dict[str, Any] = {"labels": dense.names_of(module, categories), "notes": notes}
    if not hasattr(module, "transform"):  # a segmenter; detectors say themselves how large they like their pictures
        settings = chosen.transforms()
        found["preprocess"] = Preprocess(
            resize=settings.resize_size[0], mean=tuple(settings.mean), std=tuple(settings.std),
            interpolation="bilinear",
        )  # fmt: skip
    return wrap(module.eval(), name=entry, **{**found, **wrapping})


def architecture(name: str, *, classes: int | None = None, seed: int = 0) -> Architecture:
    """A torchvision classifier with weights drawn from `seed`, for `classes` classes (None: as it was published)."""
    usual = _weights(name, "DEFAULT")
    options: dict[str, Any] = dict(_AS_PUBLISHED.get(name, {})) | ({} if classes is None else {"num_classes": classes})
    with seeded(seed):
        module = _models(name).get_model(name, weights=None, **options)
    return Architecture(module.eval(), _preprocess(usual), usual.meta["categories"] if classes is None else None)


def _models(name: str) -> Any:
    return library("torchvision.models", "torchvision", f"{PREFIX}:{name}")


def _weights(name: str, tag: str) -> Any:
    """The entry of torchvision's table of weights. Raises LoadError for what is not in it."""
    models = _models(name)
    classifiers = models.list_models(module=models)
    if name in classifiers:
        return _entry(name, tag)
    if _is_dense(name):
        raise LoadError(f"{PREFIX}:{name}", "a file of weights is not read into a detector or segmenter.",
                        "Load it into torchvision's own module, and hand that to pl.wrap.")  # fmt: skip
    if name in models.list_models():
        raise LoadError(f"{PREFIX}:{name}", "it is no classifier of single pictures, no detector and no segmenter.",
                        "Load it with torchvision and say what to explain: pl.wrap(model, output=...).")  # fmt: skip
    raise UnknownModel(f"{PREFIX}:{name}", "torchvision has no model of that name.", asked=name, known=classifiers,
                       remedy="torchvision.models.list_models() lists all.")  # fmt: skip


def _entry(name: str, tag: str) -> Any:
    table = _models(name).get_model_weights(name)
    if tag in table.__members__:
        return table[tag]
    listing = ", ".join(entry.name for entry in table)
    raise LoadError(f"{PREFIX}:{name}", f"it has no weights {tag!r}.", f"It has {listing}, and @random.")


def _preprocess(weights: Any) -> Preprocess:
    transforms = weights.transforms()
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    return Preprocess(
        size=(crop, crop), resize=resize, mean=tuple(transforms.mean), std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
    )  # fmt: skip
