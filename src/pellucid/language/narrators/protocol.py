"""What a narrator is given and what it gives back: evidence in, sentences out. It may rephrase, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from pellucid.canvas.words import figures
from pellucid.errors import RequestError
from pellucid.images import Frame
from pellucid.results import Claim

INSTRUCTIONS = (
    "You are given findings about what an image classifier did on one picture, as JSON with ids. Retell them for a "
    "reader in plain English. Rules: one sentence per line; end each sentence with the id of the finding it retells in "
    "square brackets, such as [c1]; use only what the findings say; copy numbers, percentages and quoted names exactly "
    "as they are written; add no opinion, no cause and nothing about the picture that no finding states."
)


@dataclass(frozen=True)
class Clue:
    """One claim as a narrator is told it.

    id:      what sentences cite it by, `c1`, `c2` and so on
    kind:    the claim's predicate
    says:    its sentence
    figures: what was measured, as a reader would write it
    """

    id: str
    kind: str
    says: str
    figures: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "kind": self.kind, "says": self.says, "figures": dict(self.figures)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Clue:
        """The clue that `to_dict` wrote."""
        return cls(record["id"], record["kind"], record["says"], dict(record["figures"]))


@dataclass(frozen=True, eq=False)
class Brief:
    """What a narrator is asked to tell.

    frame:   the picture, for narrators that may see it; whether it leaves the machine is the narrator's own setting
    attempt: 0 at first; another number asks for other words
    """

    clues: tuple[Clue, ...]
    frame: Frame | None = None
    attempt: int = 0

    @property
    def evidence(self) -> str:
        """The clues as JSON."""
        return json.dumps({"clues": [clue.to_dict() for clue in self.clues]}, ensure_ascii=False, indent=1)

    @property
    def prompt(self) -> str:
        """Instructions and evidence in one text, for models that take no system message."""
        return f"{INSTRUCTIONS}\n\n{self.evidence}\n\n"


def read_clues(evidence: str) -> tuple[Clue, ...]:
    """The clues in what `Brief.evidence` wrote."""
    return tuple(Clue.from_dict(record) for record in json.loads(evidence)["clues"])


def clues_of(claims: Sequence[Claim]) -> tuple[Clue, ...]:
    """The claims that may be retold, with their ids: all that were not refuted."""
    told = [claim for claim in claims if claim.verdict == "verified"]
    return tuple(
        Clue(f"c{number}", claim.predicate, claim.text, figures(claim.measured))
        for number, claim in enumerate(told, start=1)
    )


@runtime_checkable
class Narrator(Protocol):
    """Anything with a name that turns a Brief into text, one sentence per line, each with the id of its clue.

    What it says is checked afterwards, so it need not be trusted.
    """

    @property
    def name(self) -> str: ...

    def say(self, brief: Brief) -> str: ...


class Templates:
    """The narrator that is always there: each clue in the words it came in."""

    name = "templates"

    def say(self, brief: Brief) -> str:
        return "\n".join(f"{clue.says} [{clue.id}]" for clue in brief.clues)


def narrator_of(asked: Narrator | str) -> Narrator:
    """The narrator itself, or that of a name: `templates`, `hf:FOLDER`, `chat:MODEL`, or `chat+picture:MODEL`.

    The last one alone sends the picture along. `chat:` takes the server's address from the environment, see `Chat`.
    Raises RequestError for what names none.
    """
    if not isinstance(asked, str):
        if not isinstance(asked, Narrator):
            raise RequestError(f"{asked!r} is no narrator: it needs a `name`, and `say` that takes a Brief.")
        return asked
    kind, _, rest = asked.partition(":")
    if asked == Templates.name:
        return Templates()
    if kind == "hf" and rest:
        from pellucid.language.narrators.local import Local

        return Local.opened(rest)
    if kind in ("chat", "chat+picture") and rest:
        from pellucid.language.narrators.chat import Chat

        return Chat(rest, send_images=kind == "chat+picture")
    raise RequestError(
        f"{asked!r} names no narrator. There are templates, hf:FOLDER, chat:MODEL and chat+picture:MODEL."
    )
