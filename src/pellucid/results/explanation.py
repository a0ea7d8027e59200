"""The finished answer for one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.text import Text

from pellucid.canvas import fragments, terminal
from pellucid.canvas.words import percent
from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.results import page, sheet
from pellucid.results.choice import Choice
from pellucid.results.claim import Claim
from pellucid.results.claims import Claims
from pellucid.results.drawing import drawn, photograph, picture_alt
from pellucid.results.encoding import from_plain, to_plain
from pellucid.results.heatmaps import Heatmaps
from pellucid.results.model_card import ModelCard
from pellucid.results.narration import Narration
from pellucid.results.prediction import Prediction
from pellucid.results.result import Result
from pellucid.results.score import Score
from pellucid.results.shelf import Shelf
from pellucid.results.truth import Truth
from pellucid.values import Target, target_from_dict


@dataclass(frozen=True, eq=False)
class Explanation(Result):
    """Why a model said what it said about one picture. It holds no model.

    predictions: most probable first
    heatmaps:    one picture each, most faithful first; the first is the one shown
    scores:      measures of these maps, one picture each
    claims:      the sentences, in reading order; `claims.verified` and so on are those of one verdict
    notes:       what was left out or refused, and why
    truth:       the right answer, where it is known
    cost:        passes and seconds; plan: what was planned within the budget, in words
    narration:   the claims in a narrator's words, where one was asked
    """

    noun: ClassVar[str] = "explanation"

    frame: Frame
    model: ModelCard
    target: Target
    target_name: str
    predictions: tuple[Prediction, ...]
    heatmaps: tuple[Heatmaps, ...]
    scores: tuple[Score, ...]
    claims: Claims
    notes: tuple[str, ...]
    truth: Truth | None
    cost: Mapping[str, Any]
    plan: str
    seed: int
    versions: Mapping[str, str]
    choice: Choice
    narration: Narration | None = None

    def __post_init__(self) -> None:
        if not self.heatmaps:
            raise RequestError("An Explanation shows at least one map; none was given.")
        if not self.predictions:
            raise RequestError("An Explanation says what the model predicts; no prediction was given.")

    @property
    def answer(self) -> Prediction:
        """What the model itself says first."""
        return self.predictions[0]

    @property
    def chosen(self) -> Heatmaps:
        """The map shown first."""
        return self.heatmaps[0]

    @property
    def headline(self) -> str:
        """The one sentence to read if only one is read: the first verified claim beyond the prediction itself."""
        verified = [claim for claim in self.claims if claim.verdict == "verified"]
        telling = [claim for claim in verified if not claim.predicate.startswith("predict")] or verified
        if telling:
            return telling[0].text
        known = self.answer.probability == self.answer.probability
        sure = f", {percent(self.answer.probability)} sure" if known else ""
        return f"The model sees “{self.answer.label}”{sure}. Nothing more about it could be verified."

    def scores_of(self, method: str) -> dict[str, Score]:
        """The scores of one method, by metric."""
        return {score.metric: score for score in self.scores if score.method == method}

    def to_dict(self) -> dict[str, Any]:
        shelf = Shelf()
        record: dict[str, Any] = {
            "frame": shelf.put(self.frame), "model": shelf.put(self.model),
            "target": to_plain(self.target.to_dict()), "target_name": self.target_name,
            "predictions": [prediction.to_dict() for prediction in self.predictions],
            "heatmaps": [heat.to_dict(shelf) for heat in self.heatmaps],
            "scores": [score.to_dict() for score in self.scores],
            "claims": [claim.to_dict(shelf) for claim in self.claims], "notes": list(self.notes),
            "truth": self.truth.to_dict() if self.truth else None, "cost": to_plain(self.cost), "plan": self.plan,
            "seed": self.seed, "versions": to_plain(self.versions), "choice": self.choice.to_dict(),
            "headline": self.headline,
        }  # fmt: skip
        if self.narration is not None:
            record["narration"] = self.narration.to_dict(shelf)
        return {**record, "shelf": shelf.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Explanation:
        """The explanation that `to_dict` wrote; its maps are rounded to float16."""
        shelf = Shelf.from_dict(record["shelf"])
        return cls(
            frame=shelf.frames[record["frame"]], model=shelf.models[record["model"]],
            target=target_from_dict(from_plain(record["target"])), target_name=record["target_name"],
            predictions=tuple(Prediction.from_dict(entry) for entry in record["predictions"]),
            heatmaps=tuple(Heatmaps.from_dict(entry, shelf) for entry in record["heatmaps"]),
            scores=tuple(Score.from_dict(entry) for entry in record["scores"]),
            claims=Claims(Claim.from_dict(entry, shelf) for entry in record["claims"]), notes=tuple(record["notes"]),
            truth=Truth.from_dict(record["truth"]) if record["truth"] else None, cost=from_plain(record["cost"]),
            plan=record["plan"], seed=record["seed"], versions=from_plain(record["versions"]),
            choice=Choice.from_dict(record["choice"]),
            narration=Narration.from_dict(record["narration"], shelf) if record.get("narration") else None,
        )  # fmt: skip

    def fragment(self) -> Markup:
        tiles = [
            fragments.tile(photograph(self.frame, side=360), f"The picture {self.frame.name}", "The picture"),
            fragments.tile(drawn(self.chosen, 0, side=360).pixels, picture_alt(self.chosen, 0), self.chosen.title),
        ]
        return fragments.gallery(self.answer.text, self.headline, tiles, self.choice.sentence)

    def __rich__(self) -> RenderableType:
        bars = terminal.bars([(line.label, line.probability) for line in self.predictions])
        lead = Text(f"{self.frame.name}: {self.answer.text}", style="bold")
        told = [] if self.narration is None else [Text("In the narrator's words:", style="dim"), self.narration]
        return Group(
            lead,
            bars,
            *self.claims,
            *told,
            Text(f"Shown first: {self.chosen.title}. {self.choice.sentence}", style="dim"),
        )

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {
            **super()._writers(),
            ".html": lambda: page.render(self).encode(),
            ".png": lambda: sheet.explanation_png(self),
        }
