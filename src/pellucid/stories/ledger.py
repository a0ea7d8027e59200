"""Notes of finished work: lines of JSON on disk, by which the same request goes on where it stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pellucid.errors import FileError


class Ledger:
    """Finished pieces by key. Without a path nothing is kept. A line that a crash cut short is skipped."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def read(self) -> dict[str, dict[str, Any]]:
        """Key -> record of all that is finished."""
        if self.path is None or not self.path.exists():
            return {}
        found: dict[str, dict[str, Any]] = {}
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                found[str(entry["key"])] = dict(entry["record"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def add(self, key: str, record: dict[str, Any]) -> None:
        """Notes one piece as finished, on disk before it returns. Raises FileError where it cannot be written."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            cut_short = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
            with self.path.open("a", encoding="utf-8") as file:
                file.write(("\n" if cut_short else "") + json.dumps({"key": key, "record": record}) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FileError(
                self.path, f"it cannot be written: {error.strerror or error}.", "Choose another folder."
            ) from error
