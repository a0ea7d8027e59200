"""How the testbed's nets are trained from seeds, and what is measured on them."""

from pellucid.testbed.train.layers import best_layer, grad_cam
from pellucid.testbed.train.pictures import digits
from pellucid.testbed.train.plans import PLANS, POINTING_SEED, TEST_SEED, Job, Plan
from pellucid.testbed.train.run import Trained, accuracies, measured, rests_on, train, trained
from pellucid.testbed.train.seeds import FIRST_SEED, SHORT_PLANS, Seedling, nursery, seedlings, train_seeds

__all__ = [
    "FIRST_SEED",
    "SHORT_PLANS",
    "Seedling",
    "seedlings",
    "train_seeds",
    "PLANS",
    "POINTING_SEED",
    "TEST_SEED",
    "Job",
    "Plan",
    "Trained",
    "accuracies",
    "best_layer",
    "digits",
    "grad_cam",
    "measured",
    "nursery",
    "rests_on",
    "train",
    "trained",
]
