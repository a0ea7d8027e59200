"""Measures that train nets: they cost trainings instead of passes, so nothing runs them unless they are named."""

from pellucid.trust.retraining.agreeing import consistency, consistency_of
from pellucid.trust.retraining.aligning import alignment
from pellucid.trust.retraining.editing import counterfactual_simulatability
from pellucid.trust.retraining.explainers import (
    Differentiable,
    GradCamAt,
    IntegratedGradients,
    SmoothGrad,
    gradient_times_input,
    input_gradient,
)
from pellucid.trust.retraining.labels import Explain, label_randomisation
from pellucid.trust.retraining.learning import FromScratch, Job, Learn, Split, Work, here, key_of
from pellucid.trust.retraining.removing import kar, roar
from pellucid.trust.retraining.students import simulatability

__all__ = [
    "Differentiable",
    "Explain",
    "FromScratch",
    "GradCamAt",
    "IntegratedGradients",
    "Job",
    "Learn",
    "SmoothGrad",
    "Split",
    "Work",
    "alignment",
    "consistency",
    "consistency_of",
    "counterfactual_simulatability",
    "gradient_times_input",
    "here",
    "input_gradient",
    "kar",
    "key_of",
    "label_randomisation",
    "roar",
    "simulatability",
]
