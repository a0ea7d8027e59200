"""pellucid makes a trained vision model explain itself, in pictures and in words, with evidence for every statement.

    import pellucid as pl
    model = pl.load("testbed:cnn")
    story = pl.explain(model, "bird.png")
    story.save("bird.html")

Everything is imported when it is first used, so that `import pellucid` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pellucid import testbed as testbed
    from pellucid.errors import PellucidError as PellucidError
    from pellucid.images import Frame as Frame
    from pellucid.images import read_many as read_many
    from pellucid.registry import methods as methods
    from pellucid.registry import metrics as metrics
    from pellucid.results import Claim as Claim
    from pellucid.results import Explanation as Explanation
    from pellucid.results import Heatmaps as Heatmaps
    from pellucid.results import Leaderboard as Leaderboard
    from pellucid.results import Score as Score
    from pellucid.results import Truth as Truth
    from pellucid.results import open_result as open  # noqa: F401  # pyright: ignore[reportUnusedImport]  its public name
    from pellucid.stories.contest import benchmark as benchmark
    from pellucid.stories.maps import attribute as attribute
    from pellucid.stories.measure import evaluate as evaluate
    from pellucid.stories.picture import explain as explain
    from pellucid.stories.request import read as read
    from pellucid.subject import VisionModel as VisionModel
    from pellucid.subject import load as load
    from pellucid.subject import wrap as wrap
    from pellucid.values import Box as Box
    from pellucid.values import Call as Call
    from pellucid.values import Class as Class
    from pellucid.values import Contrast as Contrast
    from pellucid.values import Layer as Layer
    from pellucid.values import Pixels as Pixels
    from pellucid.values import Predicted as Predicted
    from pellucid.values import Preprocess as Preprocess
    from pellucid.values import Probability as Probability
    from pellucid.values import Region as Region
    from pellucid.values import Similar as Similar
    from pellucid.values import Target as Target
    from pellucid.values import Text as Text
    from pellucid.values import Unit as Unit

_HOMES = {
    "PellucidError": "errors",
    "Frame": "images", "read": "stories.request", "read_many": "images",
    "methods": "registry", "metrics": "registry",
    "Claim": "results", "Explanation": "results", "Heatmaps": "results", "Leaderboard": "results",
    "Score": "results", "Truth": "results",
    "open": "results:open_result",
    "attribute": "stories.maps", "benchmark": "stories.contest", "evaluate": "stories.measure",
    "explain": "stories.picture",
    "VisionModel": "subject", "load": "subject", "wrap": "subject",
    "Box": "values", "Call": "values", "Class": "values", "Contrast": "values", "Layer": "values", "Pixels": "values",
    "Predicted": "values", "Preprocess": "values", "Probability": "values", "Region": "values", "Similar": "values",
    "Target": "values", "Text": "values", "Unit": "values",
}  # fmt: skip
_ROOMS = ("testbed",)

__all__ = [*_HOMES, *_ROOMS, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, _, original = _HOMES[name].partition(":")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), original or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
