"""One errand of the command line: which pictures, which model, what is asked, where the answers go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pellucid.attribution.fitted import attach
from pellucid.compute.memory import Budget
from pellucid.engine.least import least_bytes
from pellucid.engine.maps import layer_for, refuse_if_unavailable
from pellucid.errors import ImageError, MethodUnavailable, PreprocessError, RequestError
from pellucid.images import find
from pellucid.language.narrators import narrator_of
from pellucid.registry import find_method
from pellucid.stories.folder import JOURNAL, SUFFIXES, Done, Failed, Item, Journal, items_of
from pellucid.stories.maps import NO_ATTENTION, check_layer, lacks_attention, needs_of, said_later
from pellucid.stories.panel import Plan, plan
from pellucid.stories.places import asks_for_every, items_of_places
from pellucid.stories.request import Request
from pellucid.subject import VisionModel, load
from pellucid.subject.targets import class_in_words
from pellucid.values.place import place_of

_USUAL_SIZE = (224, 224)


@dataclass(frozen=True, eq=False)
class Errand:
    """Everything checked and loaded; only the work is left.

    missing: what was asked for and is not there, one line each
    """

    model: VisionModel
    items: tuple[Item, ...]
    missing: tuple[Failed, ...]
    request: Request
    out: Path
    memory: float | None = None

    @property
    def plan(self) -> Plan:
        """What will be done for a picture of the model's own input size."""
        size = self.model.input_size or _USUAL_SIZE
        request = self.request
        with said_later():
            return plan(self.model, size, budget=request.budget, methods=request.methods, layer=request.layer)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of an errand."""

    done: tuple[Done, ...]
    failed: tuple[Failed, ...]
    index: Path | None
    out: Path

    def to_dict(self) -> dict[str, Any]:
        return {
            "done": [
                {
                    "source": one.source, "page": str(one.page), "sheet": str(one.page.with_suffix(".png")),
                    "record": str(one.page.with_suffix(".json")), "resumed": one.resumed,
                    "answer": one.story.answer.label,
                    "probability": one.story.answer.probability, "target": one.story.target_name,
                    "method": one.story.choice.method, "beats_controls": one.story.choice.beats_controls,
                    "claims": [claim.text for claim in one.story.claims], "passes": one.story.cost.get("passes"),
                }
                for one in self.done
            ],
            "failed": [{"source": one.source, "reason": one.reason} for one in self.failed],
            "index": str(self.index) if self.index else None,
            "out": str(self.out),
        }  # fmt: skip


def prepare(
    images: Sequence[str],
    model: str,
    *,
    out: Path,
    target: str | int | None = None,
    methods: str | None = None,
    layer: str | None = None,
    device: str | None = None,
    seed: int = 0,
    memory: float | None = None,
    budget: int = 400,
    faithfulness_target: float | None = None,
    narrator: str | None = None,
    explainers: Sequence[str | Path] = (),
) -> Errand:
    """Finds the pictures, loads the model and refuses at once what cannot be done for any of them.

    methods: names with commas between; target: a class name, or its number; `every` is every box that a detector finds,
             and every region of a segmenter
    explainers: files of explainers that were fitted to the model

    Raises UnknownMethod, MethodUnavailable, UnknownLayer, UnknownClass, LoadError, RequestError, MemoryBudgetError
    where not even one picture fits, and ImageError where not one picture is there.
    """
    names = _names(methods)
    for name in names or ():
        find_method(name)
    if memory is not None and not 0 < memory < math.inf:
        raise RequestError(f"--memory {memory}; expected GiB above 0.")
    request = Request(target=class_in_words(target), methods=names, layer=layer, budget=budget, seed=seed,
                      faithfulness_target=faithfulness_target, narrator=narrator)  # fmt: skip
    if narrator is not None:
        narrator_of(narrator)
    items, missing = _found(images, out)
    _check_places(items, out)
    under_study = attach(load(model, device=device), explainers)
    if under_study.preprocess is None:
        raise PreprocessError(under_study.name)
    labels = under_study.labels  # names that do not fit are wrong for every picture, and so is an unknown class
    if asks_for_every(under_study, request.target):
        request = replace(request, target=None)
        items, empty = items_of_places(under_study, items)
        missing += empty
        _check_places(items, out)
    elif request.target is not None:
        labels.index(request.target)
    with said_later():
        _check_methods(under_study, names, layer)
    errand = Errand(under_study, tuple(items), tuple(missing), request, out, memory)
    _check_memory(errand)
    return errand


def _check_memory(errand: Errand) -> None:
    """Refuses before the first picture a budget that allows for nothing, of passes or of memory."""
    model, size = errand.model, errand.model.input_size
    asked = [find_method(step.method) for step in errand.plan.steps]
    if size is not None:  # else every picture is as large as it is
        Budget.of(errand.memory, model.device).hold(least_bytes(model, needs_of(asked), size))


def _names(methods: str | None) -> tuple[str, ...] | None:
    if methods is None:
        return None
    names = tuple(name.strip() for name in methods.split(",") if name.strip())
    if not names:
        raise RequestError("--methods names no method. `pellucid methods` lists them.")
    return names


def _found(images: Sequence[str], out: Path) -> tuple[list[Item], list[Failed]]:
    """The files meant, and what led nowhere. Raises ImageError where nothing led anywhere.

    Sheets that an earlier run left in `out` are no pictures, unless one is named outright.
    """
    sheets = {(out / f"{stem}.png").resolve() for stem in Journal(out / JOURNAL).finished().values()}
    paths: list[Path] = []
    missing: list[Failed] = []
    first: ImageError | None = None
    for pattern in images:
        try:
            found = find(pattern)
            named = found == [place_of(pattern)]
            paths += [path for path in found if named or path.resolve() not in sheets]
        except ImageError as error:
            first = first or error
            missing.append(Failed(pattern, str(error)))
    if not paths and first is not None:
        raise first
    if not paths:
        raise ImageError(", ".join(images), "all pictures there are sheets that an earlier run wrote.", "Name others.")
    return items_of(list(dict.fromkeys(paths))), missing


def _check_places(items: Sequence[Item], out: Path) -> None:
    """Raises RequestError where what is written would replace a picture that is read."""
    pictures = {Path(item.source).resolve() for item in items}
    for item in items:
        for suffix in SUFFIXES:
            if (out / f"{item.stem}{suffix}").resolve() in pictures:
                raise RequestError(
                    f"--out {out} would write {item.stem}{suffix} over a picture of that name. Choose another folder."
                )


def _check_methods(model: VisionModel, names: Sequence[str] | None, layer: str | None) -> None:
    size = model.input_size or _USUAL_SIZE
    for method in map(find_method, names or ()):
        refuse_if_unavailable(model, method)
        if lacks_attention(model, method, size):
            raise MethodUnavailable(method.name, NO_ATTENTION, ("grad_cam", "layer_cam", "occlusion"))
        layer_for(model, method, layer, size)
    check_layer(model, layer, size)
