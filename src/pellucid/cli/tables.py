"""Tables that commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pellucid.canvas.words import number, tabular, title
from pellucid.compute.bootstrap import Interval
from pellucid.results.board_page import headline
from pellucid.results.leaderboard import Leaderboard
from pellucid.results.readings import in_words
from pellucid.stories.alarm import Alarm
from pellucid.stories.claiming import Claiming
from pellucid.stories.interventions import PartProtocol
from pellucid.stories.pointing import Pointing
from pellucid.stories.telling import Telling


def pointing_table(result: Pointing) -> RenderableType:
    """The first-shown map, what it was chosen from, and the maps that know nothing."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("map")
    for column in ("grown by 1 px", "ungrown", "shown first"):
        table.add_column(column, justify="right")
    first = result.first
    lead_row = Text("shown first", style="bold green")
    table.add_row(lead_row, f"[bold]{first['grown']:.3f}[/]", f"{first['ungrown']:.3f}", "")
    for name, row in result.rows.items():
        count = str(result.chosen[name]) if name in result.chosen else ""
        table.add_row(name, f"{row['grown']:.3f}", f"{row['ungrown']:.3f}", count)
    lead = (
        f"Share of scenes whose map has its maximum in a deciding part (wing, tail, crest or its place). "
        f"{result.model}, {result.kept} of {result.total} scenes recognised, seed {result.seed}, "
        f"{result.passes:.0f} passes per picture."
    )
    beaten = f"In {result.beat_controls} of {result.kept} scenes the map shown first beat all three controls."
    return Group(Text(lead), table, Text(beaten, style="dim"))


def telling_table(result: Telling) -> RenderableType:
    """What became of true and false sentences about scenes, each share with the interval that holds it with 95 %."""
    table = _table_of_shares()
    rows = {
        "captioner: verified sentences that are true": result.verified_true,
        "captioner: sentences that were verified": result.verified_share,
        "captioner: its own errors refuted": result.errors_caught,
        "liar: lies refuted": result.lies_caught,
        "liar: lies verified all the same": result.lies_passed,
        "liar: true sentences refuted": result.true_rejected,
        "liar: true sentences left unverifiable": result.true_unsure,
    }
    _add_shares(table, rows)
    lead = (
        f"One sentence each about {result.scenes} fresh scenes (seed {result.seed}), checked by a witness that shares "
        f"no weight with the writer; {result.lied} of the liar's are false."
    )
    return Group(Text(lead), table)


def claiming_table(result: Claiming) -> RenderableType:
    """Which sentences about regions are true of scenes, by what they say, each share with its 95% interval."""
    table = _table_of_shares()
    _add_shares(table, {"verified sentences about regions that are true": result.true})
    _add_shares(table, {f"  {name}": share for name, share in result.asserted.items()})
    _add_shares(table, {f"  not {name}": share for name, share in result.denied.items()})
    _add_shares(table, {"the answer is the species painted": result.named})
    lead = (
        f"What explanations of {result.scenes} fresh scenes (seed {result.seed}) say of regions, held against "
        f"{result.model} on the same scenes painted with one thing otherwise."
    )
    return Group(Text(lead), table)


def _table_of_shares() -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for column in ("share", "95 %", "of"):
        table.add_column(column, justify="right")
    return table


def _add_shares(table: Table, rows: Mapping[str, Interval]) -> None:
    for name, share in rows.items():
        figures = ("", "none") if not share.count else (f"{share.mean:.3f}", f"{share.low:.3f} to {share.high:.3f}")
        table.add_row(name, *figures, str(share.count))


_NAMES, _CELL = 42, 13  # characters that a competitor's name and cost take, and one measure


def board_table(board: Leaderboard, width: int) -> RenderableType:
    """The board by its first measure, with the others that a terminal of this width has room for."""
    most = max(1, (width - _NAMES) // _CELL)
    order = [board.rank_by, *(column.metric for column in board.columns if column.metric != board.rank_by)][:most]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    table.add_column("", no_wrap=True)
    for metric in order:
        table.add_column(
            f"{title(metric)} {'↑' if board.column(metric).better == 'higher' else '↓'}", justify="right", min_width=8
        )
    table.add_column("passes", justify="right")
    for rank, name in enumerate(board.order, start=1):
        entry = board.entry(name)
        style = {"control": "dim italic", "shown first": "bold green", "oracle": "cyan"}.get(entry.kind, "")
        cells: list[str | Text] = []
        for metric in order:
            place = board.standing(metric, name)
            flagged = place.margin is not None and not place.beats and entry.kind != "control"
            words = tabular(place.value.mean) if place.value.count else "–"
            cells.append(Text.assemble(words, (" !" if flagged else "  ", "red")))
        table.add_row(str(rank), title(name), *cells, f"{entry.passes:.0f}" if entry.passes else "", style=style)
    said = [headline(board)]
    if len(board.columns) > len(order):
        said.append(f"{len(board.columns) - len(order)} more measures are on the page.")
    if board.left_out:
        dear = ", ".join(f"{name} ({passes:.0f})" for name, passes, _ in board.left_out)
        said.append(f"Left out for their cost in passes, run when named: {dear}.")
    marks = "! does not clearly beat the best of the maps that know nothing, or fails a check"
    if board.readings:
        said.append(in_words(board.readings))
    alarms = [Text(alarm, style="bold red") for alarm in board.alarms]
    return Group(Text(" ".join(said)), *alarms, table, Text(marks, style="dim"))


def parts_table(result: PartProtocol) -> RenderableType:
    """Every method's figures by the protocols of FunnyBirds, best mean first."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    columns = ("Com", "Cor", "Con", "mean", "CSDC", "PC", "DC", "D")
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in result.rows.items():
        values = (row.com, row.cor, row.con, row.mean, row.csdc, row.pc, row.dc, row.d)
        known = name == "true effects" or name.startswith("control ")
        cells = ("–" if value != value else f"{value:.2f}" for value in values)
        table.add_row(name.replace("_", " "), *cells, style="dim italic" if known else "")
    lead = (
        f"Parts of birds left out and rendered anew: completeness, correctness and contrastivity of maps, 0 to 1, "
        f"higher is better. {result.model}, "
        f"{result.kept} of {result.total} scenes ({result.mode}) told and recognised, seed {result.seed}; "
        f"{result.independence:.0%} of background objects are not needed."
    )
    return Group(Text(lead), table, *(Text(note, style="dim") for note in result.notes))


def alarms_table(found: Sequence[Alarm]) -> RenderableType:
    """Every net with the background mass of the map shown first, and how many alarms are right."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for head in ("net", "seed", "background mass", "alarm"):
        table.add_column(head, justify="left" if head == "net" else "right")
    for one in sorted(found, key=lambda one: (one.planted, one.mass)):
        wrong = one.raised != one.planted
        table.add_row(
            one.net, str(one.seed), number(one.mass), "yes" if one.raised else "no", style="red" if wrong else ""
        )
    said = [
        f"{kind} nets: {sum(one.raised for one in group)} of {len(group)} raise the alarm."
        for kind, planted in (("Biased", True), ("Clean", False))
        if (group := [one for one in found if one.planted == planted])
    ]
    return Group(table, Text(" ".join(said)))
