"""Work side by side on all devices: draws and trials are independent, and so divide over the machines at hand.

A chunk of draws is one array with the draws as leading axis. Over D devices, of one process or of several that
`jax.distributed.initialize` joined, each device holds an equal share of it, and compiled code follows the data.
Every process draws the same points from the same key, so nothing has to be sent but the results.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

__all__ = ["gathered", "spread"]


def spread(tree: Any) -> Any:
    """Divide the leading axis of all leaves over all devices; on a single one, return them as they are.

    Args:
        tree: arrays with a common leading axis, the same in all processes. Its last entry is repeated until every
            device has an equal share.
    """
    count = jax.device_count()
    if count == 1:
        return tree
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("draws",)), PartitionSpec("draws"))

    def place(leaf: Any) -> jax.Array:
        missing = -len(leaf) % count
        if missing:
            leaf = leaf[np.minimum(np.arange(len(leaf) + missing), len(leaf) - 1)]
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)))
        local = np.asarray(leaf)
        return jax.make_array_from_callback(local.shape, sharding, lambda index: local[index])

    return jax.tree.map(place, tree)


def gathered(leaf: jax.Array) -> np.ndarray:
    """An array that may be spread over devices, whole, in every process."""
    if jax.process_count() > 1 and not leaf.is_fully_addressable:
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)
