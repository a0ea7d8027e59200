"""Results read back from the files that `save` wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from pellucid.errors import FileError, PellucidError
from pellucid.results.bag import Bag
from pellucid.results.causes import CausalGraph
from pellucid.results.claim import Claim
from pellucid.results.clip import ClipMap
from pellucid.results.explanation import Explanation
from pellucid.results.files import read_json
from pellucid.results.heatmaps import Heatmaps
from pellucid.results.interactions import Interactions
from pellucid.results.leaderboard import Leaderboard
from pellucid.results.narration import Narration
from pellucid.results.neighbourhoods import Neighbourhoods
from pellucid.results.pair import Pair
from pellucid.results.result import Result
from pellucid.results.retraining import Retraining
from pellucid.results.score import Score
from pellucid.results.subspaces import Subspaces
from pellucid.results.support_maps import SupportMaps
from pellucid.results.token_maps import TokenMaps
from pellucid.results.traits import Traits
from pellucid.results.truth import Truth

_SAVED = (
    Bag,
    CausalGraph,
    Claim,
    ClipMap,
    Explanation,
    Heatmaps,
    Interactions,
    Leaderboard,
    Narration,
    Neighbourhoods,
    Pair,
    Retraining,
    Score,
    Subspaces,
    SupportMaps,
    TokenMaps,
    Traits,
    Truth,
)
_KINDS: dict[str, Callable[[dict[str, Any]], Result]] = {kind.noun: kind.from_dict for kind in _SAVED}


def open_result(path: str | Path) -> Any:
    """The result saved at `path`, equal to the one that was saved, of any kind.

    Raises FileError, with what is wrong, for a file that is missing, damaged, or was not written by pellucid.
    """
    kind, record = read_json(path)
    if kind not in _KINDS:
        raise FileError(path, f"it holds a result of kind {kind!r}, which cannot be opened.", "Open another file.")
    return _made(path, kind, record)


def open_explanation(path: str | Path) -> Explanation:
    """The Explanation saved at `path`. Raises FileError as `open_result`, and for a result of another kind."""
    kind, record = read_json(path)
    if kind != Explanation.noun:
        raise FileError(path, f"it holds a result of kind {kind!r}, not an explanation.", "Open another file.")
    return cast(Explanation, _made(path, kind, record))


def _made(path: str | Path, kind: str, record: dict[str, Any]) -> Result:
    try:
        return _KINDS[kind](record)
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        PellucidError,
    ) as error:
        problem = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise FileError(
            path, f"it is damaged ({type(error).__name__}: {problem}).", f"Save the {kind} again."
        ) from error
