"""`pellucid recipe review`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Json, print_json


def review(
    picture: Annotated[str, typer.Argument(help="A picture, scene:7, scene:3000:7;tail=fanned.")] = "scene:7",
    store: Annotated[Path, typer.Option(help="Where reviews are kept, as JSON lines.")] = Path("reviews.jsonl"),
    writer: Annotated[str, typer.Option(help="Who writes the first draft: captioner or vlm.")] = "captioner",
    draft: Annotated[str | None, typer.Option(help="A first draft of your own, for any picture.")] = None,
    edited: Annotated[
        str | None,
        typer.Option(help="The text as you want it; - reads it from standard input. Default: show the draft."),
    ] = None,
    editor: Annotated[str, typer.Option("--by", help="Who edits.")] = "user",
    as_json: Json = False,
) -> None:
    """A draft, your edit, and the difference kept: each round starts from what the last one made.

    Beside draft and edit stand their scorecards, where the witness can read the picture.

    Example: pellucid recipe review scene:7 --edited "a moss bird with barred teal wings"
    """
    import sys
    from dataclasses import replace

    from pellucid.language.reviews import Reviews, draft_of, judged
    from pellucid.stories.recipes.pictures import picture as opened

    kept, frame = Reviews(store), opened(picture)
    asked = draft_of(picture, frame, kept, writer=writer, draft=draft)
    text = sys.stdin.read() if edited == "-" else edited
    found = judged(replace(asked, edited=asked.draft if text is None else " ".join(text.split()), editor=editor), frame)
    if text is not None:
        found = kept.add(found)
    if as_json:
        print_json(found.to_dict())
        return
    print(f"{found.writer}'s draft, round {found.round}: {found.draft}")
    if found.scores is not None:
        print(found.scores[0])
    if text is not None:
        print(f"{found.editor}'s edit: {found.edited}")
        print("\n".join(f"  {one}" for one in found.changes) or "  nothing changed")
        if found.scores is not None:
            print(found.scores[1])
        print(f"Kept in {store}; {found.kept:.0%} of the draft's words stayed.")
