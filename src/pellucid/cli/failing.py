"""How a command of the command line ends other than well: one clean line, the right exit code, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pellucid.errors import PellucidError

DONE, SOME_FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


class Stopped(KeyboardInterrupt):
    """Ctrl-C, and in words what became of the work."""


@contextmanager
def stopping(words: Callable[[], str]) -> Iterator[None]:
    """On Ctrl-C `words` are asked what was finished until then."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Stopped(words()) from error


def stays() -> str:
    """What is true of work that keeps a journal."""
    return "What was finished stays; the same command goes on from there."


def failing_clearly(command: Callable[..., object]) -> int:
    """Runs the command and gives its exit code; a PellucidError becomes one red line."""
    try:
        command(prog_name="pellucid", standalone_mode=True)
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            print(f"Stopped. {_told(leaving)}".strip(), file=sys.stderr)
        return leaving.code if isinstance(leaving.code, int) else DONE if leaving.code is None else SOME_FAILED
    except PellucidError as error:
        say(str(error))
        return _code(error)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nothing is wrong
        return DONE
    return DONE


def say(text: str) -> None:
    """One line of error on standard error, red where there are colours."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True).print(Text.assemble(("error ", "bold red"), (text, "red")))


def _told(leaving: SystemExit) -> str:
    """What the interrupted command said; typer turns Ctrl-C into an exit, behind which it still stands."""
    error: BaseException | None = leaving
    while error is not None and not isinstance(error, Stopped):
        error = error.__cause__ or error.__context__
    return str(error) if error else ""


def _code(error: PellucidError) -> int:
    """2 where the command was wrong, 1 where an input was."""
    from pellucid.errors import AnnotationError, FileError, ImageError, MemoryBudgetError, RemoteError

    return (
        SOME_FAILED
        if isinstance(error, (ImageError, AnnotationError, FileError, MemoryBudgetError, RemoteError))
        else WRONG_USAGE
    )
