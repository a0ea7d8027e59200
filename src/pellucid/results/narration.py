"""What a narrator made of the claims, sentence by sentence, and how far it kept to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.text import Text

from pellucid.canvas import fragments
from pellucid.canvas.words import percent
from pellucid.results.beside import Audit
from pellucid.results.claim import Claim
from pellucid.results.claims import Claims
from pellucid.results.encoding import from_plain, to_plain
from pellucid.results.result import Result
from pellucid.results.shelf import Shelf


@dataclass(frozen=True, eq=False)
class Narration(Result):
    """The claims in a narrator's words, each sentence checked against the claim that it rephrases.

    narrator:  its name, such as `templates` or `chat:some-model`
    sentences: what it said, each a claim that can be rechecked; refuted ones are struck when shown
    dropped:   how many refuted sentences were left out
    faithful:  how it did, each a share from 0 to 1, not a number where there was nothing to judge.
               `hallucination`: sentences that contradict the evidence (lower is better);
               `unverifiable`: sentences with nothing in them that could be checked (lower is better);
               `numbers`: figures that stand in the evidence, to the digits printed; `coverage`: claims that were retold
    notes:     why sentences were refuted or marked, one line each
    audit:     what became of a narrator that lied about the same claims; None in a file from before it was kept
    """

    noun: ClassVar[str] = "narration"

    narrator: str
    sentences: tuple[Claim, ...]
    faithful: Mapping[str, float]
    dropped: int = 0
    notes: tuple[str, ...] = ()
    audit: Audit | None = None

    @property
    def beats_controls(self) -> bool:
        """Whether it contradicts the evidence less often than a narrator that lies, and the check can tell them apart.

        A narrator of whom nothing could be read does not.
        """
        lied = self.audit
        return lied is not None and lied.tells and self.faithful.get("hallucination", float("nan")) < lied.refuted

    @property
    def beside(self) -> str:
        """The control in words: what became of the narrator that lied, and what that says of this one."""
        if self.audit is None:
            return "What would become of a narrator that lies was not measured."
        said = str(self.audit)
        if self.beats_controls or not self.audit.tells:
            return said
        return f"{said} {self.narrator} keeps to the evidence no better than that: do not believe it."

    @property
    def claims(self) -> Claims:
        """The sentences, to be asked for those of one verdict."""
        return Claims(self.sentences)

    @property
    def text(self) -> str:
        """The sentences that stand: refuted ones left out, those that could not be checked followed by [unchecked]."""
        marks = {"verified": "", "unverifiable": " [unchecked]"}
        return " ".join(one.text + marks[one.verdict] for one in self.sentences if one.verdict in marks)

    @property
    def judgement(self) -> str:
        """How far the narrator kept to the evidence, as a sentence."""
        said = len(self.sentences) + self.dropped
        wrong = self.dropped + len(self.claims.refuted)
        struck = "left out" if self.dropped else "struck through"
        lead = f"{self.narrator} said {said} sentence{'' if said == 1 else 's'}"
        kept = f"{wrong} contradict what was measured and are {struck}" if wrong != 1 else (
            f"1 contradicts what was measured and is {struck}"
        )  # fmt: skip
        unsure = len(self.claims.unverifiable)
        open_ones = f", {unsure} could not be checked" if unsure else ""
        shares = [f"figures that agree {percent(self.faithful['numbers'])}"] if _known(self.faithful, "numbers") else []
        shares += [f"claims retold {percent(self.faithful['coverage'])}"] if _known(self.faithful, "coverage") else []
        return f"{lead}: {kept}{open_ones}. {'; '.join(shares).capitalize()}." if shares else f"{lead}: {kept}."

    def to_dict(self, shelf: Shelf | None = None) -> dict[str, Any]:
        own = shelf or Shelf()
        record = {
            "narrator": self.narrator, "sentences": [one.to_dict(own) for one in self.sentences],
            "faithful": to_plain(self.faithful), "dropped": self.dropped, "notes": list(self.notes),
            "audit": None if self.audit is None else to_plain(self.audit.to_dict()),
            "beats_controls": self.beats_controls,
        }  # fmt: skip
        return record if shelf else {**record, "shelf": own.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], shelf: Shelf | None = None) -> Narration:
        """The narration that `to_dict` wrote."""
        own = shelf or Shelf.from_dict(record["shelf"])
        return cls(
            narrator=record["narrator"], sentences=tuple(Claim.from_dict(one, own) for one in record["sentences"]),
            faithful=from_plain(record["faithful"]), dropped=record["dropped"], notes=tuple(record["notes"]),
            audit=Audit.from_dict(from_plain(record["audit"])) if record.get("audit") else None,
        )  # fmt: skip

    def fragment(self) -> Markup:
        lines = Markup("").join(Markup("<li>{}</li>").format(one.fragment()) for one in self.sentences)
        return Markup('<ol class="claims">{}</ol>{}').format(
            lines, fragments.sentence(f"{self.judgement} {self.beside}")
        )

    def __rich__(self) -> RenderableType:
        return Group(*self.sentences, Text(f"{self.judgement} {self.beside}", style="dim"))


def _known(shares: Mapping[str, float], name: str) -> bool:
    return name in shares and shares[name] == shares[name]
