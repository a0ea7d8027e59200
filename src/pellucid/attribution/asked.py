"""What methods ask of a target that not every target has."""

from __future__ import annotations

from pellucid.engine import Evidence
from pellucid.errors import MethodUnavailable
from pellucid.values import Class, Probability, Text


def classes_of(evidence: Evidence, method: str) -> list[int]:
    """The class that each picture is asked about, by its place in the output.

    Raises MethodUnavailable for a target that is neither a class nor a text.
    """
    found = [target.index for target in evidence.targets if isinstance(target, (Class, Probability, Text))]
    if len(found) < len(evidence):
        kinds = ", ".join(sorted({target.kind for target in evidence.targets}))
        raise MethodUnavailable(method, f"it speaks for classes, and its target is a {kinds}.", ("occlusion", "rise"))
    return [int(index) for index in found if index is not None]
