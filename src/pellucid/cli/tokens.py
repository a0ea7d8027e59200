"""`pellucid tokens`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.options import Json, print_json


def tokens(
    image: Annotated[str, typer.Argument(metavar="PICTURE", help="A file, or the testbed's: scene:7.")],
    text: Annotated[str | None, typer.Option(help="What is said of it; without it the model tells.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", metavar="SPEC", help="A model that tells.")] = "testbed:vlm",
    base: Annotated[str, typer.Option(help="What a map is made of: gradient, activation or attention.")] = "gradient",
    scales: Annotated[str, typer.Option(help="Sizes of the picture, with commas between.")] = "0.5,1,1.5",
    top: Annotated[int, typer.Option(min=1, help="How many words are ranked that could stand in a place.")] = 20,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="A .png, .html or .json.")
    ] = Path("tokens.png"),
    as_json: Json = False,
) -> None:  # fmt: skip
    """Where a model looked for each word it says, less what only the words before it looked at.

    Example: pellucid tokens scene:7 --out tokens.png
    """
    from pellucid.cli.pictures import picture
    from pellucid.errors import RequestError
    from pellucid.language.token_maps import token_maps
    from pellucid.stories.tokens import speaker_of

    try:
        parts = tuple(float(part) for part in scales.split(","))
    except ValueError:
        raise RequestError(f"--scales {scales!r}; expected numbers with commas between, as 0.5,1,1.5.") from None
    found = token_maps(speaker_of(model), picture(image), text, base=base, scales=parts, top=top, writer=model)
    place = found.save(out)
    if as_json:
        rows = [{"word": word, "share": float(share), "kept": found.kept(at), "closest": found.closest(at)}
                for at, (word, share) in enumerate(zip(found.words, found.share, strict=True))]  # fmt: skip
        print_json({"file": str(place), "text": found.text, "words": rows})
        return
    found.show()
    print(place)
