"""Drafts of descriptions and what a person made of them, kept as JSON lines: supervision for whoever writes next.

Garg et al., ImageInWords, 2024: descriptions are seeded by a model and edited one round after the other, each of which
sees the last.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.language.scorecard import Scorecard, score, seen_by_witness, sentences_of
from pellucid.testbed.nets import Captioner, VisionLanguage, loaded
from pellucid.testbed.witness import SIZE

WRITERS = ("captioner", "vlm")
_FIELDS = ("picture", "writer", "editor", "round", "draft", "edited")


@dataclass(frozen=True)
class Change:
    """One piece of an edit: `insert`, `delete` or `replace`, of words, in the order of the draft.

    at: word of the draft before which it stands
    """

    kind: str
    at: int
    before: str
    after: str

    def __str__(self) -> str:
        return {"insert": f"+ {self.after}", "delete": f"- {self.before}"}.get(
            self.kind, f"- {self.before}  + {self.after}"
        )


@dataclass(frozen=True)
class Review:
    """One round of editing.

    picture: its name, as it was asked for; writer: who wrote the draft; editor: who edited it
    round:   counted from 1; the draft of a later round is what the last one made of it
    scores:  scorecards of draft and edit, where they could be made
    """

    picture: str
    writer: str
    draft: str
    edited: str
    editor: str = "user"
    round: int = 1
    scores: tuple[Scorecard, Scorecard] | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        """What was changed, word by word."""
        old, new = self.draft.split(), self.edited.split()
        codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        return tuple(
            Change(kind, first, " ".join(old[first:last]), " ".join(new[start:end]))
            for kind, first, last, start, end in codes
            if kind != "equal"
        )

    @property
    def kept(self) -> float:
        """Of the draft's words, the share that stayed, 0 to 1."""
        words = len(self.draft.split())
        return 1 - sum(len(one.before.split()) for one in self.changes) / words if words else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in _FIELDS}, "changes": [asdict(one) for one in self.changes],
            "kept": self.kept, "sentences": [len(sentences_of(self.draft)), len(sentences_of(self.edited))],
            "scores": None if self.scores is None else [one.to_dict() for one in self.scores],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Review:
        """The review that `to_dict` wrote. Raises RequestError where a field is missing."""
        missing = [name for name in _FIELDS if name not in record]
        if missing:
            raise RequestError(f"A review lacks {', '.join(missing)}.")
        scores = record.get("scores")
        pair = None if scores is None else (Scorecard(**scores[0]), Scorecard(**scores[1]))
        return cls(str(record["picture"]), str(record["writer"]), str(record["draft"]), str(record["edited"]),
                   str(record["editor"]), int(record["round"]), pair)  # fmt: skip


class Reviews:
    """A file of reviews, one a line; what is added is at once on disk, and nothing that is there is changed."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def add(self, review: Review) -> Review:
        """Keeps a review as the next round of its picture; its draft has to be what the last round made.

        Raises RequestError where it is not.
        """
        last = self.last(review.picture)
        if last is not None and last.edited != review.draft:
            raise RequestError(
                f"Round {last.round} of {review.picture} ended with another text than this draft: edit what is there."
            )
        kept = replace(review, round=1 if last is None else last.round + 1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept.to_dict(), ensure_ascii=False) + "\n")
        return kept

    def last(self, picture: str) -> Review | None:
        """The latest round of a picture; None where there was none."""
        found = [one for one in self if one.picture == picture]
        return found[-1] if found else None

    def pairs(self) -> tuple[tuple[str, str, str], ...]:
        """Picture, first draft and last edit of every picture: what a narrator can learn from."""
        first: dict[str, str] = {}
        last: dict[str, str] = {}
        for one in self:
            first.setdefault(one.picture, one.draft)
            last[one.picture] = one.edited
        return tuple((name, first[name], last[name]) for name in first)

    def __iter__(self) -> Iterator[Review]:
        """All reviews, oldest first. Raises RequestError, with the line, for what is none."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    yield Review.from_dict(json.loads(line))
                except (ValueError, TypeError, AttributeError, RequestError) as error:
                    raise RequestError(f"Line {number} of {self.path} is no review: {error}") from error


def drafted(pictures: Tensor, writer: str = "captioner") -> tuple[str, ...]:
    """What a net of the testbed writes of each picture in 0..1. Raises RequestError for a writer there is not."""
    if writer not in WRITERS:
        raise RequestError(f"There is no writer {writer!r}. Known: {', '.join(WRITERS)}; or bring a draft of your own.")
    return (loaded("vlm", VisionLanguage) if writer == "vlm" else loaded("captioner", Captioner)).generate(pictures)


def draft_of(name: str, frame: Frame, store: Reviews, *, writer: str = "captioner", draft: str | None = None) -> Review:
    """What there is to edit, as a review in which nothing is changed yet: the last round's text, or a fresh draft.

    draft: of the reader's own, where no net wrote one. Raises RequestError for a picture that the nets cannot read.
    """
    last = store.last(name)
    if last is not None:
        return Review(name, last.writer, last.edited, last.edited, round=last.round + 1)
    if draft is None and frame.pixels.shape[:2] != (SIZE, SIZE):
        raise RequestError(f"{name} is no picture of {SIZE} x {SIZE} pixels, which is what the writers read: "
                           "bring a draft, --draft TEXT.")  # fmt: skip
    text = draft if draft is not None else drafted(frame.tensor(), writer)[0]
    return Review(name, "user" if draft is not None else writer, text, text)


def judged(review: Review, frame: Frame) -> Review:
    """The review with the scorecards of draft and edit; without them where the witness cannot read the picture."""
    if frame.pixels.shape[:2] != (SIZE, SIZE):
        return review
    (seen,) = seen_by_witness(frame.tensor())
    return replace(review, scores=(score(review.draft, seen), score(review.edited, seen)))
