"""One sentence with the measurement that would make it false, and what became of it when it was measured again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from markupsafe import Markup
from rich.console import RenderableType

from pellucid.canvas import fragments, terminal
from pellucid.canvas.words import figures
from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.registry import claim_tests
from pellucid.results.encoding import from_plain, to_plain
from pellucid.results.result import Result
from pellucid.results.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable

Verdict = Literal["verified", "refuted", "unverifiable"]
VERDICTS: dict[str, str] = {
    "verified": "tested and true",
    "refuted": "tested and found wrong",
    "unverifiable": "could not be tested",
}


@dataclass(frozen=True, eq=False)
class Claim(Result):
    """One sentence about a model and a picture, the test behind it and how that came out.

    template:  the sentence with `{names}` of `measured`
    predicate: what kind of sentence it is ("region_matters")
    test:      name of the registered claim test that decides it
    measured:  the figures in the sentence, and those that would make it false
    arguments: what the test needs to run again: region, baseline, seed, target
    frame:     the picture it is about; None where the claim is about the Explanation that holds it
    original:  the claim as it was first made, where this is a recheck of it: the verdict is on the original, while
               sentence and figures say what was measured now
    """

    noun: ClassVar[str] = "claim"

    template: str
    predicate: str
    test: str
    measured: Mapping[str, Any] = field(default_factory=dict[str, Any])
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    verdict: Verdict = "unverifiable"
    frame: Frame | None = None
    original: Claim | None = None

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise RequestError(f"verdict={self.verdict!r}; expected {', '.join(VERDICTS)}.")
        assert self.text, "a claim says something"
        assert self.original is None or self.original.original is None, "what was first made is no recheck"

    @property
    def text(self) -> str:
        """The sentence, its figures filled in."""
        return filled(self.template, self.measured)

    @property
    def figures(self) -> dict[str, str]:
        """What was measured, for a reader, without the words that stand in the sentence anyway."""
        text, shown = self.text, figures(self.measured)
        return {name: words for name, words in shown.items() if _is_number(words) or words not in text}

    @property
    def first(self) -> Claim:
        """The claim as it was first made."""
        return self.original or self

    def recheck(self, model: Any) -> Claim:
        """The claim after running its test again on `model` (any VisionModel).

        The verdict is on what was first claimed, which `original` keeps; the sentence and its figures are of what was
        measured now. So the same model gives the same answer however often it is asked.
        Raises RequestError where no test of that name is registered, UnknownClass where the model lacks the class.
        """
        tests = claim_tests()
        if self.test not in tests:
            raise RequestError(f"No claim test is called {self.test!r}. Known: {', '.join(sorted(tests)) or 'none'}.")
        again = cast("Callable[[Any, Claim], Claim]", tests[self.test])
        return replace(again(model, self.first), original=self.first)

    def to_dict(self, shelf: Shelf | None = None) -> dict[str, Any]:
        own = shelf or Shelf()
        record = {
            **self.findings(), "test": self.test, "arguments": to_plain(self.arguments),
            "frame": None if self.frame is None else own.put(self.frame), "text": self.text,
            "original": None if self.original is None else self.original.findings(),
        }  # fmt: skip
        return record if shelf else {**record, "shelf": own.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], shelf: Shelf | None = None) -> Claim:
        """The claim that `to_dict` wrote."""
        own = shelf or Shelf.from_dict(record["shelf"])
        frame = None if record["frame"] is None else own.frames[record["frame"]]
        shared: dict[str, Any] = {"test": record["test"], "arguments": from_plain(record["arguments"]), "frame": frame}
        first = record.get("original")
        original = None if first is None else cls(**_found(first), **shared)
        return cls(**_found(record), **shared, original=original)

    def fragment(self) -> Markup:
        return fragments.claim(self.first.text, self.verdict, VERDICTS[self.verdict], self.figures, self._now)

    def __rich__(self) -> RenderableType:
        return terminal.claim(self.first.text, self.verdict, self._now)

    @property
    def _now(self) -> str:
        """What is to be said beside the original sentence; nothing where it is all the same."""
        return "" if self.text == self.first.text else self.text

    def findings(self) -> dict[str, Any]:
        """What a recheck finds anew; test, arguments and frame stay."""
        return {
            "template": self.template, "predicate": self.predicate, "measured": to_plain(self.measured),
            "verdict": self.verdict,
        }  # fmt: skip


def _found(record: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: record[name] for name in ("template", "predicate", "verdict")}
    return {**kept, "measured": from_plain(record["measured"])}


def filled(template: str, measured: Mapping[str, Any]) -> str:
    """The template with its figures. It may come from a file, so it can name figures but not reach into them.

    Raises RequestError for a field that is not a plain name of something measured, or whose format is long.
    """
    for _, name, form, _ in Formatter().parse(template):
        if name is not None and (name not in measured or len(form or "") > 6):
            raise RequestError(f"The template {template!r} asks for {name!r}; measured were: {', '.join(measured)}.")
    return template.format(**measured)


def _is_number(words: str) -> bool:
    return words.lstrip("-")[:1].isdigit()
