"""Phrases that heads are told in and classes described with. They are data of the user; these are for a beginning."""

from __future__ import annotations

from pathlib import Path

from pellucid.errors import RequestError
from pellucid.language.descriptors import Descriptors
from pellucid.testbed.captions import PLACES
from pellucid.testbed.fields import HUES, SPECIES, WORDS


def bird_phrases() -> tuple[str, ...]:
    """What captions of the rendered birds speak of, one property each, in words that its encoders read."""
    hues = [f"{opening} {hue} {part}" for hue in HUES for opening, part in (
        ("a", "bird"), ("", "wings"), ("a", "tail"), ("a", "plume"), ("a", "bib"))]  # fmt: skip
    shapes = [*(f"{word} wings" for word in WORDS["wing"]), *(f"a {word} tail" for word in WORDS["tail"]),
              *(f"a {word} beak" for word in (*WORDS["beak"], *WORDS["beak_hue"]))]  # fmt: skip
    stances = [*WORDS["feet"], *(f"facing {side}" for side in WORDS["flip"]), "no plume"]
    return tuple(text.strip() for text in (*PLACES, *shapes, *hues, *stances))


def species_descriptors() -> Descriptors:
    """What decides the species of the rendered birds: wings, tail and plume."""
    listed: dict[str, tuple[str, ...]] = {}
    for number, name in enumerate(SPECIES):
        wing, tail = WORDS["wing"][number // 4], WORDS["tail"][number // 2 % 2]
        listed[name] = (f"{wing} wings", f"a {tail} tail", "a plume" if number % 2 else "no plume")
    return Descriptors(listed)


def everyday_phrases() -> tuple[str, ...]:
    """Phrases for photographs: places, light, colours, materials, shapes, counts, things, doings."""
    return tuple(template.format(word) for template, words in _EVERYDAY.items() for word in words.split("|"))


def read_phrases(path: str | Path) -> tuple[str, ...]:
    """One text per line of a file; lines that begin with # are left out. Raises RequestError."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"The texts in {path} cannot be read: {error}.") from error
    texts = tuple(dict.fromkeys(line.strip() for line in lines if line.strip() and not line.startswith("#")))
    if len(texts) < 2:
        raise RequestError(f"{path} holds {len(texts)} texts; give at least two, one per line.")
    return texts


_EVERYDAY = {
    "a photo taken {}": "indoors|outdoors|at night|at dusk|at sunrise|under water|from above|from below|from far away|"
    "from very near|in fog|in rain|in bright sunlight|by artificial light|through a window|in a studio",
    "a picture of {}": "a forest|a beach|a mountain|a desert|a river|a lake|the sea|a meadow|a garden|a street|a city|"
    "a village|a kitchen|a bedroom|an office|a shop|a bathroom|a classroom|a hospital|a stadium|a church|a bridge|"
    "a field in snow|a cave|an airport|a harbour|a farm|a road|a railway|the sky",
    "something {}": "red|orange|yellow|green|blue|purple|pink|brown|black|white|grey|golden|silver|colourful|pale|dark|"
    "shiny|matt|transparent|striped|dotted|chequered|round|square|triangular|long and thin|pointed|curved|flat|hollow|"
    "tiny|huge|broken|old|new|wet|dirty|soft|rough|smooth|furry|feathered|scaly|wooden|made of metal|made of glass|"
    "made of stone|made of cloth|made of paper|made of plastic|with letters on it|with numbers on it|symmetrical",
    "a photo of {}": "one thing|two things|three things|many things|nobody|one person|two people|a crowd|a child|"
    "an old person|a face|hands|a dog|a cat|a horse|a cow|a sheep|a bird|a fish|an insect|a snake|a bear|an elephant|"
    "a tree|a flower|leaves|grass|fruit|vegetables|bread|meat|a cake|a cup|a bottle|a plate|a chair|a table|a bed|"
    "a lamp|a clock|a book|a telephone|a computer|a screen|a camera|a car|a bus|a train|a bicycle|a boat|an aeroplane|"
    "a house|a tower|a door|a window|stairs|a wall|a fence|a tool|a weapon|a toy|a ball|a musical instrument|clothes|"
    "shoes|a hat|glasses|jewellery|a flag|a sign|a map|a painting|a statue|money|fire|smoke|clouds|stars|the moon|ice",
    "a picture of someone {}": "running|walking|sitting|sleeping|eating|drinking|cooking|reading|writing|dancing|"
    "singing|playing|working|swimming|riding|driving|flying|jumping|fighting|laughing|crying|speaking|celebrating",
    "{}": "a drawing|a painting|a cartoon|a black and white photograph|a blurred photograph|a close-up|a portrait|"
    "a landscape|a screenshot|a diagram|a logo|a page of text|a collage|a pattern|an advertisement|an old picture",
}  # fmt: skip
