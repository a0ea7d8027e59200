"""Where a model fails, in words."""

from pellucid.language.failures.answers import Answers
from pellucid.language.failures.pictures import Pictures
from pellucid.language.failures.prime import RULE, Mode, Rule
from pellucid.language.failures.report import Failures
from pellucid.language.failures.tags import Tags

__all__ = ["RULE", "Answers", "Failures", "Mode", "Pictures", "Rule", "Tags"]
