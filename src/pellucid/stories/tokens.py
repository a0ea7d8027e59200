"""Models that speak, by name, for what is asked of their words."""

from __future__ import annotations

from pellucid.errors import RequestError
from pellucid.testbed import nets
from pellucid.testbed.nets import VisionLanguage


def speaker_of(spec: str) -> VisionLanguage:
    """The vision-language model of that name: `testbed:vlm`. Raises RequestError for one whose words have no place."""
    prefix, _, name = spec.partition(":")
    net = nets.load(name)[0] if prefix == "testbed" and name else None
    if not isinstance(net, VisionLanguage):
        raise RequestError(
            f"{spec!r} is no vision-language model whose tokens of the picture stand before its words; take "
            f"testbed:vlm, or give a net of that kind to `language.token_maps.token_maps`."
        )
    return net
