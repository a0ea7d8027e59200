"""Sentences as a tuple that can be asked for those of one verdict."""

from __future__ import annotations

from pellucid.errors import RequestError
from pellucid.results.claim import VERDICTS, Claim


class Claims(tuple[Claim, ...]):
    """Claims in reading order: a tuple, whose `verified`, `refuted` and `unverifiable` ones can be had alone."""

    __slots__ = ()

    @property
    def verified(self) -> Claims:
        """Those that were tested and are true."""
        return self.of("verified")

    @property
    def refuted(self) -> Claims:
        """Those that were tested and found wrong."""
        return self.of("refuted")

    @property
    def unverifiable(self) -> Claims:
        """Those that could not be tested."""
        return self.of("unverifiable")

    def of(self, *verdicts: str, predicate: str | None = None) -> Claims:
        """Those with one of these verdicts (any, where none is named), and of this predicate.

        Raises RequestError for what is no verdict.
        """
        unknown = set(verdicts) - set(VERDICTS)
        if unknown:
            raise RequestError(f"{', '.join(sorted(unknown))!r} is no verdict; there are {', '.join(VERDICTS)}.")
        return Claims(
            claim
            for claim in self
            if (not verdicts or claim.verdict in verdicts) and (predicate is None or claim.predicate == predicate)
        )
