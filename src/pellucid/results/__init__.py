"""Finished answers: frozen values without a model that show, save and describe themselves."""

from pellucid.results.beside import Audit, Beside
from pellucid.results.choice import Choice
from pellucid.results.claim import Claim
from pellucid.results.claims import Claims
from pellucid.results.explanation import Explanation
from pellucid.results.heatmaps import Heatmaps
from pellucid.results.leaderboard import Leaderboard
from pellucid.results.model_card import ModelCard
from pellucid.results.narration import Narration
from pellucid.results.opening import open_explanation, open_result
from pellucid.results.prediction import Prediction
from pellucid.results.result import Result
from pellucid.results.retraining import Retraining
from pellucid.results.score import Score
from pellucid.results.truth import Truth

__all__ = [
    "Audit",
    "Beside",
    "Choice",
    "Claim",
    "Claims",
    "Explanation",
    "Heatmaps",
    "Leaderboard",
    "ModelCard",
    "Narration",
    "Prediction",
    "Result",
    "Retraining",
    "Score",
    "Truth",
    "open_explanation",
    "open_result",
]
