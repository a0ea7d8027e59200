"""Everything a user can get wrong, in one table, and the result or the error promised for it."""

from __future__ import annotations

from tests.faults.benchmarks import BENCHMARKS
from tests.faults.commands import COMMANDS
from tests.faults.inputs import INPUTS
from tests.faults.methods import ASKED
from tests.faults.models import MODELS
from tests.faults.pictures import PICTURES
from tests.faults.results import RESULTS
from tests.faults.row import Row
from tests.faults.targets import TARGETS

TABLE: tuple[Row, ...] = (*PICTURES, *INPUTS, *TARGETS, *ASKED, *MODELS, *RESULTS, *COMMANDS, *BENCHMARKS)
