"""Annotations that are checked while tests run: types by beartype, shapes by jaxtyping."""

from __future__ import annotations

import os
import sys

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

CHECKED = os.environ.get("PELLUCID_CHECK_SHAPES", "") not in ("", "0")

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""An int passes for a float, as it does for a type checker."""


def check_from_here_on() -> None:
    """Checks every function and dataclass of pellucid that is imported after this."""
    early = sorted(name for name in sys.modules if name.split(".")[0] == "pellucid")
    assert not early, f"imported before they could be checked: {early}"
    install_import_hook("pellucid", f"{__name__}.checked")
