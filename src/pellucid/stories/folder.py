"""Many pictures into one folder: a page, a sheet and a record each, an index, and a journal by which it resumes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.errors import FileError, PellucidError
from pellucid.images import Frame, read
from pellucid.language.narrators import Narrator, narrator_of
from pellucid.results import Explanation, Truth, open_explanation
from pellucid.stories.maps import said_later
from pellucid.stories.picture import explain_one
from pellucid.stories.request import Request, batches_of
from pellucid.stories.runner import Here, Runner
from pellucid.subject import VisionModel
from pellucid.values import Target

JOURNAL = "journal.jsonl"
SUFFIXES = (".html", ".png", ".json")


@dataclass(frozen=True)
class Done:
    """One picture that is finished. resumed: whether it was found finished rather than explained now."""

    source: str
    stem: str
    page: Path
    story: Explanation
    resumed: bool = False


@dataclass(frozen=True)
class Failed:
    """One picture that could not be explained, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Item:
    """One picture to do: where it comes from and what its files are called; `frame` where it was read already.

    target: what is explained of it; None is what the request asks
    """

    source: str
    stem: str
    frame: Frame | None = None
    truth: Truth | None = None
    target: Target | None = None


def explain_into(
    folder: Path,
    model: VisionModel,
    items: Sequence[Item],
    request: Request,
    *,
    memory: float | None = None,
    runner: Runner | None = None,
) -> Iterator[Done | Failed]:
    """Explains every item and writes NAME.html, NAME.png and NAME.json into `folder`, one picture at a time.

    What the journal there lists as finished, with all its files, is not done again. A picture that cannot be explained
    is reported and the next one goes on. Files are written whole or not at all.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            folder, f"it cannot be made a folder: {error.strerror or error}.", "Choose another place."
        ) from error
    journal = Journal(folder / JOURNAL)
    finished = journal.finished()
    narrator = None if request.narrator is None else narrator_of(request.narrator)

    def work(item: Item) -> Done | Failed:
        return _one(folder, model, item, request, memory, journal, finished, narrator)

    yield from (runner or Here()).run(work, items, label=f"Explaining with {model.name}")


def items_of(paths: Sequence[Path]) -> list[Item]:
    """One item per file, with names that do not collide: `a/dog.jpg` and `b/dog.jpg` become `dog` and `dog-2`.

    A picture called `index` becomes `index-2`, for the page of that name is the index of them all.
    """
    taken: dict[str, int] = {"index": 1}
    items = []
    for path in paths:
        stem = path.stem or "picture"
        taken[stem] = taken.get(stem, 0) + 1
        name = stem if taken[stem] == 1 else f"{stem}-{taken[stem]}"
        while name != stem and name in taken:
            taken[stem] += 1
            name = f"{stem}-{taken[stem]}"
        taken.setdefault(name, 1)
        items.append(Item(str(path), name))
    return items


class Journal:
    """Lines of JSON, one per finished picture: its key and what its files are called.

    A line that a crash cut short is skipped; so is a line whose files are gone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def finished(self) -> dict[str, str]:
        """Key -> stem of all that is finished and still there. Raises FileError."""
        if not self.path.exists():
            return {}
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise self._failed("read", error) from error
        found: dict[str, str] = {}
        for line in lines:
            try:
                record = json.loads(line)
                key, stem = str(record["key"]), str(record["stem"])
            except (ValueError, KeyError, TypeError):
                continue
            if all((self.path.parent / f"{stem}{suffix}").exists() for suffix in SUFFIXES):
                found[f"{key}/{stem}"] = stem
        return found

    def add(self, key: str, stem: str, source: str) -> None:
        """Notes one picture as finished, on disk before it returns. Raises FileError."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "stem": stem, "source": source}) + "\n")
                file.flush()
        except OSError as error:
            raise self._failed("written", error) from error

    def _failed(self, what: str, error: OSError) -> FileError:
        problem = f"the journal of finished pictures cannot be {what}: {error.strerror or error}."
        return FileError(self.path, problem, "Move it away, or choose another folder.")


def _one(
    folder: Path, model: VisionModel, item: Item, request: Request, memory: float | None, journal: Journal,
    finished: dict[str, str], narrator: Narrator | None,
) -> Done | Failed:  # fmt: skip
    page = folder / f"{item.stem}.html"
    try:
        frame = item.frame or read(item.source)
        key = request.key(model, frame)
        if f"{key}/{item.stem}" in finished:
            try:
                return Done(item.source, item.stem, page, open_explanation(page.with_suffix(".json")), resumed=True)
            except FileError:
                pass  # damaged since: done again below
        (batch,) = batches_of(model, frame)
        with said_later():  # it stands in the notes of the maps
            story = explain_one(
                model, batch, request, target=item.target, memory=memory, truth=item.truth, narrator=narrator
            )
        for suffix in SUFFIXES:
            story.save(page.with_suffix(suffix))
        journal.add(key, item.stem, item.source)
    except PellucidError as error:
        return Failed(item.source, str(error))
    return Done(item.source, item.stem, page, story)
