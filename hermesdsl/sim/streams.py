"""Random numbers by name: a stream is an endless vector per (seed, path), read at any place.

Draw r belongs to request r, in whatever order requests come, and a stream depends on nothing but
the seed and its own path: changing one part of a system leaves every other draw as it was (common
random numbers). Philox is counter-based (Salmon et al., "Parallel Random Numbers: As Easy as
1, 2, 3", SC 2011), so a place is reached without drawing what lies before it. Everything is made
from its raw words, whose values NumPy keeps between versions.
Knows no request, clock or distribution of lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"

#: Philox makes its words four at a time; `advance` counts such groups.
_WORDS = 4


@dataclass(frozen=True)
class Stream:
    """The vector of independent draws named `path` under `seed`.

    Every method takes `n` draws starting with number `offset` and returns an array of shape (n,).
    """

    seed: int
    path: str

    def child(self, name: str) -> Stream:
        """Another stream, independent of this one, named below it."""
        return Stream(self.seed, f"{self.path}/{name}")

    @cached_property
    def _key(self) -> NDArray[np.uint64]:
        text = f"{self.seed}\0{self.path}".encode()
        return np.frombuffer(blake2b(text, digest_size=16).digest(), dtype="<u8").astype(np.uint64)

    def uniform(self, n: int, offset: int = 0) -> Floats:
        """Uniform on the open interval (0, 1): odd multiples of 2^-53, so never 0 and never 1."""
        generator = np.random.Philox(key=self._key)
        generator.advance(offset // _WORDS)
        skip = offset % _WORDS
        raw = generator.random_raw(n + skip)[skip:]
        return np.asarray(((raw >> np.uint64(12)) + 0.5) * 2.0**-52)

    def exponential(self, n: int, offset: int = 0) -> Floats:
        """Exponential with mean 1, by inversion."""
        return np.asarray(-np.log1p(-self.uniform(n, offset)))

    def normal(self, n: int, offset: int = 0) -> Floats:
        """Normal with mean 0 and standard deviation 1, by inversion."""
        return normal_quantile(self.uniform(n, offset))

    def gamma(self, shape: float, n: int, offset: int = 0) -> Floats:
        """Gamma with mean `shape` and scale 1.

        Marsaglia and Tsang, "A simple method for generating gamma variables", ACM TOMS 26 (2000),
        with their U^(1/shape) step below shape 1. Attempt k of draw r reads place r of the
        streams of attempt k, so that a rejection moves no other draw.
        """
        boosted = shape if shape >= 1.0 else shape + 1.0
        d = boosted - 1.0 / 3.0
        c = 1.0 / np.sqrt(9.0 * d)
        result = np.empty(n)
        open_ = np.arange(n)
        attempt = 0
        while open_.size:
            low, high = int(open_[0]), int(open_[-1]) + 1
            at = open_ - low
            x = self.child(f"x{attempt}").normal(high - low, offset + low)[at]
            u = self.child(f"u{attempt}").uniform(high - low, offset + low)[at]
            v = (1.0 + c * x) ** 3
            safe = np.where(v > 0.0, v, 1.0)
            good = (v > 0.0) & (np.log(u) < 0.5 * x * x + d * (1.0 - v + np.log(safe)))
            result[open_[good]] = d * v[good]
            open_ = open_[~good]
            attempt += 1
        if shape < 1.0:
            result *= self.child("boost").uniform(n, offset) ** (1.0 / shape)
        return result


def normal_quantile(p: Floats) -> Floats:
    """The standard normal quantile of each p in (0, 1).

    Wichura, "Algorithm AS 241: The percentage points of the normal distribution", Applied
    Statistics 37 (1988), routine PPND16: relative accuracy about 1e-16.
    """
    p = np.asarray(p, dtype=np.float64)
    q = p - 0.5
    central = np.abs(q) <= 0.425
    r = 0.180625 - q * q
    result = q * _ratio(np.where(central, r, 0.0), _CENTRE)
    if not central.all():
        tail = ~central
        r = np.sqrt(-np.log(np.minimum(p[tail], 1.0 - p[tail])))
        size = np.where(r <= 5.0, _ratio(r - 1.6, _MIDDLE), _ratio(r - 5.0, _FAR))
        result[tail] = np.copysign(size, q[tail])
    return np.asarray(result)


def _ratio(x: Floats, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Floats:
    """The quotient of two polynomials in x, coefficients from the highest power down."""
    above, below = coefficients
    return np.asarray(np.polyval(above, x) / np.polyval(below, x))


# The three ranges of AS 241: (numerator, denominator), highest power first.
_CENTRE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
     4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
     1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
     2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
     4.2313330701600911252e1, 1.0),
)  # fmt: skip
_MIDDLE = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
     1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
     4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
     1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
     2.05319162663775882187e0, 1.0),
)  # fmt: skip
_FAR = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
     2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
     5.46378491116411436990e0, 6.65790464350110377720e0),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
     7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
     5.99832206555887937690e-1, 1.0),
)  # fmt: skip
