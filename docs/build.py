"""The documentation as static HTML that opens from disk, with no request to anywhere.

    make docs                              everything, into site/
    make docs ARGS="--without-pictures"    the words alone, in a second

Pages are Markdown: docs/*.md, docs/methods/*.md, docs/metrics/*.md and the three of the project itself. Every method's
card gets pictures made here by running the method: on a rendered scene with a shipped model, and on a photograph with a
classifier trained on photographs where it is defined for that. Every measure's card gets the values it gives to maps
that are known. A link that leads nowhere fails the build.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment
from markdown_it import MarkdownIt
from mdit_py_plugins.anchors import anchors_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_by_name
from pygments.util import ClassNotFound

if TYPE_CHECKING:
    from pellucid.canvas.raster import Pixels
    from pellucid.results.result import Result
    from pellucid.subject import VisionModel

ROOT = Path(__file__).parent.parent
PROJECT_PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
# The second for methods that read attention, the third for those of boxes, the last for those of films.
MODELS = ("testbed:cnn", "testbed:vit", "testbed:detector", "testbed:clips")
SCENE_SEED = 5
_SCENE = (64, 64)
PHOTOGRAPHED = "demo:efficientnet_lite0"
PASSES = 1000  # that a map of a photograph may take; samplers run with what fits
CHARTS = "charts"  # the folder of the pictures of measures without maps
METRIC_MAPS = ("occlusion", "layer_cam", "gradient", "guided_backprop")  # beside the truth and the three controls

Pictures = dict[str, dict[Path, str]]
"""By card, its pictures and what they show it on."""


@dataclass(frozen=True)
class Page:
    """One Markdown file and where its HTML goes, both relative to the root and to the site."""

    source: Path
    target: Path
    title: str
    text: str

    @property
    def method(self) -> str | None:
        """The method whose card this is."""
        return self._card_of("methods")

    @property
    def metric(self) -> str | None:
        """The measure whose card this is."""
        return self._card_of("metrics")

    def _card_of(self, folder: str) -> str | None:
        return self.target.stem if self.target.parent.name == folder and self.target.stem != "index" else None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the documentation into static HTML.")
    parser.add_argument("--out", type=Path, default=ROOT / "site")
    parser.add_argument("--without-pictures", action="store_true", help="leave out the pictures of the method cards")
    options = parser.parse_args(arguments)
    pages = read_pages()
    if options.out.exists():
        shutil.rmtree(options.out)
    options.out.mkdir(parents=True)
    shutil.copytree(ROOT / "docs" / "images", options.out / "images")
    pictures: Pictures = {}
    if not options.without_pictures:
        pictures = draw_methods([page.method for page in pages if page.method], options.out)
        pictures |= draw_metrics([page.metric for page in pages if page.metric], options.out)
        pictures |= draw_measures([page.metric for page in pages if page.metric], options.out)
    for page in pages:
        target: Path = options.out / page.target
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(render(page, pages, pictures), encoding="utf-8")
    dead = dead_links(options.out)
    for line in dead:
        print(line, file=sys.stderr)
    print(f"{len(pages)} pages, {sum(map(len, pictures.values()))} pictures: {options.out / 'index.html'}")
    return 1 if dead else 0


def read_pages() -> list[Page]:
    """Every page, in the order of the navigation: the index, the questions, the project, the methods."""
    docs = ROOT / "docs"
    sources = [
        docs / "index.md",
        *sorted(path for path in docs.glob("*.md") if path.name != "index.md"),
        *(ROOT / name for name in PROJECT_PAGES),
        *sorted((docs / "methods").glob("*.md")),
        *sorted((docs / "metrics").glob("*.md")),
    ]
    return [_read(path) for path in sources]


def render(page: Page, pages: Sequence[Page], pictures: Pictures) -> str:
    """The page as one HTML file: styles inside, links to its sisters, the card's pictures under the heading."""
    body: str = _markdown().render(page.text)
    body = re.sub(r'href="(?!https?:)([^"#]*)\.md(#[^"]*)?"', _html_link, body)
    card = page.method or page.metric
    if card in pictures:
        up = "../" * (len(page.target.parts) - 1)
        shown = "".join(
            f'<p><img src="{up}{path}" alt="{page.title} {shows}"></p>' for path, shows in pictures[card].items()
        )
        body = body.replace("</h1>", f"</h1>\n{shown}", 1)
    up = "../" * (len(page.target.parts) - 1)
    return (
        Environment(autoescape=True, trim_blocks=True)
        .from_string(TEMPLATE)
        .render(page=page, pages=pages, body=body, up=up, style=STYLE + _code_style())
    )


def draw_methods(names: Sequence[str], site: Path) -> Pictures:
    """PNGs of every method, made by running it: on the first shipped model it is for, and on a photograph."""
    import pellucid as pl
    from pellucid.registry import find_method
    from pellucid.stories.contestants import fitted
    from pellucid.stories.demo import photographs
    from pellucid.stories.maps import why_not
    from pellucid.stories.panel import Prices

    models = [pl.load(spec) for spec in MODELS]
    sizes = [model.input_size or _SCENE for model in models]
    photographer = pl.load(PHOTOGRAPHED)
    photograph = next(frame for frame in photographs() if frame.name == "cat")
    size = photographer.input_size
    assert size is not None
    folder = Path("methods") / "pictures"
    (site / folder).mkdir(parents=True)
    drawn: Pictures = {}
    for name in names:
        method = find_method(name)
        reasons = [why_not(model, method, size) for model, size in zip(models, sizes, strict=True)]
        if None not in reasons:
            raise RuntimeError(f"{name} is for no shipped model: {reasons}")
        path = folder / f"{name}.png"
        _of_scene(models[reasons.index(None)], name).save(site / path)
        drawn[name] = {path: "on a rendered scene"}
        if why_not(photographer, method, size) is None:
            within = fitted(Prices(photographer, size), method, PASSES)
            heat = pl.attribute(photographer, photograph, name, **(within.parameters if within else {}))
            path = folder / f"{name}-photograph.png"
            heat.save(site / path)
            drawn[name][path] = "on a photograph"
    return drawn


def _of_scene(model: VisionModel, name: str) -> Result:
    """What the method makes of a picture of the model's kind: a bird, a flock with its surest box, or a film."""
    import pellucid as pl
    from pellucid.stories.clips import watch
    from pellucid.testbed.clips import clips

    if model.frames > 1:
        return watch(model, clips(SCENE_SEED, 1).tensor()[0], name)[name]
    if model.places is None:
        return pl.attribute(model, pl.testbed.scenes(SCENE_SEED, 1).frames(), name)
    flock = pl.testbed.scenes(SCENE_SEED, 1, mode="flock", size=128).frames()
    ((first, *_),) = model.finds(flock)
    return pl.attribute(model, flock, name, target=[first])


def draw_metrics(names: Sequence[str], site: Path) -> Pictures:
    """One PNG per measure: maps of one scene, from the truth itself to noise, with the value it gives to each."""
    import pellucid as pl
    from pellucid.canvas import painting
    from pellucid.canvas.words import number, title
    from pellucid.engine import look
    from pellucid.registry import metrics
    from pellucid.stories.cases import fresh_scenes, paired_scenes
    from pellucid.stories.measure import Subject
    from pellucid.stories.plates import drawn_maps

    model, side = pl.load(MODELS[0]), 256
    drawn_on: list[tuple[Subject, Mapping[str, Pixels]]] = []
    for part in (fresh_scenes(model, 4, SCENE_SEED).part([0]), paired_scenes(model, 20, SCENE_SEED).part([0])):
        assert part.truth is not None
        heats = pl.attribute(model, part.batch.frames, list(METRIC_MAPS), target=list(part.targets))
        evidence = look(model, part.batch.inputs, list(part.targets))
        subject = Subject(model, part.batch, heats, evidence, part.truth, None, {"oracle": part.truth.exact.float()})
        drawn_on.append((subject, drawn_maps(part, 0, heats, subject.maps, side=side)))
    folder = Path("metrics") / "pictures"
    (site / folder).mkdir(parents=True)
    drawn: Pictures = {}
    for name in names:
        metric = metrics().get(name)
        if metric is None or metric.trains:  # measures of concepts, models or people: no map to show
            continue
        subject, plates = drawn_on["rival" in metric.reads]
        values = subject.measure(metric, {}).values
        cells = [
            painting.column([
                painting.plate(plates[key], side),
                painting.text(title(key.removeprefix("control ")), 22, side, lines=1),
                painting.text(number(float(values[key][0])) if key in values else "", 34, side, lines=1),
            ], 8)
            for key in plates
        ]  # fmt: skip
        way = f"{title(name)} of maps of one picture; {metric.better} is better"
        rows = [painting.row(cells[start : start + 5], 20) for start in range(0, len(cells), 5)]
        sheet = painting.column([painting.text(way, 30, 5 * side, lines=1), *rows], 26)
        (site / folder / f"{name}.png").write_bytes(painting.png(painting.framed(sheet, 32)))
        drawn[name] = {folder / f"{name}.png": "on a rendered scene"}
    return drawn


def draw_measures(names: Sequence[str], site: Path) -> Pictures:
    """One PNG per measure without maps of one picture: on something known to be right, beside its control."""
    from measure_pictures import PICTURES, picture

    folder = Path("metrics") / CHARTS
    (site / folder).mkdir(parents=True)
    drawn: Pictures = {}
    for name in names:
        if name in PICTURES:
            (site / folder / f"{name}.png").write_bytes(picture(name))
            drawn[name] = {folder / f"{name}.png": "beside its control"}
    return drawn


def dead_links(site: Path) -> list[str]:
    """`page: link` for every link or picture of the site that leads to no file, or to no heading of one."""
    return [
        f"{page.relative_to(site)}: {link} leads nowhere"
        for page in sorted(site.rglob("*.html"))
        for link in re.findall(r'(?:href|src)="([^"]+)"', page.read_text(encoding="utf-8"))
        if not re.match(r"https?:|mailto:|data:", link) and not _leads_somewhere(page, link)
    ]


# --- below: parts ---


def _read(source: Path) -> Page:
    text = source.read_text(encoding="utf-8")
    heading = re.search(r"^# (.+)$", text, flags=re.MULTILINE)
    if heading is None:
        raise SystemExit(f"{source.relative_to(ROOT)} has no first heading (# …).")
    relative = source.relative_to(ROOT)
    inside_docs = relative.parts[0] == "docs"
    if not inside_docs:  # a page of the project lies beside the others on the site, so `docs/` leaves its links
        text = text.replace("](docs/", "](")
    target = Path(*relative.parts[1:]) if inside_docs else relative
    return Page(relative, target.with_suffix(".html"), heading[1].replace("`", ""), text)


def _markdown() -> MarkdownIt:
    renderer = MarkdownIt("commonmark", {"html": True, "highlight": _highlight}).enable(["table", "strikethrough"])
    return renderer.use(anchors_plugin, max_level=3)


def _highlight(code: str, language: str, _attributes: str) -> str:
    try:
        lexer = get_lexer_by_name(language) if language else TextLexer()
    except ClassNotFound:
        lexer = TextLexer()
    return f'<pre class="code">{highlight(code, lexer, HtmlFormatter[str](nowrap=True))}</pre>'


def _code_style() -> str:
    light = HtmlFormatter[str](style="default").get_style_defs(".code")
    dark = HtmlFormatter[str](style="github-dark").get_style_defs(".code")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"


def _html_link(match: re.Match[str]) -> str:
    """`../ARCHITECTURE.md` of a page in docs lies beside it on the site."""
    path = re.sub(r"^\.\./((?:\.\./)*[A-Z]+)$", r"\1", match[1])
    return f'href="{path}.html{match[2] or ""}"'


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, heading = link.partition("#")
    target = page.parent / path if path else page
    if not target.is_file():
        return False
    return not heading or f'id="{heading}"' in target.read_text(encoding="utf-8")


TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ page.title }} · pellucid</title>
<style>
{{ style | safe }}
</style>
</head>
<body>
<nav>
<a class="home" href="{{ up }}index.html">pellucid</a>
{% for other in pages if not other.method and not other.metric and other.target.name != "index.html" %}
<a href="{{ up }}{{ other.target.as_posix() }}"{% if other is sameas page %} aria-current="page"{% endif %}>
{{- other.title }}</a>
{% endfor %}
{% if pages | selectattr("method") | list %}
<details{% if page.method %} open{% endif %}><summary>Methods</summary>
{% for other in pages if other.method %}
<a href="{{ up }}{{ other.target.as_posix() }}"{% if other is sameas page %} aria-current="page"{% endif %}>
{{- other.title }}</a>
{% endfor %}
</details>
{% endif %}
{% if pages | selectattr("metric") | list %}
<details{% if page.metric %} open{% endif %}><summary>Measures</summary>
{% for other in pages if other.metric %}
<a href="{{ up }}{{ other.target.as_posix() }}"{% if other is sameas page %} aria-current="page"{% endif %}>
{{- other.title }}</a>
{% endfor %}
</details>
{% endif %}
</nav>
<main>
{{ body | safe }}
</main>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --paper: #fcfcfa; --line: #d9dadd; --link: #0b5fa5; --code: #f3f3f0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e3; --paper: #15171a; --line: #33373d; --link: #7db8ee; --code: #1e2126; }
}
* { box-sizing: border-box; }
body { margin: 0; display: grid; grid-template-columns: 15rem minmax(0, 46rem); gap: 3rem; justify-content: center;
  color: var(--ink); background: var(--paper); font: 1rem/1.6 system-ui, sans-serif; }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 2rem 0 2rem 1rem; font-size: .92rem; }
nav a, summary { display: block; padding: .15rem 0; color: inherit; text-decoration: none; cursor: pointer; }
nav a:hover, nav a[aria-current] { color: var(--link); }
nav .home { font-weight: 700; font-size: 1.1rem; margin-bottom: .8rem; }
nav details a { padding-left: .8rem; }
main { padding: 2rem 1rem 5rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.4rem; border-bottom: 1px solid var(--line); }
a { color: var(--link); } img { max-width: 100%; height: auto; }
code, pre { font: .88em/1.5 ui-monospace, monospace; } code { background: var(--code); padding: .1em .3em; }
pre { background: var(--code); padding: .8rem 1rem; overflow-x: auto; border-radius: 6px; } pre code { padding: 0; }
pre.code { background: var(--code); }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .7rem .35rem 0; text-align: left; vertical-align: top; }
@media (max-width: 800px) { body { display: block; } nav { position: static; height: auto; padding: 1rem; } }
@media print { nav { display: none; } body { display: block; } }
"""

if __name__ == "__main__":
    sys.exit(main())
