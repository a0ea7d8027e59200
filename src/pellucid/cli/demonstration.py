"""The demonstration as it is told on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from pellucid.cli.failing import say, stopping
from pellucid.cli.reporting import card, finished
from pellucid.report import Section, Skipped, write_gallery, write_index
from pellucid.stories.demo import chapters, tell
from pellucid.stories.errand import Outcome
from pellucid.stories.folder import Done, Failed

TITLE = "What the models saw"


def run(out: Path, *, seed: int = 0, quiet: bool = False) -> Outcome:
    """All chapters there are, one index and one gallery sheet; ends by printing where the report is."""
    console = Console(quiet=quiet)
    found, left_out = chapters()
    for reason in left_out:
        console.print(Text(f"Left out: {reason}", style="yellow"))
    done: list[Done] = []
    failed: list[Failed] = []
    sections: list[Section] = []
    total = sum(len(chapter.items) for chapter in found)
    with stopping(lambda: finished(len(done), total)):
        for chapter in found:
            console.print(Text(f"\n{chapter.heading}. {chapter.words}", style="bold"))
            mine: list[Done] = []
            for told in tell(out, chapter, seed=seed):
                if isinstance(told.result, Failed):
                    failed.append(told.result)
                    say(f"{told.result.source}: {told.result.reason}")
                    continue
                mine.append(told.result)
                done.append(told.result)
                story = told.result.story
                answer = (story.answer.text, "bold")
                console.print(Text.assemble(f"  {story.frame.name}: ", answer, ". ", (story.headline, "dim")))
            sections.append(Section(chapter.heading, chapter.words, tuple(card(one) for one in mine)))
    index = write_index(
        out / "index.html", sections, title=TITLE, words=" ".join(left_out),
        skipped=[Skipped(one.source, one.reason) for one in failed],
    )  # fmt: skip
    if done:
        write_gallery(out / "gallery.png", [one.story for one in done[:6]])
    console.print(Text.assemble("\nThe report is at ", (str(index.resolve()), "bold cyan")), soft_wrap=True)
    return Outcome(tuple(done), tuple(failed), index, out)
