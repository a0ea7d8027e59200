"""The benchmark: every method on pictures whose answer is known, every measure of every map, and what it cost."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.attribution.fitted import attach
from pellucid.compute.pool import spread
from pellucid.compute.progress import track
from pellucid.engine import look
from pellucid.engine.maps import layer_for, takes_layer
from pellucid.errors import MethodUnavailable, RequestError
from pellucid.registry import Metric, find_metric
from pellucid.registry import metrics as all_metrics
from pellucid.results import Heatmaps
from pellucid.results.leaderboard import Column, Entry, Kind, Leaderboard
from pellucid.stories.cases import Cases, Part, SceneCases
from pellucid.stories.contestants import Contestant, contestants
from pellucid.stories.findings import RETRAINED, Findings, clipped, flips, how_far_bent, joined, plain, remarks
from pellucid.stories.ledger import Ledger
from pellucid.stories.maps import heatmaps, needs_of
from pellucid.stories.measure import Subject, refuse_training
from pellucid.stories.plates import plates
from pellucid.stories.ranking import rank_maps
from pellucid.stories.request import Asked, Request, subject
from pellucid.stories.truths import cases_of
from pellucid.stories.versions import versions
from pellucid.subject import VisionModel, load
from pellucid.trust.faithfulness import FILLS
from pellucid.trust.ground import Ground
from pellucid.trust.measured import Measured, is_control
from pellucid.values.target import Class

ORACLE, FIRST = "oracle", "shown first"
STEP = 5  # pictures done together: what a kill can lose, and what lies in memory
CAP = 500
SANITY_PICTURES = 5  # for checks of maps against themselves; what is judged by the truth is judged on all
_CURVES = {"steps": 8, "fills": FILLS}
# Small enough that a hundred pictures and all methods take minutes; the three curves share their points.
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "deletion": _CURVES, "insertion": _CURVES, "insertion_minus_deletion": _CURVES,
    "max_sensitivity": {"samples": 2},
    "part_deletion_correlation": {"beyond_area": True},  # large parts hold more of any map, a random one too
}  # fmt: skip
DEFAULT_METRICS = (
    "pointing_game", "strict_pointing_game", "mask_iou", "relevance_mass", "relevance_rank", "energy_pointing_game",
    "inside_outside",
    "pixel_average_precision", "pixel_auc", "box_localisation", "background_mass", "distractor_mass",
    "part_deletion_correlation",
    "insertion_minus_deletion", "deletion", "insertion", "foretells_regions", "foretells_single_regions",
    "foretells_noise",
    "sparseness", "complexity", "rank_agreement",
    "model_randomisation", "structure_randomisation", "picture_randomisation", "class_sensitivity", "max_sensitivity",
)  # fmt: skip


def benchmark(
    model: Asked,
    truth: str | Cases = "testbed",
    *,
    methods: str | Sequence[str] = "all",
    metrics: str | Sequence[str] = "default",
    scenes: int = 100,
    cap: float = CAP,
    seed: int = 1000,
    rank_by: str | None = None,
    memory: float | None = None,
    folder: str | Path | None = None,
    workers: int = 1,
) -> Leaderboard:
    """Methods ranked by measurement on pictures whose answer is known, controls and the truth itself among them.

    truth:   `testbed` (fresh scenes of `seed`, where it is known what decides the label), `testbed:model` (the same
             scenes; the truth is what this model was found to read), `testbed:pairs` (two birds of different classes),
             `testbed:bib6` or `testbed:body_tail12` (for nets of these tasks), `coco:DIR`, `folder:DIR`, or Cases of
             one's own
    methods: `all`, or names; named ones run whatever they cost
    metrics: `default`, `all` (but those that train models), or names
    cap:     forward passes a method may take per picture; samplers run with what fits, dearer methods are listed
    rank_by: the measure that orders the board; None is the pointing game, or insertion minus deletion without masks
    folder:  where finished work is noted, so that the same call goes on where it stopped; None keeps no notes. What
             `pellucid retrain alignment` found of this net, there or in its own folder, joins the notes of the board
    workers: processes that share the pictures, one core each; more than one where model and truth are told by name.
             They share `memory`

    Only pictures that the model gets right are judged. The same seed gives the same board. Raises UnknownMethod,
    RequestError, and whatever loading the model raises.
    """
    under_study = subject(model)
    cases = cases_of(under_study, truth, scenes, seed)
    contest = Contest.prepare(under_study, cases, methods=methods, metrics=metrics, cap=cap, seed=seed, memory=memory)
    ledger = Ledger(Path(folder) / "benchmark.jsonl" if folder is not None else None)
    finished = ledger.read()
    keys = [contest.key(places) for places in contest.steps]
    missing = [places for key, places in zip(keys, contest.steps, strict=True) if key not in finished]
    if workers > 1 and len(missing) > 1:
        job = _Elsewhere.of(under_study, truth, methods, metrics, scenes, cap, seed, memory, min(workers, len(missing)))
        done = ((missing[at], record) for at, record in spread(job, missing, workers))
    else:
        done = ((places, contest.run(places).to_dict()) for places in missing)
    for places, record in track(done, total=len(missing), label=f"{under_study.name}: benchmark"):
        finished[contest.key(places)] = record
        ledger.add(contest.key(places), record)
    board = contest.board([Findings.from_dict(finished[key]) for key in keys], rank_by)
    if folder is None or not any(column.truth for column in board.columns):
        return board
    return replace(board, notes=(*board.notes, *how_far_bent(under_study, (Path(folder), RETRAINED))))


@dataclass(frozen=True)
class _Elsewhere:
    """The same benchmark in another process, which opens model and pictures by their names."""

    spec: str
    fingerprint: str
    truth: str
    methods: str | tuple[str, ...]
    metrics: str | tuple[str, ...]
    scenes: int
    cap: float
    seed: int
    memory: float | None
    explainers: tuple[str, ...]

    @classmethod
    def of(
        cls, model: VisionModel, truth: str | Cases, methods: str | Sequence[str], metrics: str | Sequence[str],
        scenes: int, cap: float, seed: int, memory: float | None, workers: int,
    ) -> _Elsewhere:  # fmt: skip
        """Raises RequestError for a model or a truth that only this process has."""
        if model.spec is None or not isinstance(truth, str) or model.device.type != "cpu":
            raise RequestError(
                f"workers={workers} open model and pictures by name and use a core each; {model.name} was given as an "
                f"object, is on {model.device}, or the truth is no name. Take workers=1."
            )
        named = [asked if isinstance(asked, str) else tuple(asked) for asked in (methods, metrics)]
        share = None if memory is None else memory / workers
        return cls(model.spec, model.fingerprint, truth, named[0], named[1], scenes, cap, seed, share,
                   tuple(map(str, model.explainers.values())))  # fmt: skip

    def __call__(self, places: tuple[int, ...]) -> dict[str, Any]:
        return _there(self).run(places).to_dict()


@cache
def _there(asked: _Elsewhere) -> Contest:
    torch.set_num_threads(1)
    model = attach(load(asked.spec, device="cpu"), asked.explainers)
    if model.fingerprint != asked.fingerprint:
        raise RequestError(f"{asked.spec} has other weights each time it is opened; take workers=1.")
    cases = cases_of(model, asked.truth, asked.scenes, asked.seed)
    return Contest.prepare(
        model, cases, methods=asked.methods, metrics=asked.metrics, cap=asked.cap, seed=asked.seed, memory=asked.memory
    )


@dataclass(frozen=True, eq=False)
class Contest:
    """Everything decided before the first pass."""

    model: VisionModel
    cases: Cases
    contestants: tuple[Contestant, ...]
    left_out: tuple[tuple[str, float, str], ...]
    metrics: tuple[Metric, ...]
    seed: int
    cap: float
    memory: float | None = None

    @classmethod
    def prepare(
        cls, model: VisionModel, cases: Cases, *, methods: str | Sequence[str], metrics: str | Sequence[str],
        cap: float, seed: int, memory: float | None = None,
    ) -> Contest:  # fmt: skip
        """Which methods take part with which parameters, and which measures can be taken."""
        size = model.input_size or tuple(int(side) for side in cases.part([0]).batch.inputs.shape[-2:])
        taking_part, left_out = contestants(model, (size[0], size[1]), methods, cap)
        asked = _asked_metrics(metrics, model, cases.part([0]).truth)
        return cls(model, cases, taking_part, left_out, asked, seed, cap, memory)

    @property
    def steps(self) -> tuple[tuple[int, ...], ...]:
        """The pictures that are done together; those whose maps are made again and again stand alone."""
        count = len(self.cases.names)
        alone = min(SANITY_PICTURES, count) if any(metric.remakes for metric in self.metrics) else 0
        together = (tuple(range(start, min(start + STEP, count))) for start in range(alone, count, STEP))
        return (*((place,) for place in range(alone)), *together)

    def key(self, places: Sequence[int]) -> str:
        """The same exactly when the same work would give the same findings."""
        facts = [
            self.model.fingerprint, self.cases.title, [self.cases.names[place] for place in places], self.seed,
            [[one.method.name, dict(one.parameters)] for one in self.contestants],
            [[metric.name, repr(PARAMETERS.get(metric.name, {}))] for metric in self.metrics],
            places[0] < SANITY_PICTURES, versions()["pellucid"],
        ]  # fmt: skip
        return hashlib.blake2b(json.dumps(facts, default=str).encode(), digest_size=8).hexdigest()

    def run(self, places: Sequence[int]) -> Findings:
        """All maps and measures of a few pictures."""
        part = self.cases.part(places)
        made, seconds, refused = self._maps(part)
        shown, spent = self._shown_first(part, seconds)
        extra = {FIRST: shown}
        if part.truth is not None:
            extra[ORACLE] = part.truth.exact.float()
        evidence = look(self.model, part.batch.inputs, list(part.targets), seed=self.seed, memory=self.memory)
        asked = Subject(self.model, part.batch, made, evidence, part.truth, self.memory, extra)
        values: dict[str, dict[str, list[float | None]]] = {}
        units: dict[str, str] = {}
        notes: list[str] = []
        said: dict[str, list[str]] = {}
        negative: dict[str, list[float | None]] = {}
        by_fill: dict[str, dict[str, dict[str, list[float | None]]]] = {}
        for metric in self.metrics:
            if metric.remakes and not metric.needs_truth and places[0] >= SANITY_PICTURES:
                continue
            best = metric.oracle(part.truth).float() if metric.oracle and part.truth is not None else None
            known = asked if best is None else replace(asked, extra={**extra, ORACLE: best})
            found: Measured = known.measure(metric, PARAMETERS.get(metric.name, {}))
            values[metric.name] = {name: plain(row) for name, row in found.values.items()}
            units[metric.name], said[metric.name] = found.unit, list(found.notes)
            if len(found.fills) > 1:
                by_fill[metric.name] = {
                    fill: {name: plain(rows[at]) for name, rows in found.by_fill.items() if name != ORACLE}
                    for at, fill in enumerate(found.fills)
                }
            negative |= {name: plain(row) for name, row in found.clipped.items()}
            notes += [f"{metric.name}: {part.batch.frames[at].name}: {why}" for at, why in found.skipped.items()]
        examples = plates(part, made, asked.maps) if places[0] < SANITY_PICTURES else ()
        classes = [str(self.model.labels[one.index] if isinstance(one, Class) else one) for one in part.targets]
        return Findings(
            values, seconds, units, examples, refused, tuple(notes), spent, said, classes, negative, by_fill
        )

    def board(self, found: Sequence[Findings], rank_by: str | None) -> Leaderboard:
        """The leaderboard of all findings, in the order of the pictures."""
        lengths = [len(places) for places in self.steps]
        names = dict.fromkeys(name for one in found for table in one.values.values() for name in table)
        by_name = {one.method.name: one for one in self.contestants}
        asked = sum(one.spent * length for one, length in zip(found, lengths, strict=True)) / sum(lengths)
        entries: list[Entry] = []
        for name in names:
            shown = name.removeprefix("control ")
            rows = {metric.name: joined(found, lengths, metric.name, name) for metric in self.metrics}
            spent = [
                one.seconds[name] * length for one, length in zip(found, lengths, strict=True) if name in one.seconds
            ]
            contestant = by_name.get(name)
            entries.append(Entry(
                shown, _kind(name), rows, contestant.passes if contestant else asked if name == FIRST else 0.0,
                sum(spent) / sum(lengths),
                contestant.parameters if contestant else {},
                contestant.method.class_agnostic if contestant else False,
            ))  # fmt: skip
        refused = {name: why for one in found for name, why in one.refused.items()}
        units = {name: unit for one in found for name, unit in one.units.items()}
        columns = tuple(_column(metric, units.get(metric.name, "")) for metric in self.metrics)
        measured = {column.metric for column in columns}
        skipped = [note for one in found for note in one.notes]
        usual = "pointing_game" if "pointing_game" in measured else "insertion_minus_deletion"
        return Leaderboard(
            model=self.model.card, truth=self.cases.title, pictures=self.cases.names, total=self.cases.total,
            columns=columns, entries=tuple(entries),
            rank_by=rank_by or (usual if usual in measured else columns[0].metric), cap=self.cap, seed=self.seed,
            left_out=(*self.left_out, *((name, by_name[name].passes, why) for name, why in refused.items())),
            examples=tuple(example for one in found for example in one.examples),
            notes=tuple(dict.fromkeys([
                *_in_metric(measured), *remarks(found), *clipped(found), *flips(found, self.seed), *skipped,
            ])),
            versions=versions(), classes=tuple(name for one in found for name in one.classes),
            readings=self.cases.readings(self.seed) if isinstance(self.cases, SceneCases) else (),
        )  # fmt: skip

    def _maps(self, part: Part) -> tuple[dict[str, Heatmaps], dict[str, float], dict[str, str]]:
        """The maps of every method from one evidence, what each took beyond the shared passes, and who refused."""
        asked = [one.method for one in self.contestants]
        evidence = look(
            self.model, part.batch.inputs, list(part.targets), needs=needs_of(asked),
            layers=self._layers(part), seed=self.seed, memory=self.memory,
        )  # fmt: skip
        evidence.output()
        made: dict[str, Heatmaps] = {}
        seconds: dict[str, float] = {}
        refused: dict[str, str] = {}
        for one in self.contestants:
            started = time.perf_counter()
            try:
                made[one.method.name] = heatmaps(evidence, part.batch, one.method, parameters=one.parameters)
            except MethodUnavailable as error:
                refused[one.method.name] = str(error)
                continue
            seconds[one.method.name] = (time.perf_counter() - started) / len(part.batch)
        return made, seconds, refused

    def _layers(self, part: Part) -> tuple[str, ...]:
        size = (int(part.batch.inputs.shape[-2]), int(part.batch.inputs.shape[-1]))
        found = [layer_for(self.model, one.method, None, size) for one in self.contestants if takes_layer(one.method)]
        return tuple(dict.fromkeys(layer.name for layer in found if layer is not None))

    def _shown_first(self, part: Part, seconds: dict[str, float]) -> tuple[Float[Tensor, "batch height width"], float]:
        """For every picture the map that `explain` shows first, and the passes per picture that took."""
        started = time.perf_counter()
        singles, request = zip(part.batch.singles(), part.targets, strict=True), Request(seed=self.seed)
        ranked = [rank_maps(self.model, one, request, target=target, memory=self.memory) for one, target in singles]
        seconds[FIRST] = (time.perf_counter() - started) / len(part.batch)
        spent = sum(one.evidence.passes.cost for one in ranked) / len(ranked)
        return torch.cat([one.maps[0].one_channel for one in ranked]).cpu(), spent


def _in_metric(measured: Collection[str]) -> Iterator[str]:
    """Where a map is judged by what it was chosen by."""
    own = [name for name in ("insertion_minus_deletion", "insertion", "deletion") if name in measured]
    if own:
        yield f"{FIRST.capitalize()} is chosen by insertion less deletion, so it is in-metric on {', '.join(own)}."


def _asked_metrics(asked: str | Sequence[str], model: VisionModel, truth: Ground | None) -> tuple[Metric, ...]:
    """The measures to take; of a group those that can be taken here, of names all or none."""
    groups = {
        "default": lambda: [find_metric(name) for name in DEFAULT_METRICS],
        "all": lambda: [entry for entry in all_metrics().values() if not entry.trains],
    }
    if isinstance(asked, str) and asked in groups:
        return tuple(
            entry for entry in groups[asked]()
            if (not entry.needs_truth or (truth is not None and all(map(truth.says, entry.reads))))
            and (model.module is not None or not entry.remakes)
        )  # fmt: skip
    names = (asked,) if isinstance(asked, str) else tuple(asked)
    found = tuple(find_metric(name) for name in names)
    if not found:
        raise RequestError("metrics is empty; name at least one, or `default`.")
    for entry in found:
        refuse_training(entry)
        if entry.needs_truth and truth is None:
            raise RequestError(f"{entry.name} needs masks of the right answer, and these pictures have none.")
    return found


def _column(metric: Metric, unit: str) -> Column:
    return Column(metric.name, metric.better, metric.summary, metric.paper, unit, metric.needs_truth, metric.remakes,
                  metric.limit, metric.changes)  # fmt: skip


def _kind(name: str) -> Kind:
    if is_control(name):
        return "control"
    return "oracle" if name == ORACLE else "shown first" if name == FIRST else "method"
