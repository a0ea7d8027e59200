"""Errors of the command line: one clean line, the right exit code, never a traceback for what the user can mend."""

from __future__ import annotations

import sys
from collections.abc import Callable

from pellucid.errors import PellucidError

DONE, SOME_FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


def failing_clearly(command: Callable[..., object]) -> int:
    """Runs the command and gives its exit code; a PellucidError becomes one red line."""
    try:
        command(prog_name="pellucid", standalone_mode=True)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else DONE if leaving.code is None else SOME_FAILED
    except PellucidError as error:
        say(str(error))
        return _code(error)
    except KeyboardInterrupt:
        say("Stopped. What was finished stays; the same command goes on from there.")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nothing is wrong
        return DONE
    return DONE


def say(text: str) -> None:
    """One line of error on standard error, red where there are colours."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True).print(Text.assemble(("error ", "bold red"), (text, "red")))


def _code(error: PellucidError) -> int:
    """2 where the command was wrong, 1 where an input was."""
    from pellucid.errors import FileError, ImageError, MemoryBudgetError, RemoteError

    return SOME_FAILED if isinstance(error, (ImageError, FileError, MemoryBudgetError, RemoteError)) else WRONG_USAGE
