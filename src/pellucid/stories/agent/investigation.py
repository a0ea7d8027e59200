"""The loop: a policy says what to do, the laboratory does it, the journal keeps it, until there is a conclusion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.results import Claim
from pellucid.stories.agent.biases import USUAL, BiasLaboratory, answering_by_lot, is_cause
from pellucid.stories.agent.finding import CANCELLED, CONCLUDED, OUT_OF_TURNS, POLICY_FAILED, Finding
from pellucid.stories.agent.journal import Journal
from pellucid.stories.agent.laboratory import repeated
from pellucid.stories.agent.protocol import Call, Policy, Task, Turn
from pellucid.stories.agent.scripted import Scripted
from pellucid.stories.agent.units import UnitLaboratory, stands
from pellucid.subject import VisionModel

_MOST_REPEATS = 3  # of the same call one after the other, after which a policy is stuck


def laboratory(model: VisionModel, task: Task, *, blind: bool = False) -> UnitLaboratory | BiasLaboratory:
    """Where the experiments of a task are made."""
    return UnitLaboratory(model, task, blind=blind) if task.job == "unit" else BiasLaboratory(model, task)


def investigate(
    model: VisionModel, task: Task, policy: Policy | None = None, *, journal: str | Path | None = None,
    cancelled: Callable[[], bool] | None = None, watch: Callable[[Turn], None] | None = None, blind: bool = False,
) -> Finding:  # fmt: skip
    """Lets a policy experiment on a model until it concludes, or its turns are spent.

    policy:    what decides the next step; None is the local scripted one, which needs no language model
    journal:   a file that every turn is written to as it ends; it must not be there yet
    cancelled: asked before every turn; what was found until then is kept
    watch:     shown every turn as it ends
    blind:     also lets the scripted policy work where the answers are dealt to pictures by lot, as a control

    Rott Shaham et al., MAIA, ICML 2024. A tool's error goes back to the policy and costs a turn. Nothing that a policy
    says is run: it names tools and their arguments.
    """
    lab = laboratory(model, task)
    log = Journal(Path(journal) if journal else None)
    found = worked(lab, policy or Scripted(), journal=log, cancelled=cancelled, watch=watch)
    if blind:
        found = replace(found, blind=_blind(model, task))
    log.end(found.to_dict())
    return found


def worked(
    lab: UnitLaboratory | BiasLaboratory, asked: Policy, *, journal: Journal,
    cancelled: Callable[[], bool] | None = None,
    watch: Callable[[Turn], None] | None = None,
) -> Finding:  # fmt: skip
    """The same in a laboratory that is there already; the journal's last line is left to the caller."""
    task = lab.task
    journal.begin(task, asked.name)
    turns: list[Turn] = []
    status, trouble = OUT_OF_TURNS, ""
    while len(turns) < task.turns:
        if cancelled is not None and cancelled():
            status = CANCELLED
            break
        left = {"turns": task.turns - len(turns), "passes": lab.left}
        try:
            call = asked.act(task, lab.tools, tuple(turns), left)
        except PellucidError as error:
            status, trouble = POLICY_FAILED, str(error)
            break
        turn = _done(lab, call, turns)
        turns.append(turn)
        journal.turn(turn)
        if watch is not None:
            watch(turn)
        if turn.concluded:
            status = CONCLUDED
            break
        if _stuck(turns):
            status, trouble = POLICY_FAILED, f"It called {call.tool!r} the same way {_MOST_REPEATS + 1} times in a row."
            break
    return _finding(lab, asked.name, status, trouble, turns)


def _done(lab: UnitLaboratory | BiasLaboratory, call: Call, turns: list[Turn]) -> Turn:
    number = len(turns) + 1
    before = repeated(turns, call.tool, call.arguments)
    if before is not None:
        return Turn(number, call, {"same_as_turn": before.number, **before.result}, 0)
    result, passes = lab.call(number, call.tool, call.arguments)
    return Turn(number, call, result, passes)


def _stuck(turns: list[Turn]) -> bool:
    last = [(turn.call.tool, dict(turn.call.arguments)) for turn in turns[-_MOST_REPEATS - 1 :]]
    return len(last) > _MOST_REPEATS and all(one == last[0] for one in last)


def _finding(
    lab: UnitLaboratory | BiasLaboratory, policy: str, status: str, trouble: str, turns: list[Turn]
) -> Finding:
    end = turns[-1].call if turns and turns[-1].concluded else Call("")
    proposed = str(end.arguments.get("label", ""))
    claims: tuple[Claim, ...] = ()
    controls: dict[str, float] = {}
    if status == CONCLUDED:
        claims, controls = lab.judged(proposed, [str(one) for one in end.arguments["evidence"]])
    return Finding(
        lab.task, policy, status, _standing(lab, proposed, claims, controls), proposed,
        str(end.arguments.get("description", "")), claims, controls, tuple(lab.notes), tuple(turns), lab.spent, trouble,
    )  # fmt: skip


def _standing(
    lab: UnitLaboratory | BiasLaboratory, proposed: str, claims: tuple[Claim, ...], controls: Mapping[str, float]
) -> str:
    """The label, if fresh pictures bear it out."""
    if not proposed or not claims:
        return ""
    if isinstance(lab, UnitLaboratory):
        return proposed if claims[0].test == "foretelling" and stands(claims[0]) else ""
    parts = proposed.split(" and ")
    return " and ".join(part for part, claim in zip(parts, claims, strict=False) if is_cause(claim, controls[USUAL]))


def _blind(model: VisionModel, task: Task) -> str:
    """What the scripted policy concludes where there is nothing to find, judged by the same dealt answers."""
    if task.job == "bias":
        longer = replace(task, turns=5 * task.turns, passes=5 * task.passes)  # here every change turns the answer
        found = worked(BiasLaboratory(answering_by_lot(model, task), longer), Scripted(), journal=Journal())
        return found.label if found.beaten else ""
    lab, turns = UnitLaboratory(model, task, blind=True), list[Turn]()
    policy = Scripted()
    while len(turns) < task.turns and not (turns and turns[-1].concluded):
        left = {"turns": task.turns - len(turns), "passes": lab.left}
        turns.append(_done(lab, policy.act(task, lab.tools, tuple(turns), left), turns))
    label = str(turns[-1].call.arguments.get("label", "")) if turns[-1].concluded else ""
    if not label:
        return ""
    lab.spent = 0  # judging is not the agent's
    result, _ = lab.call(len(turns) + 1, "foretell", {"label": label})
    from pellucid.language.hypotheses import believed

    return label if "auroc" in result and believed(float(result["auroc"] or 0), float(result["p"])) else ""
