"""What all finished answers can do: show themselves, save themselves, say what they hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from markupsafe import Markup
from rich.console import RenderableType

from pellucid.canvas import fragments, terminal
from pellucid.errors import RequestError
from pellucid.results.files import json_bytes, place_of, write_atomically


class Result:
    """A finished answer: frozen, without a model, equal to another when all it holds is equal.

    noun: its name in files
    """

    noun: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """Everything it holds, in JSON's own kinds."""
        raise NotImplementedError

    def fragment(self) -> Markup:
        """Its HTML, without page or style."""
        raise NotImplementedError

    def __rich__(self) -> RenderableType:
        """Its summary in a terminal."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return fragments.standalone(self.fragment())

    def show(self) -> None:
        """Draw it where the reader is: in the notebook, or as a summary in the terminal."""
        terminal.show(self)

    def save(self, path: str | Path) -> Path:
        """Write it to a file; the suffix says as what. Returns the path.

        Raises RequestError for a suffix it cannot be written as, FileError where it cannot be written.
        """
        writers = self._writers()
        suffix = place_of(path).suffix.lower()
        if suffix not in writers:
            raise RequestError(
                f"{path}: a result of kind {self.noun!r} is saved as {' or '.join(writers)}, not as "
                f"{suffix or 'a file without suffix'}."
            )
        return write_atomically(path, writers[suffix]())

    def _writers(self) -> Mapping[str, Callable[[], bytes]]:
        return {
            ".json": lambda: json_bytes(self.noun, self.to_dict()),
            ".html": lambda: fragments.page(self.fragment(), title=self.noun).encode(),
        }

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, Result)
        return self is other or self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(json.dumps(self.to_dict(), sort_keys=True))
