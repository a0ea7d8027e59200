"""Pictures of the measures of people: made-up users whose reliance is known, and users who toss coins."""

from __future__ import annotations

from measure_charts import CONTROL, OTHER, RIGHT, Bar, Bars, Curves, Line, sheet

from pellucid.trust import people

CAREFUL, COINS = people.Users(40, 0.85, 0.6, 0.05), people.Users(40, 0.5, 0.5)
HELD = "Whiskers hold 95 %; they are over people, drawn anew with all their decisions."


def reliance() -> bytes:
    trusting = people.Users(40, 0.98, 0.1, 0.02)
    asked = {"careful people": (CAREFUL, RIGHT), "people who say yes": (trusting, OTHER),
             "people who toss coins": (COINS, CONTROL)}  # fmt: skip
    found = {
        name: (people.reliance(people.simulated(users, 40, model=0.7, seed=3)), kind)
        for name, (users, kind) in asked.items()
    }
    careful = found["careful people"][0]

    def group(said: str, heading: str, mark: tuple[str, float] | None = None) -> Bars:
        rows = [Bar.of(name, getattr(one, said), kind) for name, (one, kind) in found.items()]
        return Bars(rows, heading, mark=mark)

    return sheet(
        "Do people accept what is right and reject what is wrong?",
        "Made-up studies of 40 people and 40 tasks, with a model that is right in seven of ten.",
        [group("accept_right", "Accepted where the model is right: higher is better"),
         group("reject_wrong", "Rejected where it is wrong: higher is better"),
         group("accuracy", "Right decisions", ("saying yes always", careful.model.mean))], HELD,
    )  # fmt: skip


def team_accuracy() -> bytes:
    found = people.team_accuracy(people.simulated(people.Users(40, 0.8, 0.8), 40, model=0.7, seed=1))
    lines = [
        Line.of("confidence as it is", found.accuracy, RIGHT),
        Line("confidences dealt to tasks by chance", found.shuffled, CONTROL),
    ]
    return sheet(
        "How good are model and people together? Higher is better",
        "Made-up people who are right in eight of ten tasks, and a calibrated model that is right in seven of ten.",
        [Curves(found.thresholds, lines, "confidence from which on the model decides alone (0: always, 1: never)",
                "Right decisions",
                ((0.0, "0"), (0.5, "0.5"), (1.0, "1")), ends=(0.5, 1.0))],
        "The band holds 95 %; it is over people and tasks.",
    )  # fmt: skip


def complementarity() -> bytes:
    skilled = people.Users(40, 0.8, 0.8)
    found = {
        "calibrated model, skilled people": (people.complementarity(
            people.simulated(skilled, 40, model=0.7, seed=1)), RIGHT),
        "confidence that says nothing": (people.complementarity(
            people.simulated(skilled, 40, model=0.7, calibrated=False, seed=1)), OTHER),
        "people who toss coins": (people.complementarity(
            people.simulated(COINS, 40, model=0.7, calibrated=False, seed=1)), CONTROL),
    }  # fmt: skip
    rows = [Bar.of(name, one.margin, kind) for name, (one, kind) in found.items()]
    first = next(iter(found.values()))[0]
    rows.append(Bar("the first, confidences shuffled", first.shuffled, CONTROL))
    return sheet(
        "Is the team better than the better of its members? Above 0 it is",
        "Made-up studies of 40 people and 40 tasks; the model is right in seven of ten.",
        [Bars(rows, "Accuracy of the team less that of the better member", (-0.1, 0.2))],
        "Whiskers hold 95 %; they are over people and tasks.",
    )  # fmt: skip


def compare_conditions() -> bytes:
    better, worse = people.Users(25, 0.9, 0.7, 0.05), people.Users(25, 0.8, 0.4, 0.05)
    helped = people.simulated(better, 30, condition="map", seed=4)
    others = {
        "an explanation that helps": (people.simulated(worse, 30, condition="none", seed=4), RIGHT),
        "one that changes nothing": (people.simulated(better, 30, condition="none", seed=6), CONTROL),
    }
    found = {
        name: (people.compare_conditions(helped + decisions, "map", "none"), kind)
        for name, (decisions, kind) in others.items()
    }
    rows = [Bar.of(f"{name}, p = {one.p:.2g}", one.difference, kind) for name, (one, kind) in found.items()]
    return sheet(
        "Are people more often right with the explanation than without?",
        "Two made-up groups of 25 people with 30 decisions each; in the second comparison both groups are alike.",
        [Bars(rows, "Difference of the shares of right decisions; above 0 speaks for the explanation", (-0.1, 0.2))],
        HELD,
    )  # fmt: skip
