"""A study to hand out: one page that shows a model's decisions, asks whether they are right, and keeps the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pellucid.canvas import fragments
from pellucid.canvas.raster import Pixels, data_uri, enlarged
from pellucid.errors import RequestError
from pellucid.results.files import write_atomically
from pellucid.trust.people.patchwork import Patchwork
from pellucid.values.seed import Seed

CONSENT = (
    "You will be shown pictures with what a computer program says about them, and asked whether it is right.",
    "Taking part is voluntary. You may stop at any time by closing this page; nothing is kept then.",
    "The page stores your answers, how long each took, and the code below. It asks for no name and sends nothing "
    "anywhere: at the end you download one file and pass it on yourself.",
)
DESIGNS = ("within", "between")
_TEMPLATES = Path(__file__).parent / "templates"
_SIDE = 320  # pixels; small pictures are enlarged to it


@dataclass(frozen=True, eq=False)
class Task:
    """One decision of the model that people are to judge.

    name:       of the task, without meaning for who takes part: it stands in the page
    said:       what the model says, in words
    pictures:   what is shown, by caption: the picture, and the explanation where there is one
    right:      whether the model is right. It stands in the key, not in the page, but for tasks of practice
    confidence: of the model, 0 to 1
    condition:  which kind of explanation this is
    practice:   shown first, with the answer told, and left out of the analysis
    patchwork:  the patches that the model compared; where it is editable, people may choose others and see what it
                says then. They still judge what it said at first
    """

    name: str
    said: str
    pictures: Mapping[str, Pixels]
    right: bool
    confidence: float
    condition: str = ""
    practice: bool = False
    patchwork: Patchwork | None = None


@dataclass(frozen=True, eq=False)
class Study:
    """Tasks, and how they are put to people.

    consent:  paragraphs that one agrees to before the first task
    question: asked about every task; answered by `yes` or `no`
    design:   "within" shows every task to everyone, "between" shows each person one condition, dealt by their code
    tells_confidence: whether the model's confidence is shown
    contact:  whom to ask, empty for nobody
    seed:     of the order of tasks, which differs from person to person

    Raises RequestError for tasks of the same name, no task, a confidence outside 0 to 1 or an unknown design.
    """

    title: str
    tasks: tuple[Task, ...]
    question: str = "Is the program right?"
    yes: str = "Yes, it is right"
    no: str = "No, it is wrong"
    consent: tuple[str, ...] = CONSENT
    design: str = "within"
    tells_confidence: bool = True
    contact: str = ""
    seed: int = field(default=0)

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if not any(not task.practice for task in self.tasks) or len(set(names)) < len(names):
            raise RequestError("tasks: expected at least one beside practice, every one under a name of its own.")
        if self.design not in DESIGNS:
            raise RequestError(f"design={self.design!r}; expected {' or '.join(DESIGNS)}.")
        wild = [task.name for task in self.tasks if not 0 <= task.confidence <= 1]
        if wild:
            raise RequestError(f"The confidence of {wild[0]!r} is not between 0 and 1.")

    @property
    def name(self) -> str:
        """Of files: letters and digits of the title."""
        return "-".join("".join(sign if sign.isalnum() else " " for sign in self.title.lower()).split()) or "study"

    def page(self) -> str:
        """The page that people open: one file that asks for nothing from outside and holds no right answer."""
        template = fragments.environment(_TEMPLATES).get_template("study.html")
        return template.render(
            no_requests=fragments.NO_REQUESTS, base_css=fragments.stylesheet(),
            page_css=fragments.stylesheet(_TEMPLATES / "study.css"),
            script=fragments.stylesheet(_TEMPLATES / "study.js"), study=self, told=self._told(),
            count=self._most_tasks(),
        )  # fmt: skip

    def key(self) -> dict[str, Any]:
        """What the analysis needs and the people must not see: by task, whether the model is right, and how sure."""
        return {
            "study": self.name,
            "tasks": {
                task.name: {"right": task.right, "confidence": task.confidence, "condition": task.condition}
                for task in self.tasks
                if not task.practice
            },
        }

    def save(self, folder: str | Path) -> Path:
        """Writes `study.html`, which is handed out, and `key.json`, which is not. Returns the path of the page."""
        write_atomically(Path(folder) / "key.json", json.dumps(self.key(), indent=1).encode())
        return write_atomically(Path(folder) / "study.html", self.page().encode())

    def _told(self) -> dict[str, Any]:
        return {
            "study": self.name,
            "seed": str(int(Seed(self.seed).child("order"))),
            "design": self.design,
            "conditions": list(dict.fromkeys(task.condition for task in self.tasks if not task.practice)),
            "tasks": [self._shown(task) for task in self.tasks],
        }

    def _shown(self, task: Task) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "name": task.name, "said": task.said, "condition": task.condition, "practice": task.practice,
            "pictures": [[caption, data_uri(enlarged(pixels, _SIDE))] for caption, pixels in task.pictures.items()],
        }  # fmt: skip
        if task.patchwork is not None:
            entry["patchwork"] = task.patchwork.told()
        if self.tells_confidence:
            entry["confidence"] = round(task.confidence, 3)
        if task.practice:
            entry["right"] = task.right
        return entry

    def _most_tasks(self) -> int:
        counted = [task.condition for task in self.tasks if not task.practice]
        if self.design == "between":
            return max(counted.count(condition) for condition in counted)
        return len(counted)
