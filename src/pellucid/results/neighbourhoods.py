"""Which explanation foretells the model best, by the kind of change that is asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal, cast

from markupsafe import Markup
from rich.console import RenderableType

from pellucid.canvas import fragments, painting, terminal
from pellucid.canvas.words import listed, number, percent, title
from pellucid.compute.bootstrap import Interval
from pellucid.results.encoding import from_plain, to_plain
from pellucid.results.model_card import ModelCard
from pellucid.results.result import Result

Loss = Literal["answers", "slopes"]
NO_LUNCH = "No explanation is best under every kind of change: choose by the changes you care about."


@dataclass(frozen=True)
class Column:
    """One kind of change, and what each explanation foretells under it.

    changes: in words, to follow "where"
    loss:    `answers`, R² of the target's changes; `slopes`, the share of the gradients' power that its slopes hold
    own:     methods that fit a linear model to these very changes
    values:  by explanation; at most 1. Those that have no slopes are missing where slopes are compared
    winner:  the highest
    level:   those that are not clearly worse: the paired 95% interval of the difference holds 0
    """

    name: str
    changes: str
    loss: Loss
    own: tuple[str, ...]
    values: Mapping[str, Interval]
    winner: str
    level: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        """Its name in a table."""
        return self.name if self.loss == "answers" else f"{self.name}, slopes"

    @property
    def recommended(self) -> str | None:
        """The best of the measured explanations that were fitted to these very changes; None where there is none."""
        own = [name for name in self.values if self._fitted(name)]
        return max(own, key=lambda name: self.values[name].mean, default=None)

    @property
    def agrees(self) -> bool:
        """Whether what is recommended wins, or is not clearly worse."""
        return self.recommended in (self.winner, *self.level)

    @property
    def sentence(self) -> str:
        """What to choose here, and whether the measurement bears it out."""
        value = self.values[self.winner]
        if value.low <= 0:
            what = "how the answer moves" if self.loss == "answers" else "its slopes there"
            return (
                f"Where {self.changes}: none surely foretells {what}. The best is {_title(self.winner)} with "
                f"{number(value.mean)} (95% between {number(value.low)} and {number(value.high)}): the model bends too "
                f"much for a map to say it."
            )
        what = "of how the answer moves" if self.loss == "answers" else "of its slopes there"
        found = (
            f"Where {self.changes}: {_title(self.winner)} foretells {percent(value.mean)} {what} (95% between "
            f"{percent(value.low)} and {percent(value.high)}){self._beside}."
        )
        if self.recommended is None:
            return found if not self.own else f"{found} {_titles(self.own, 'or')} would be fitted to such changes."
        if self.agrees:
            return f"{found} Choose {_title(self.recommended)}: it was fitted to such changes."
        return (
            f"{found} {_title(self.recommended)} was fitted to such changes and should win with more samples; as it "
            f"is, it has {number(self.values[self.recommended].mean)}."
        )

    @property
    def _beside(self) -> str:
        if not self.level:
            return ""
        others = _titles(self.level) if len(self.level) <= _NAMED else f"{len(self.level)} others"
        return f"; not clearly better than {others}"

    def _fitted(self, name: str) -> bool:
        """Whether a row is of these changes: a figure behind the method has to be the neighbourhood's own."""
        method, _, figure = name.partition(" ")
        return method in self.own and (not figure or figure == self.name.rpartition(" ")[2])


@dataclass(frozen=True, eq=False)
class Neighbourhoods(Result):
    """Explanations as linear models of the model, in several neighbourhoods of pictures (Han et al. 2022).

    rows:     the explanations; pictures: how many they are of; samples: changes in each neighbourhood
    """

    noun: ClassVar[str] = "neighbourhoods"

    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    pictures: int
    samples: int
    model: ModelCard = field(default_factory=lambda: ModelCard("unknown"))
    target: str = ""
    notes: tuple[str, ...] = ()

    def column(self, name: str, loss: str = "answers") -> Column:
        """The column of that name and loss."""
        return next(one for one in self.columns if (one.name, one.loss) == (name, loss))

    @property
    def everywhere(self) -> tuple[str, ...]:
        """Explanations that no other clearly beats in any column; mostly there is none."""
        return tuple(
            name for name in self.rows if all(name in (one.winner, *one.level) for one in self.columns)
        )  # fmt: skip

    @property
    def sentence(self) -> str:
        """The warning, and what this measurement says to it."""
        if self.everywhere:
            return (
                f"{NO_LUNCH} Here {_titles(self.everywhere)} {'is' if len(self.everywhere) == 1 else 'are'} "
                "not clearly beaten under any, which more samples may change."
            )
        return f"{NO_LUNCH} Here, too, none is."

    @property
    def warnings(self) -> tuple[str, ...]:
        """The columns whose own method is clearly beaten, each as a sentence."""
        return tuple(one.sentence for one in self.columns if one.recommended is not None and not one.agrees)

    def to_dict(self) -> dict[str, Any]:
        plain = {name: value for name, value in vars(self).items() if name not in ("model", "columns")}
        columns = [asdict(one) | {"recommended": one.recommended, "agrees": one.agrees} for one in self.columns]
        return {**cast("dict[str, Any]", to_plain({**plain, "columns": columns})), "model": self.model.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Neighbourhoods:
        """The table that `to_dict` wrote."""
        values = cast("dict[str, Any]", from_plain({name: record[name] for name in record if name != "model"}))
        return cls(
            tuple(_column(one) for one in values["columns"]), tuple(values["rows"]), values["pictures"],
            values["samples"], ModelCard.from_dict(record["model"]), values["target"], tuple(values["notes"]),
        )  # fmt: skip

    # -- showing ----------------------------------------------------------------------------------------------------

    @property
    def heading(self) -> str:
        """Model, target, and how much it rests on."""
        of = f", {self.target}" if self.target else ""
        pictures = "1 picture" if self.pictures == 1 else f"{self.pictures} pictures"
        return f"How much each explanation foretells of {self.model.name}{of}: {pictures}, {self.samples} changes each"

    def fragment(self) -> Markup:
        items = Markup("").join(Markup("<li>{}</li>").format(one.sentence) for one in self.columns)
        notes = Markup("").join(Markup('<p class="muted">{}</p>').format(note) for note in (_READ, *self.notes))
        return Markup('<h3>Which explanation answers your question</h3><p class="lead">{}</p><ul>{}</ul>{}{}').format(
            self.sentence, items, fragments.table(self.heading, *self._table()), notes
        )

    def __rich__(self) -> RenderableType:
        rows = [
            [one.head, _title(one.winner), _between(one.values[one.winner]), *_own(one)] for one in self.columns
        ]  # fmt: skip
        return terminal.table(self.heading, ["", "foretells best", "", "fitted to it", ""], rows)

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {**super()._writers(), ".png": self._png, ".txt": self._text}

    def _text(self) -> bytes:
        head, rows = self._table()
        lines = [" | ".join(row) for row in (head, *rows)]
        said = [one.sentence for one in self.columns]
        return "\n".join([self.heading, "", self.sentence, "", *said, "", *lines, "", _READ, *self.notes, ""]).encode()

    def _png(self) -> bytes:
        head, rows = self._table()
        cells = [[painting.text(cell, 18, 150 if at else 240) for at, cell in enumerate(row)] for row in (head, *rows)]
        width = 240 + 174 * (len(head) - 1)
        said = [painting.text(one.sentence, 18, width) for one in self.columns]
        body = [painting.row(row, 24) for row in cells]
        return painting.png(painting.framed(painting.column([
            painting.text(self.heading, 26, width), painting.text(self.sentence, 20, width), *said, *body,
            painting.text(_READ, 16, width, painting.MUTED),
        ], 14), 48))  # fmt: skip

    def _table(self) -> tuple[list[str], list[list[str]]]:
        head = ["", *(one.head for one in self.columns)]
        return head, [[_title(name), *(_cell(one, name) for one in self.columns)] for name in self.rows]


_NAMED = 3  # that fit a sentence
_READ = (
    "1 foretells all, 0 no more than the mean (of slopes: no more than none), below 0 misleads. * highest in its "
    "column; ~ not clearly lower; – has no slopes."
)


def _cell(column: Column, name: str) -> str:
    if name not in column.values:
        return "–"
    mark = " *" if name == column.winner else " ~" if name in column.level else ""
    return number(column.values[name].mean) + mark


def _column(record: dict[str, Any]) -> Column:
    values = {str(name): Interval(**value) for name, value in record["values"].items()}
    kept = {name: value for name, value in record.items() if name not in ("recommended", "agrees", "values")}
    return replace(Column(**kept, values=values), own=tuple(kept["own"]), level=tuple(kept["level"]))


def _title(name: str) -> str:
    method, _, figure = name.partition(" ")
    return f"{title(method)} {figure}".strip() if method != "control" else f"{title(figure)} (knows nothing)"


def _titles(names: tuple[str, ...], word: str = "and") -> str:
    return listed([_title(name) for name in names]).replace(" and ", f" {word} ")


def _between(value: Interval) -> str:
    return f"{number(value.mean)} ({number(value.low)} to {number(value.high)})"


def _own(column: Column) -> tuple[str, str]:
    name = column.recommended
    return ("–", "") if name is None else (_title(name), _between(column.values[name]))
