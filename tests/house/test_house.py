"""The rules of the house, read off the source: nobody has to remember them."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pellucid
from pellucid.engine.parameters import OWN, READERS, parameters_of
from pellucid.registry import methods, metrics

SOURCE = Path(pellucid.__file__).parent
ROOT = SOURCE.parents[1]
FILES = sorted(SOURCE.rglob("*.py"))

# Floor by floor, lowest first; on one floor a room may use those named before it only where the floor is ordered.
ABOVE_ALL = ("errors", "hooks", "registry", "__init__")
FLOORS: list[tuple[bool, tuple[str, ...]]] = [
    (True, ("values", "compute", "canvas", "images", "results", "testbed")),
    (False, ("subject",)),
    (False, ("engine",)),
    (False, ("attribution", "trust", "language")),
    (False, ("stories",)),
    (False, ("report",)),
    (False, ("cli",)),
    (False, ("__main__",)),
]
HEAVY = ("torch", "torchvision", "timm", "transformers", "sklearn", "skimage", "scipy", "PIL", "numpy")
PUBLIC = {
    "attribute", "benchmark", "evaluate", "explain", "load", "methods", "metrics", "open", "read", "wrap", "Box",
    "Call",
    "Claim", "Class", "Contrast", "Explanation", "Frame", "Heatmaps", "Layer", "Leaderboard", "PellucidError",
    "Pixels", "Predicted", "Preprocess", "Probability", "Region", "Score", "Similar", "Target", "Text", "Truth", "Unit",
    "VisionModel", "read_many", "testbed", "__version__",
}  # fmt: skip


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def rank(room: str) -> tuple[int, int]:
    for floor, (ordered, rooms) in enumerate(FLOORS):
        if room in rooms:
            return floor, rooms.index(room) if ordered else 0
    raise AssertionError(f"the room {room} stands on no floor: draw it into FLOORS")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every module of ours that is imported, lazily and for types only included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.startswith("pellucid"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            if node.module == "pellucid":
                yield from ((node.lineno, f"pellucid.{alias.name}") for alias in node.names)
            elif node.module and node.module.startswith("pellucid."):
                yield node.lineno, node.module


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_imports_run_downward() -> None:
    offenders = []
    for path in FILES:
        room = room_of(path)
        if room in ABOVE_ALL:
            continue
        for line, module in imported(parsed(path)):
            other = module.split(".")[1] if "." in module else "__init__"
            if other in ABOVE_ALL or other == room or other.startswith("__"):
                continue
            (floor, place), (their_floor, their_place) = rank(room), rank(other)
            same_floor_allowed = floor == their_floor and FLOORS[floor][0] and their_place < place
            if their_floor > floor or (their_floor == floor and not same_floor_allowed):
                offenders.append(f"{path.relative_to(ROOT)}:{line} ({room}) imports {module}")
    assert not offenders, "\n".join(offenders)


def test_hooks_stand_in_one_file() -> None:
    pattern = re.compile(r"register_\w*hook|__torch_function__|__torch_dispatch__")
    offenders = [
        str(path) for path in FILES if pattern.search(path.read_text(encoding="utf-8")) and path.name != "hooks.py"
    ]
    assert not offenders, offenders


def test_the_public_names_are_these() -> None:
    assert set(pellucid.__all__) == PUBLIC, set(pellucid.__all__) ^ PUBLIC
    for name in PUBLIC:
        assert getattr(pellucid, name) is not None
    assert set(PUBLIC) <= set(dir(pellucid))


def test_no_public_function_shares_its_name_with_a_module_beside_it() -> None:
    beside = {path.stem for path in SOURCE.glob("*.py")} | {path.name for path in SOURCE.iterdir() if path.is_dir()}
    functions = {name for name in PUBLIC if callable(getattr(pellucid, name)) and name != "testbed"}
    assert not functions & beside, functions & beside


@pytest.mark.parametrize("package", sorted({path.parent for path in FILES}), ids=lambda path: path.name)
def test_no_function_of_a_room_shares_its_name_with_its_module(package: Path) -> None:
    stems = {path.stem for path in package.glob("*.py")} | {path.name for path in package.iterdir() if path.is_dir()}
    init = package / "__init__.py"
    if package == SOURCE or not init.exists():
        return
    names = {alias.asname or alias.name for node in ast.walk(parsed(init)) if isinstance(node, ast.ImportFrom)
             for alias in node.names}  # fmt: skip
    room = ".".join(["pellucid", *package.relative_to(SOURCE).parts])
    clashes = [name for name in names & stems if not hasattr(getattr(importlib.import_module(room), name), "__path__")
               and type(getattr(importlib.import_module(room), name)).__name__ != "module"]  # fmt: skip
    assert not clashes, clashes


def test_every_method_has_its_card_and_its_test() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    missing = [name for name in methods() if not (ROOT / "docs" / "methods" / f"{name}.md").exists()]
    assert not missing, f"no card in docs/methods: {missing}"
    untested = [name for name in methods() if f'"{name}"' not in tests]
    assert not untested, f"no test names: {untested}"


def test_every_measure_has_its_card_that_says_what_it_can_and_cannot_show() -> None:
    wanted = ("## Definition", "## Range, direction and cost", "## What it shows", "## What it cannot show", "## Paper")
    for name in metrics():
        card = ROOT / "docs" / "metrics" / f"{name}.md"
        assert card.exists(), f"no card {card.relative_to(ROOT)}"
        lacking = [heading for heading in wanted if heading not in card.read_text(encoding="utf-8")]
        assert not lacking, f"{card.relative_to(ROOT)} lacks {lacking}"


def test_every_keyword_of_every_method_has_its_range() -> None:
    """One that may be anything has a reader that says so: `lambda value, place: value`."""
    unknown = {
        f"{name}({keyword}=)" for name, method in methods().items() for keyword in parameters_of(method)
        if keyword not in READERS and (name, keyword) not in OWN
    }  # fmt: skip
    assert not unknown, f"give them a reader in engine/parameters.py: {sorted(unknown)}"


def test_no_global_random_state_is_used() -> None:
    """A module's initialisation knows no other generator; there the state is forked around it."""
    pattern = re.compile(r"np\.random\.(seed|rand|randn|randint|choice|shuffle)\b|random\.seed\(")
    seeded = re.compile(r"fork_rng\([^\n]*\n\s+torch\.manual_seed|(torch\.manual_seed)")
    offenders = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if pattern.search(text) or any(match.group(1) for match in seeded.finditer(text)):
            offenders.append(str(path.relative_to(ROOT)))
    assert not offenders, offenders


@pytest.mark.parametrize("command", ["import pellucid", "import pellucid.cli"])
def test_importing_is_light(command: str) -> None:
    code = f"import sys; {command}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "", f"{command} loads {answer.stdout}"


def test_help_comes_without_torch() -> None:
    code = (
        "import sys\nfrom pellucid.cli import main\nsys.argv = ['pellucid', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('HEAVY', *[name for name in ('torch', 'numpy') if name in sys.modules])"
    )
    started = time.perf_counter()
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    assert "explain" in answer.stdout
    assert answer.stdout.strip().endswith("HEAVY"), answer.stdout[-200:]
    # The budget is 0.7 s on a quiet machine; under a full test run only a blunder is to be caught.
    assert seconds < 6, f"{seconds:.1f} s"


def test_no_test_draws_the_scenes_that_the_nets_learned_from() -> None:
    drawn = re.compile(r"\bscenes\(\s*(?:seed=)?0\s*,")
    found = [path.name for path in (ROOT / "tests").rglob("*.py") if drawn.search(path.read_text(encoding="utf-8"))]
    assert not found, f"nets learn from seed 0: {found}"
