"""Features of a vision model in words: fit a small net between it and a language model, then ask.

Asgari Taghanaki et al., TExplain, ICML 2024: one vector, many sentences, ranked words. Dani et al., DeViL, GCPR 2023:
several layers, each of which can be asked alone, at one place or for one unit. The two share all but the net.
"""

from __future__ import annotations

from pellucid.language.translation.corpus import Corpus
from pellucid.language.translation.cue_claims import cue_claims
from pellucid.language.translation.cues import Cue, Report, class_cues, examined, heard
from pellucid.language.translation.fitting import fit, judge
from pellucid.language.translation.keeping import reopened, save
from pellucid.language.translation.learning import Lesson
from pellucid.language.translation.places import PhraseMap, describe_place, describe_unit, hiding_map, phrase_map
from pellucid.language.translation.ports import Port
from pellucid.language.translation.said import Trial, Words
from pellucid.language.translation.translator import Translator

__all__ = [
    "Corpus", "Cue", "Lesson", "PhraseMap", "Port", "Report", "Translator", "Trial", "Words", "class_cues",
    "cue_claims", "describe_place", "describe_unit", "examined", "fit", "heard", "hiding_map", "judge", "phrase_map",
    "reopened", "save",
]  # fmt: skip
