"""A tape runs again as the operations themselves would, for any number of pictures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pellucid import hooks
from pellucid.engine.tape import Program, Scaled, Tape

GAIN = torch.arange(1.0, 5.0)


def sides(pictures: int) -> Tensor:
    """[picture 4 6]: each picture's own, and the first ones the same however many there are."""
    return torch.stack([torch.linspace(-1, 1, 24).reshape(4, 6) * (picture + 1) for picture in range(pictures)])


def origins(pictures: int, seed: int = 0) -> Tensor:
    return torch.randn(pictures, 4, 6, generator=torch.Generator().manual_seed(seed))


Work = Callable[[Tensor, Tensor], Tensor]


def recorded(work: Work, pictures: int) -> tuple[Tape, Tensor]:
    tape, side = Tape(), sides(pictures)
    with torch.inference_mode(), hooks.operations(tape.watch):
        side = side * 2
        origin = origins(pictures)
        tape.begin(origin)
        return tape, work(origin, side)


def program_of(work: Work, pictures: tuple[int, int] = (1, 2)) -> tuple[Program | str, Tape]:
    (one, first), (other, second) = recorded(work, pictures[0]), recorded(work, pictures[1])
    return Program.of(one, other, pictures, ({"end": first}, {"end": second})), one


WORKS: dict[str, Work] = {
    "reshaped": lambda x, side: (x.reshape(len(x) * 2, 12) + 1).reshape(len(x), 4, 6) * side,
    "picture axis last": lambda x, side: (x.permute(1, 2, 0) * side.permute(1, 2, 0)).permute(2, 0, 1),
    "weights": lambda x, side: functional.layer_norm(x, (6,)) * GAIN[:, None] + side,
    "in place": lambda x, side: x.add_(1).relu_().mul_(side),
    "view written": lambda x, side: written_through_a_view(x) + side,
    "several results": lambda x, side: torch.cat([*x.unbind(dim=1)[:2], side.max(dim=1).values], dim=-1),
    "made anew": lambda x, side: side.new_full((len(x), 6), 2.0).add_(x.sum(dim=1)),
    "nothing of the origin": lambda x, side: side,
}


def written_through_a_view(x: Tensor) -> Tensor:
    y = x + 0
    y[:, 1].mul_(3)
    y[:, 2:] = y[:, :2]
    return y


@pytest.mark.parametrize("name", WORKS)
@pytest.mark.parametrize("pictures", [(1, 2), (2, 3), (3, 2)])
def test_it_runs_as_the_operations_would(name: str, pictures: tuple[int, int]) -> None:
    program, tape = program_of(WORKS[name], pictures)
    assert isinstance(program, Program), program
    count = pictures[0]
    for times in (1, 2, 5):
        origin = origins(count * times, seed=9)
        expected = WORKS[name](origin.clone(), 2 * sides(count).repeat(times, 1, 1))

        def held(index: int, times: int = times) -> Tensor:
            repeats = [times if isinstance(side, Scaled) else 1 for side in program.shapes[index]]
            return tape.held[index].repeat(*repeats)

        for _ in range(2):  # nothing of the first run is left in the second
            with torch.inference_mode():
                found = program.run(origin.clone(), held)["end"]
            torch.testing.assert_close(found.clone(), expected, rtol=0, atol=0)


def test_another_number_of_pictures_fits_and_other_operations_do_not() -> None:
    program, _ = program_of(WORKS["reshaped"])
    assert isinstance(program, Program)
    tape, end = recorded(WORKS["reshaped"], 7)
    assert program.fits(tape, 7, {"end": end})
    tape, end = recorded(lambda x, side: (x.reshape(len(x) * 2, 12) + 2).reshape(len(x), 4, 6) * side, 7)
    assert not program.fits(tape, 7, {"end": end})


REFUSED: dict[str, tuple[Work, str]] = {
    "by its values": (lambda x, side: x if float(x.sum()) > 0 else side, "values behind the layer"),
    "in number": (lambda x, side: x[x > 0], "values behind the layer"),
    "by the number of pictures": (lambda x, side: x + 1 if len(x) == 1 else x - 1, "other ways"),
    "not in proportion": (lambda x, side: x + (len(x) - 1), "other ways"),
    "grows along two axes": (lambda x, side: x[:, :1, :1] * (side[:, 0] @ side[:, 0].T)[None], "one axis"),
    "reads what was filled": (lambda x, side: filled_from_outside(x, side), "piece by piece"),
}


def filled_from_outside(x: Tensor, side: Tensor) -> Tensor:
    side[:, :2] = x[:, :2]
    return side + 1


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_run_again_is_refused_by_name(case: str) -> None:
    work, reason = REFUSED[case]
    program, _ = program_of(work)
    assert isinstance(program, str) and reason in program, program


def test_the_share_of_the_work_is_that_of_its_multiplications() -> None:
    tape, wide = Tape(), torch.randn(64, 256, 256)
    with torch.inference_mode(), hooks.operations(tape.watch):
        for _ in range(3):
            wide @ wide
        tape.begin(wide)
        wide @ wide
    assert tape.share == pytest.approx(0.25)


def test_watching_does_not_import_torchs_compiler() -> None:
    """The import takes seconds; torch wraps the watcher in it unless told not to."""
    assert not hasattr(hooks._Operations.__torch_dispatch__, "__wrapped__")
