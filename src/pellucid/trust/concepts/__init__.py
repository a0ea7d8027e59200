"""How far to trust explanations by concepts: measures of concept vectors, dictionaries and probe pictures.

Plain functions over tensors: activations, directions, codes, labels, and the rest of the network as a callable. Each
gives a frozen Finding with its controls beside it.
"""

from pellucid.trust.concepts.bottleneck import (
    ConceptExistence,
    ConceptLocation,
    GlobalImportance,
    concept_confusion,
    concept_existence,
    concept_global_importance,
    concept_location,
    concept_maps,
)
from pellucid.trust.concepts.completeness import (
    Completeness,
    ConceptShapley,
    Reader,
    concept_completeness,
    concept_shap,
)
from pellucid.trust.concepts.control import AttributeProbes, Control, edit_control, swap_edit
from pellucid.trust.concepts.deletion import (
    ConceptCurves,
    ConceptFidelity,
    Decomposition,
    EstimatorComparison,
    compare_estimators,
    concept_curves,
    concept_mu_fidelity,
)
from pellucid.trust.concepts.dictionaries import (
    Approximation,
    SupervisedDictionary,
    approximation,
    least_squares_dictionary,
    mean_dictionary,
)
from pellucid.trust.concepts.estimators import ESTIMATORS, all_of
from pellucid.trust.concepts.finding import Finding
from pellucid.trust.concepts.interpretability import (
    InherentInterpretability,
    concept_library,
    inherent_interpretability,
)
from pellucid.trust.concepts.probe_sets import (
    ConceptLearnability,
    FidelityByCount,
    ProbeSetAgreement,
    concept_learnability,
    fidelity_by_count,
    probe_set_agreement,
)
from pellucid.trust.concepts.segments import (
    SegmentAgreement,
    SegmentFaithfulness,
    segment_agreement,
    segment_faithfulness,
)
from pellucid.trust.concepts.selectivity import (
    FeatureMeanings,
    FeatureOcclusion,
    OverSplitting,
    feature_meanings,
    feature_occlusion,
    over_splitting,
)
from pellucid.trust.concepts.significance import ConceptTest, Significance, gradients_of, tcav

__all__ = [
    "ESTIMATORS",
    "Approximation",
    "AttributeProbes",
    "Completeness",
    "ConceptCurves",
    "ConceptExistence",
    "ConceptFidelity",
    "ConceptLearnability",
    "ConceptLocation",
    "ConceptShapley",
    "ConceptTest",
    "Control",
    "Decomposition",
    "EstimatorComparison",
    "FeatureMeanings",
    "FeatureOcclusion",
    "FidelityByCount",
    "Finding",
    "GlobalImportance",
    "InherentInterpretability",
    "OverSplitting",
    "ProbeSetAgreement",
    "Reader",
    "SegmentAgreement",
    "SegmentFaithfulness",
    "Significance",
    "SupervisedDictionary",
    "all_of",
    "approximation",
    "compare_estimators",
    "concept_completeness",
    "concept_confusion",
    "concept_curves",
    "concept_existence",
    "concept_global_importance",
    "concept_learnability",
    "concept_library",
    "concept_location",
    "concept_maps",
    "concept_mu_fidelity",
    "concept_shap",
    "edit_control",
    "feature_meanings",
    "feature_occlusion",
    "fidelity_by_count",
    "gradients_of",
    "inherent_interpretability",
    "least_squares_dictionary",
    "mean_dictionary",
    "over_splitting",
    "probe_set_agreement",
    "segment_agreement",
    "segment_faithfulness",
    "swap_edit",
    "tcav",
]
