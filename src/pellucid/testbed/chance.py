"""Numbers by name: `u = hash(seed, index, field)`.

Any scene can be drawn alone, adding a field never changes the others, and editing one field leaves every other draw
where it was. No random generator is involved.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64, UInt64


def uniform_numbers(seed: int, index: Int64[np.ndarray, "scene"], field: str) -> Float[np.ndarray, "scene"]:
    """One number in (0, 1] per scene, from seed, index and the field's name alone."""
    return ((scramble(seed, index, field) >> np.uint64(40)).astype(np.float64) + 0.5).astype(np.float32) / np.float32(
        2**24
    )


def choose(uniform: Float[np.ndarray, "scene"], count: int) -> Int64[np.ndarray, "scene"]:
    """0 to count - 1 with equal chance. The largest float32 draw is 1 by rounding, hence the minimum."""
    return np.minimum((uniform * np.float32(count)).astype(np.int64), count - 1)


def scramble(seed: int, index: Int64[np.ndarray, "scene"], field: str) -> UInt64[np.ndarray, "scene"]:
    """64 well-mixed bits per scene: SplitMix64's finaliser over seed, index and the FNV-1a hash of the name."""
    key = name_hash(field)
    stream = mix(np.array([(seed * 0x9E3779B97F4A7C15 + key) % 2**64], dtype=np.uint64))
    place = np.asarray(index, dtype=np.int64).view(np.uint64) * np.uint64(0xD1342543DE82EF95)
    return mix(mix(place + stream) + np.uint64(key))


def mix(bits: UInt64[np.ndarray, "*shape"]) -> UInt64[np.ndarray, "*shape"]:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014), wrapping."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def name_hash(name: str) -> int:
    """64-bit FNV-1a."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value
