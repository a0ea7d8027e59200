"""Results on disk: written whole or not at all, read back with care."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Any, cast

from pellucid.errors import FileError

FORMAT = 1  # raised when a file written before can no longer be read in the same way


def write_atomically(path: str | Path, data: bytes) -> Path:
    """`data` at `path`: the old file stays until the new one is complete. Folders are made as needed."""
    path = place_of(path)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise FileError(
            path, f"it cannot be written: {error.strerror or error}.", "Choose another folder or name."
        ) from error
    return path


def json_bytes(kind: str, record: dict[str, Any]) -> bytes:
    """A result as a JSON file that says what it is and in which format."""
    return json.dumps({"pellucid": kind, "format": FORMAT, **record}, allow_nan=False).encode()


def read_json(path: str | Path) -> tuple[str, dict[str, Any]]:
    """Kind and content of a file that pellucid wrote. Raises FileError for anything else."""
    place = place_of(path)
    try:
        record = json.loads(place.read_bytes())
    except OSError as error:
        raise FileError(path, f"it cannot be read: {error.strerror or error}.", "Look at the name.") from error
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"it is not complete JSON ({_short(error)}).", "Save the result again.") from error
    if not isinstance(record, dict) or "pellucid" not in record:
        raise FileError(
            path, "it is JSON, but not a result of pellucid.", "Open a file that `.save('name.json')` wrote."
        )
    record = cast("dict[str, Any]", record)
    if record.get("format") != FORMAT:
        raise FileError(
            path,
            f"it has format {record.get('format')!r}; this pellucid reads format {FORMAT}.",
            "Open it with the pellucid that wrote it, or make it again.",
        )
    return str(record["pellucid"]), record


def place_of(path: str | os.PathLike[str]) -> Path:
    """Where a result is to be written or read. Raises FileError for what is no path."""
    if not isinstance(path, (str, os.PathLike)):
        raise FileError(repr(path), f"a {type(path).__name__} is no path.", "Give the name of a file.")
    return Path(path)


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
