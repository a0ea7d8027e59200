"""The pictures of measures that judge no map of one picture: each on what is known to be right, beside its control.

.venv/bin/python docs/measure_pictures.py --out /tmp/charts             all of them as PNG
.venv/bin/python docs/measure_pictures.py --out /tmp/charts roar tcav   only these
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

PICTURES: dict[str, str] = {
    page: module
    for module, pages in {
        "measures_of_concepts": (
            "concept_completeness", "concept_curves", "concept_existence", "concept_global_importance",
            "concept_learnability", "concept_location", "concept_mu_fidelity", "concept_shap",
            "inherent_interpretability", "tcav",
        ),
        "measures_of_dictionaries": (
            "dictionary_approximation", "edit_control", "feature_meanings", "feature_occlusion", "fidelity_by_count",
            "over_splitting", "probe_set_agreement", "segment_agreement", "segment_faithfulness",
        ),
        "measures_of_nets": (
            "alignment", "consistency", "funnybirds", "kar", "label_randomisation", "objects", "roar", "simulatability",
            "support",
        ),
        "measures_of_people": ("compare_conditions", "complementarity", "reliance", "team_accuracy"),
    }.items()
    for page in pages
}  # fmt: skip
"""Pages with a chart, and the module whose function of that name draws it; it is imported when it is drawn."""


def picture(page: str) -> bytes:
    """The chart of one page, from a run of the measure, as a PNG."""
    draw: Callable[[], bytes] = getattr(importlib.import_module(PICTURES[page]), page)
    return draw()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draw the pictures of measures without maps.")
    parser.add_argument("names", nargs="*", choices=[*PICTURES, []], help="which; none is all")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or PICTURES:
        (options.out / f"{name}.png").write_bytes(picture(name))
        print(options.out / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
