"""Do explanations help people to know when a model is right? A study to hand out, and what its answers say."""

from pellucid.trust.people.analysis import (
    Comparison,
    Complementarity,
    Decision,
    Reliance,
    Team,
    compare_conditions,
    complementarity,
    reliance,
    team_accuracy,
)
from pellucid.trust.people.answers import read_answers
from pellucid.trust.people.neighbours import (
    Matches,
    Patches,
    RankingTrial,
    Voted,
    corresponding,
    patches,
    ranking_trial,
    voted,
)
from pellucid.trust.people.patchwork import Patchwork
from pellucid.trust.people.study import CONSENT, Study, Task
from pellucid.trust.people.users import Power, Users, power, simulated

__all__ = [
    "Matches",
    "Patches",
    "Patchwork",
    "RankingTrial",
    "Voted",
    "corresponding",
    "patches",
    "ranking_trial",
    "voted",
    "CONSENT",
    "Comparison",
    "Complementarity",
    "Decision",
    "Power",
    "Reliance",
    "Study",
    "Task",
    "Team",
    "Users",
    "compare_conditions",
    "complementarity",
    "power",
    "read_answers",
    "reliance",
    "simulated",
    "team_accuracy",
]
