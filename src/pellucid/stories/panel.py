"""Which methods explain a picture within a budget of passes, which of their maps are scored, and what it costs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pellucid.engine.maps import layer_or_none
from pellucid.errors import RequestError
from pellucid.registry import Method, find_method
from pellucid.stories.listing import default_cost
from pellucid.stories.maps import available
from pellucid.subject import VisionModel
from pellucid.trust.faithfulness import FILLS, curve_passes
from pellucid.trust.measured import CONTROLS
from pellucid.values import Layer

POINTS = 8
MOST_SCORED = 8  # maps, the three controls included
WORDS = 19  # passes of the sentences' tests: 1 prediction, 5 removal, 5 survival, 5 runner-up, 3 for its own map
CLOSER = 64  # small windows of the perturbation map; more did not point better (0.97 from 64 to 225 on the CNN)
USUALLY_SCORED = 7  # four candidates and the three controls
PAIR = 3  # one forward and one backward
LOOK = 1  # the prediction itself, where there is no backward

# In the order in which maps are scored while the budget lasts; measured on the testbed (`pellucid testbed evaluate`).
CANDIDATES = (
    "refined_occlusion", "excitation_backprop", "salient_relevance", "chefer", "layer_cam", "grad_cam", "legrad",
    "rise", "lime", "hires_cam",
)  # fmt: skip
# One more pass back each. Without attention relevance scores as well as others and points less well: it stays out.
PASSED_BACK, FOR_ATTENTION = ("excitation_backprop",), ("legrad", "salient_relevance")
# Joined in this order when the budget allows for more than the default.
DEARER = ("integrated_gradients", "smoothgrad", "lime", "rise", "kernel_shap", "score_cam")
# A method that takes more steps where a picture needs them joins without, and gets them from what is left at the end.
PATIENCE: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "integrated_gradients": ({"most_steps": 50}, {"most_steps": 100}, {"most_steps": 200}),
}


@dataclass(frozen=True)
class Step:
    """One map to be made.

    passes: beyond what is shared; a method that stops when it has seen enough may take fewer
    scored: whether deletion and insertion are measured
    """

    method: str
    passes: float
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    scored: bool = False


@dataclass(frozen=True)
class Plan:
    """What will be done for each picture, decided before the first pass.

    shared:  passes every map profits from
    dropped: what the budget did not allow, as sentences
    order:   the methods in the order in which their maps are scored, or shown where none is
    """

    budget: float
    shared: float
    steps: tuple[Step, ...]
    controls: tuple[str, ...]
    points: int
    fills: tuple[str, ...]
    words: float
    dropped: tuple[str, ...] = ()
    order: tuple[str, ...] = ()

    def rank(self, name: str) -> int:
        """Place of a method in the declared order."""
        return self.order.index(name) if name in self.order else len(self.order)

    @property
    def scored(self) -> tuple[str, ...]:
        """The methods whose maps are scored, controls not included."""
        return tuple(step.method for step in self.steps if step.scored)

    @property
    def scoring(self) -> float:
        """Passes that scoring takes."""
        count = len(self.scored) + len(self.controls)
        return curve_passes(count, self.points, len(self.fills)) if self.scored else 0

    @property
    def passes(self) -> float:
        """The most forward passes a picture can take; a backward counts two."""
        return self.shared + sum(step.passes for step in self.steps) + self.scoring + self.words

    def rows(self) -> list[tuple[str, float]]:
        """What costs how many passes, for a table."""
        shared = [step.method for step in self.steps if not step.passes]
        rows: list[tuple[str, float]] = [
            (f"shared by {', '.join(shared)}" if shared else "the prediction", self.shared)
        ]
        rows += [(step.method, step.passes) for step in self.steps if step.passes]
        if self.scored:
            rows.append((f"scoring {', '.join([*self.scored, *self.controls])}", self.scoring))
        if self.words:
            rows.append(("the sentences' tests", self.words))
        return rows

    @property
    def text(self) -> str:
        """The plan as it is printed and kept."""
        lines = [f"{passes:6.0f}  {what}" for what, passes in self.rows()]
        lines.append(f"{self.passes:6.0f}  passes per picture, of {self.budget:.0f} allowed")
        unscored = [step.method for step in self.steps if not step.scored]
        if unscored and self.scored:
            lines.append(f"Made but not scored: {', '.join(unscored)}.")
        return "\n".join([*lines, *self.dropped])


def plan(
    model: VisionModel,
    size: tuple[int, int],
    *,
    budget: float,
    methods: Sequence[str] | None = None,
    layer: Layer | str | None = None,
) -> Plan:
    """The plan for one picture of `size`.

    methods: what was asked for; these are made whatever they cost, and the budget then limits what is scored. None is
             the default panel: the whole one-pass family, a perturbation map, and as many scored as fit
    layer:   where methods look that explain at one; some cost a pass for each of its channels

    Raises RequestError where the budget allows for nothing, UnknownMethod, UnknownLayer.
    """
    prices = Prices(model, size, layer)
    shared = PAIR if model.differentiable else LOOK
    if methods is not None:
        return _asked(prices, budget, methods, shared)
    return _default(available(model, size), prices, budget, shared)


@dataclass(frozen=True)
class Prices:
    """What methods cost for a picture of one size; those that explain at a layer, at the one asked for or their own."""

    model: VisionModel
    size: tuple[int, int]
    layer: Layer | str | None = None

    @property
    def attention(self) -> bool:
        return self.model.differentiable and bool(self.model.layers_at(self.size).blocks)

    def of(self, method: Method, **parameters: Any) -> float:
        """Passes beyond what is shared, at most."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a layer that runs twice; said with the map
            address = layer_or_none(self.model, method, self.layer, self.size)
        return default_cost(method, self.size, layer=address, **parameters)


def _asked(prices: Prices, budget: float, names: Sequence[str], shared: float) -> Plan:
    steps = [Step(method.name, prices.of(method)) for method in map(find_method, dict.fromkeys(names))]
    spent = shared + sum(step.passes for step in steps)
    # What was asked for is done; the budget is then meant for scores and sentences.
    allowed = max(budget, spent + budget - shared) if spent > budget / 2 else budget
    return _with_scores(steps, [step.method for step in steps], allowed, shared, budget)


def _default(usable: Mapping[str, Method], prices: Prices, budget: float, shared: float) -> Plan:
    if budget < shared:
        raise RequestError(
            f"A budget of {budget:.0f} passes allows for nothing: one look at a picture takes {shared:.0f}."
        )
    family = [
        Step(name, 0)
        for name, method in usable.items()
        if method.question == "where" and not method.control and _free(method)
    ]
    closer = _closer(usable, prices, budget, shared)
    steps = list(family)
    dropped: list[str] = []
    for name in (*PASSED_BACK, *(FOR_ATTENTION if prices.attention else ())):
        step = Step(name, prices.of(usable[name])) if name in usable else None
        if step is not None and shared + sum(one.passes for one in (*steps, step)) <= budget:
            steps.append(step)
    if closer is not None:
        steps.append(closer)
    else:
        dropped.append("The budget leaves out the perturbation map, which asks the model itself what matters.")
    if not steps:
        least = prices.of(usable["refined_occlusion"], closer=0) + shared
        raise RequestError(
            f"A budget of {budget:.0f} passes is too small for this model: a black box is explained by covering parts "
            f"of the picture, which takes at least {least:.0f} passes."
        )
    spent = shared + sum(step.passes for step in steps)
    steps += _dearer(usable, prices, budget - _full_scores() - WORDS - spent)
    order = [name for name in CANDIDATES if any(step.method == name for step in steps)]
    order += [step.method for step in steps if step.passes and step.method not in order]
    order += [step.method for step in steps if step.method not in order]
    return _with_scores(steps, order, budget, shared, budget, dropped)


def _dearer(usable: Mapping[str, Method], prices: Prices, left: float) -> list[Step]:
    """The dear methods that fit into what is left, each as patient as the rest then allows."""
    steps: list[Step] = []
    for name in DEARER:
        least = PATIENCE.get(name, ({},))[0]
        if name in usable and prices.of(usable[name], **least) <= left:
            steps.append(Step(name, prices.of(usable[name], **least), least))
            left -= steps[-1].passes
    for place, step in enumerate(steps):
        for parameters in PATIENCE.get(step.method, ()):
            passes = prices.of(usable[step.method], **parameters)
            if passes - step.passes <= left:
                steps[place] = Step(step.method, passes, parameters)
        left -= steps[place].passes - step.passes
    return steps


def _closer(usable: Mapping[str, Method], prices: Prices, budget: float, shared: float) -> Step | None:
    """The perturbation map: as close a look as the budget allows once the scores of the usual candidates are paid."""
    method = usable.get("refined_occlusion")
    if method is None:
        return None
    coarse = prices.of(method, closer=0)
    left = budget - shared - WORDS - curve_passes(USUALLY_SCORED, POINTS, len(FILLS)) - coarse
    for closer in (CLOSER, CLOSER // 2, 0):
        if left >= closer or (closer == 0 and budget >= shared + coarse):
            return Step(method.name, prices.of(method, closer=closer), {"closer": closer})
    return None


def _with_scores(
    steps: Sequence[Step],
    order: Sequence[str],
    allowed: float,
    shared: float,
    budget: float,
    dropped: Sequence[str] = (),
) -> Plan:
    spent = shared + sum(step.passes for step in steps)
    said = list(dropped)
    fills, words = FILLS, WORDS
    left = allowed - spent
    if left < words + curve_passes(1 + len(CONTROLS), POINTS, len(fills)):
        fills = FILLS[:1]  # one fill costs a third
    if left < words + curve_passes(1 + len(CONTROLS), POINTS, len(fills)):
        words = 0
    count = _most_scored(left - words, len(fills))
    if fills != FILLS and count:
        said.append(f"The budget allows for one fill only ({fills[0]}), so there is no spread over fills.")
    if words == 0:
        said.append("The budget leaves out the sentences that need tests of their own.")
    if count == 0:
        said.append("The budget does not allow to score a map: the first is first by declaration, not by measurement.")
    chosen = set(order[:count])
    marked = tuple(Step(step.method, step.passes, step.parameters, step.method in chosen) for step in steps)
    controls = CONTROLS if count else ()
    return Plan(allowed, shared, marked, controls, POINTS, tuple(fills), words, tuple(said), tuple(order))


def _most_scored(left: float, fills: int) -> int:
    """How many maps can be scored beside the controls."""
    for count in range(MOST_SCORED - len(CONTROLS), 0, -1):
        if curve_passes(count + len(CONTROLS), POINTS, fills) <= left:
            return count
    return 0


def _full_scores() -> int:
    return curve_passes(MOST_SCORED, POINTS, len(FILLS))


def _free(method: Method) -> bool:
    """Whether it costs nothing beyond the shared forward and backward, and explains any model as it is."""
    return not callable(method.cost) and default_cost(method) == 0 and method.fitting is None
