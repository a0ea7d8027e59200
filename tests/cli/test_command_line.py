"""What a user types, what comes out, and with which exit code: 0 done, 1 some inputs failed, 2 wrong usage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pellucid as pl
from pellucid.cli import main
from pellucid.stories import demo as demo_story
from pellucid.stories import folder as folder_story

CHEAP = ("--methods", "grad_cam", "--budget", "60")
SUFFIXES = (".html", ".png", ".json")
COMMANDS = ("explain", "methods", "models", "layers", "demo", "testbed", "testbed train", "testbed evaluate")


@dataclass(frozen=True)
class Ran:
    """One command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`pellucid ARGUMENTS` in this process."""

    def typed(*arguments: str | Path) -> Ran:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        assert isinstance(leaving.value.code, int)
        return Ran(leaving.value.code, said.out, said.err)

    return typed


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Three scenes of the testbed as PNG files."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    paths = [folder / f"bird{index}.png" for index in range(3)]
    for path, pixels in zip(paths, pl.testbed.scenes(5, 3).pixels, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"journal.jsonl"}


def contents(folder: Path) -> dict[str, bytes]:
    """All that is kept; the index is drawn anew each time."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "index.html"}


def same_picture(record: str | Path, path: Path) -> bool:
    """Whether the explanation saved at `record` is of the picture at `path`."""
    read = pl.read(path)
    assert isinstance(read, pl.Frame)
    return np.array_equal(pl.open(record).frame.pixels, read.pixels)


def of(*stems: str) -> set[str]:
    return {f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES}


# -- explain --------------------------------------------------------------------------------------------------------


def test_files_a_folder_and_a_glob_give_page_sheet_and_record_each_and_one_index(
    run: Run, pictures: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    globbed = pictures[1].rename(other / "night1.png")
    inside = tmp_path / "inside" / "deep"
    inside.mkdir(parents=True)
    deep = pictures[2].rename(inside / "deep.png")
    out = tmp_path / "out"
    ran = run("explain", pictures[0], tmp_path / "inside", other / "night*", "-m", "testbed:cnn", "--out", out, *CHEAP)
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert written(out) == of("bird0", "night1", "deep") | {"index.html"}
    index = (out / "index.html").read_text()
    for path in (pictures[0], globbed, deep):
        page = (out / f"{path.stem}.html").read_text()
        assert page.lstrip().lower().startswith("<!doctype html")
        assert f'href="{path.stem}.html"' in index
        with Image.open(out / f"{path.stem}.png") as sheet:
            sheet.verify()
        assert same_picture(out / f"{path.stem}.json", path)
    assert "3 of 3 pictures explained" in ran.out


def test_one_picture_needs_no_index(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    assert run("explain", pictures[0], "-m", "testbed:cnn", "--out", tmp_path / "out", *CHEAP).code == 0
    assert written(tmp_path / "out") == of("bird0")


@pytest.mark.parametrize("spec", ["testbed:cnn", "testbed:vit", "testbed:digits"])
def test_the_default_panel_explains_with_every_kind_of_net(
    spec: str, run: Run, pictures: list[Path], tmp_path: Path
) -> None:
    ran = run("explain", pictures[0], "--model", spec, "--out", tmp_path / "out", "--json")
    assert ran.code == 0, ran.err
    (done,) = ran.json["done"]
    story = pl.open(done["record"])
    assert done["method"] == story.chosen.method == story.choice.method
    assert done["answer"] == story.answer.label
    assert done["claims"] == [claim.text for claim in story.claims]
    assert done["claims"], "the default budget pays for sentences"


def test_a_file_that_is_not_there_fails_alone(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.png"
    ran = run("explain", pictures[0], missing, "-m", "testbed:cnn", "--out", tmp_path / "out", "--json", *CHEAP)
    assert ran.code == 1
    assert [one["source"] for one in ran.json["done"]] == [str(pictures[0])]
    (failed,) = ran.json["failed"]
    assert failed["source"] == str(missing)
    assert "no such file" in failed["reason"]


def test_json_says_what_was_made_and_nothing_else_is_printed(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    ran = run("explain", *pictures, "-m", "testbed:cnn", "--out", tmp_path / "out", "--json", *CHEAP)
    assert ran.code == 0
    assert ran.err == ""
    record = ran.json
    assert record["failed"] == []
    assert Path(record["index"]).is_file()
    for one, path in zip(record["done"], pictures, strict=True):
        assert one["source"] == str(path)
        assert all(Path(one[kind]).is_file() for kind in ("page", "sheet", "record"))
        assert 0 < one["probability"] <= 1
        assert one["passes"] <= 60
        assert one["resumed"] is False


def test_the_target_asked_for_by_name_or_number_is_explained(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    wren = pl.load("testbed:cnn").labels.name(3)
    for asked, place in (("3", "a"), (wren, "b")):
        ran = run(
            "explain", pictures[0], "-m", "testbed:cnn", "--target", asked, "--out", tmp_path / place, "--json", *CHEAP
        )
        assert ran.code == 0, ran.err
        assert ran.json["done"][0]["target"] == wren


def test_a_plan_says_what_it_costs_and_makes_nothing(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run("explain", pictures[0], "-m", "testbed:cnn", "--plan", "--out", out)
    assert ran.code == 0
    assert "passes per picture, of 400 allowed" in ran.out
    told = run("explain", *pictures, "-m", "testbed:cnn", "--plan", "--json", "--out", out)
    assert told.code == 0
    plan = told.json
    assert plan["pictures"] == 3
    assert plan["budget"] == 400
    assert plan["passes"] == sum(row["passes"] for row in plan["rows"]) <= 400
    assert f"{plan['passes']}  passes per picture" in ran.out
    assert not out.exists()


def test_the_second_run_finds_everything_done(
    run: Run, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("explain", *pictures, "-m", "testbed:cnn", "--out", tmp_path / "out", *CHEAP)
    first = run(*arguments, "--json").json
    before = contents(tmp_path / "out")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished picture is explained again")

    monkeypatch.setattr(folder_story, "explain_one", never)
    second = run(*arguments, "--json").json
    assert [one["resumed"] for one in second["done"]] == [True, True, True]
    assert [{**one, "resumed": False} for one in second["done"]] == first["done"]
    assert contents(tmp_path / "out") == before
    assert "finished before" in run(*arguments).out


def test_only_what_is_missing_damaged_or_asked_otherwise_is_done_again(
    run: Run, pictures: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("explain", *pictures, "-m", "testbed:cnn", "--out", out, "--json", *CHEAP)
    run(*arguments)
    (out / "bird0.html").unlink()
    (out / "bird1.json").write_text("{")
    with (out / "journal.jsonl").open("a") as journal:
        journal.write('{"key": "cut sh')
    assert [one["resumed"] for one in run(*arguments).json["done"]] == [False, False, True]
    assert written(out) == of("bird0", "bird1", "bird2") | {"index.html"}
    assert [one["resumed"] for one in run(*arguments, "--seed", "1").json["done"]] == [False, False, False]


def test_pictures_of_one_name_in_two_folders_do_not_overwrite_each_other(
    run: Run, pictures: list[Path], tmp_path: Path
) -> None:
    twin = tmp_path / "elsewhere" / "bird0.png"
    twin.parent.mkdir()
    pictures[1].rename(twin)
    out = tmp_path / "out"
    ran = run("explain", pictures[0], twin, "-m", "testbed:cnn", "--out", out, "--json", *CHEAP)
    assert ran.code == 0
    assert written(out) == of("bird0", "bird0-2") | {"index.html"}
    first, second = (one["record"] for one in ran.json["done"])
    assert same_picture(first, pictures[0])
    assert same_picture(second, twin)


def test_no_picture_is_overwritten_by_its_own_sheet(run: Run, pictures: list[Path]) -> None:
    before = [path.read_bytes() for path in pictures]
    ran = run("explain", pictures[0].parent, "-m", "testbed:cnn", "--out", pictures[0].parent, *CHEAP)
    assert ran.code == 2
    assert "bird0.png" in ran.err
    assert "--out" in ran.err
    assert [path.read_bytes() for path in pictures] == before


def test_sheets_of_an_earlier_run_inside_the_folder_are_not_taken_for_pictures(run: Run, pictures: list[Path]) -> None:
    folder = pictures[0].parent
    arguments = ("explain", folder, "-m", "testbed:cnn", "--out", folder / "answers", "--json", *CHEAP)
    first = run(*arguments)
    second = run(*arguments)
    assert second.code == 0, second.err
    assert [one["source"] for one in second.json["done"]] == [one["source"] for one in first.json["done"]]
    assert [one["resumed"] for one in second.json["done"]] == [True, True, True]


# -- the other commands ---------------------------------------------------------------------------------------------


def test_methods_lists_every_method_with_its_cost(run: Run) -> None:
    rows = run("methods", "--json").json
    assert {row["name"] for row in rows} == set(pl.methods())
    assert all(row["question"] and row["summary"] and float(row["cost"]) >= 0 for row in rows)
    assert "refined_occlusion" in run("methods").out


def test_models_lists_every_source_with_an_example(run: Run) -> None:
    rows = run("models", "--json").json
    assert {"testbed", "torchvision", "timm", "hf", "onnx"} <= {row["prefix"] for row in rows}
    assert all(row["example"] and row["help"] for row in rows)
    assert "testbed:" in run("models").out


@pytest.mark.parametrize("spec", ["testbed:cnn", "testbed:vit", "testbed:digits"])
def test_layers_names_the_default_and_why(spec: str, run: Run) -> None:
    tree = pl.load(spec).layers
    assert tree.default is not None
    record = run("layers", "-m", spec, "--json")
    assert record.code == 0
    assert tree.default.name in json.dumps(record.json)
    said = run("layers", "-m", spec).out
    assert "<- default" in said
    assert f"Default: {tree.default.name}" in said


def test_testbed_evaluate_plays_the_pointing_game(run: Run) -> None:
    record = run("testbed", "evaluate", "--scenes", "2", "--budget", "200", "--json").json
    assert record["total"] == 2
    assert record["kept"] >= 1
    assert 0 <= record["first"]["ungrown"] <= record["first"]["grown"] <= 1
    assert sum(record["chosen"].values()) == record["kept"]
    assert record["passes"] <= 200


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, run: Run) -> None:
    for flag in ("--help", "-h"):
        ran = run(*command.split(), flag)
        assert ran.code == 0
        assert "Usage:" in ran.out
    if command != "testbed":
        assert "Example: pellucid" in " ".join(ran.out.split())


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version").out == f"pellucid {pl.__version__}\n"


# -- as a process of its own ----------------------------------------------------------------------------------------


def process(*arguments: str | Path) -> Ran:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    ended = subprocess.run(
        [sys.executable, "-m", "pellucid", *map(str, arguments)], capture_output=True, text=True, env=environment,
        timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in ended.stdout + ended.stderr
    return Ran(ended.returncode, ended.stdout, ended.stderr)


def test_a_process_ends_with_1_where_a_picture_failed(pictures: list[Path], tmp_path: Path) -> None:
    pictures[2].write_bytes(b"")
    ran = process("explain", *pictures, "-m", "testbed:cnn", "--out", tmp_path / "out", "--json", *CHEAP)
    assert ran.code == 1
    assert len(ran.json["done"]) == 2
    assert "bird2.png" in ran.err


def test_a_process_ends_with_2_where_it_was_asked_wrongly(pictures: list[Path]) -> None:
    ran = process("explain", pictures[0])
    assert ran.code == 2
    assert ran.out == ""
    assert "Missing option '--model'" in ran.err


def test_a_process_that_only_tells_its_version_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['pellucid', '--version']\n"
        "from pellucid.cli.failing import failing_clearly\n"
        "from pellucid.cli import app\n"
        "assert failing_clearly(app) == 0\n"
        "heavy = {'torch', 'numpy', 'timm', 'transformers', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr


# -- broken off -----------------------------------------------------------------------------------------------------


def test_ctrl_c_says_what_is_finished(pictures: list[Path], tmp_path: Path) -> None:
    """A real process and a real signal; it comes when the first of three pictures is in the journal, which stays."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pellucid", "explain", *map(str, pictures), "-m", "testbed:cnn", "--out", str(out)]
    journal, deadline = out / "journal.jsonl", time.monotonic() + 120
    default = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background has it ignored
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=default
    ) as running:
        while not journal.exists() and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        said, error = running.communicate(timeout=120)
    assert running.returncode == 130, said + error
    finished = len(journal.read_text().splitlines())
    assert error == f"Stopped. Finished: {finished} of 3; the same command goes on from there.\n"
    assert 1 <= finished < 3


@pytest.mark.parametrize(
    ("command", "place", "says"),
    [
        (("models",), "pellucid.subject.loaders.prefixes", "Stopped.\n"),
        (("testbed", "evaluate"), "pellucid.stories.pointing.pointing", "Stopped. Nothing is kept of it.\n"),
        (("testbed", "train", "cnn"), "pellucid.testbed.train.train", "Stopped. What was finished stays; the same"),
    ],
)
def test_every_command_says_what_is_true_of_it_when_it_is_stopped(
    command: tuple[str, ...], place: str, says: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_arguments: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(place, stop)
    ran = run(*command)
    assert ran.code == 130
    assert ran.err.startswith(says), ran.err


def test_a_demonstration_that_is_stopped_counts_over_all_its_chapters(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = pl.testbed.scenes(5, 2).frames()
    items = tuple(demo_story.Item(frame.name, f"bird-{index}", frame) for index, frame in enumerate(frames))
    chapters = [demo_story.Chapter(name, "Birds.", "testbed:cnn", items[at:]) for at, name in enumerate("AB")]
    told = demo_story.tell

    def tell(out: Path, chapter: demo_story.Chapter, **options: Any) -> Any:
        if chapter.heading == "B":
            raise KeyboardInterrupt
        yield from told(out, chapter, **options)

    monkeypatch.setattr("pellucid.cli.demonstration.chapters", lambda: (chapters, []))
    monkeypatch.setattr("pellucid.cli.demonstration.tell", tell)
    ran = run("demo", "--out", tmp_path / "out")
    assert (ran.code, ran.err) == (130, "Stopped. Finished: 2 of 3; the same command goes on from there.\n")
