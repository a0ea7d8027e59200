"""What a command prints, and the index it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pellucid.cli.failing import say, stopping
from pellucid.cli.options import print_json
from pellucid.report import Card, Section, Skipped, write_index
from pellucid.stories.errand import Errand, Outcome
from pellucid.stories.folder import Done, Failed, explain_into


def announce_plan(errand: Errand, as_json: bool) -> None:
    """The plan and its cost, before anything runs."""
    plan = errand.plan
    if as_json:
        rows = [{"what": what, "passes": passes} for what, passes in plan.rows()]
        print_json({"passes": plan.passes, "budget": plan.budget, "rows": rows, "dropped": list(plan.dropped),
                    "pictures": len(errand.items)})  # fmt: skip
        return
    Console().print(Text(plan.text))


def finish(errand: Errand, *, quiet: bool = False) -> Outcome:
    """Does the errand, telling of each picture as it is done, and writes the index where there are several."""
    done: list[Done] = []
    failed: list[Failed] = list(errand.missing)
    for failure in failed:
        say(failure.reason)
    with stopping(lambda: finished(len(done), len(errand.items))):
        for result in explain_into(errand.out, errand.model, errand.items, errand.request, memory=errand.memory):
            if isinstance(result, Failed):
                failed.append(result)
                say(result.reason if result.source in result.reason else f"{result.source}: {result.reason}")
                continue
            done.append(result)
            if not quiet:
                tell(result)
    index = None
    if len(done) + len(failed) > 1 and done:
        section = Section("", "", tuple(card(one) for one in done))
        index = write_index(
            errand.out / "index.html", [section], title=f"What {errand.model.name} saw",
            skipped=[Skipped(Path(one.source).name, one.reason) for one in failed],
        )  # fmt: skip
    if not quiet:
        _close(done, failed, index, errand.out)
    return Outcome(tuple(done), tuple(failed), index, errand.out)


def finished(count: int, total: int) -> str:
    """What is said of pictures where the work is broken off."""
    return f"Finished: {count} of {total}; the same command goes on from there."


def card(one: Done) -> Card:
    """Its card on the index page beside it."""
    return Card.of(one.story, one.page.name)


def tell(one: Done) -> None:
    """The answer, the sentences and where the page is."""
    console = Console()
    console.print(one.story)
    for note in one.story.chosen.notes:
        console.print(Text(f"  Note: {note}", style="yellow"), soft_wrap=True)
    again = " (finished before)" if one.resumed else ""
    console.print(Text.assemble(("  ", ""), (str(one.page), "cyan"), (again, "dim"), "\n"), soft_wrap=True)


def _close(done: Sequence[Done], failed: Sequence[Failed], index: Path | None, out: Path) -> None:
    total = len(done) + len(failed)
    if total < 2:
        return
    console = Console()
    text = Text(
        f"{len(done)} of {total} pictures explained" + (f", {len(failed)} failed" if failed else ""), style="bold"
    )
    console.print(text)
    console.print(Text(str(index or out), style="cyan"), soft_wrap=True)
