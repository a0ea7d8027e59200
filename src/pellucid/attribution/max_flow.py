"""How much can flow through the attention of all blocks from what is read at the top to one token at the bottom."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_UNITS = 1_000_000  # scipy counts in whole numbers; a link weaker than half a unit carries nothing


def largest_flows(
    row: Float[Tensor, "token"], blocks: Sequence[Float[Tensor, "token token"]], sinks: Sequence[int]
) -> Float[Tensor, "sink"]:
    """The largest flow from what is read to each of the sinks alone.

    row:    capacities from what is read to the tokens before the last block
    blocks: those from each token after a block (row) to each token before it (column), the first block first, without
            the last
    """
    import numpy as np
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    count = len(row)
    origin = (len(blocks) + 1) * count
    starts, ends, capacities = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    for depth, links in enumerate([*blocks, row[None]]):
        units = torch.round(links.double().cpu() * _UNITS).int()
        above, below = units.nonzero(as_tuple=True)
        starts.append((depth + 1) * count + above.numpy())
        ends.append(depth * count + below.numpy())
        capacities.append(units[above, below].numpy())
    graph = csr_array(
        (np.concatenate(capacities), (np.concatenate(starts), np.concatenate(ends))), shape=(origin + 1, origin + 1)
    )
    return torch.tensor([maximum_flow(graph, origin, int(sink)).flow_value / _UNITS for sink in sinks])
