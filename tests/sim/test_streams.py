"""Random streams: places, independence, and that nothing of the process leaks into them."""

import os
import statistics
import subprocess
import sys

import numpy as np
import pytest

from hermesdsl.sim.streams import Stream, normal_quantile

KINDS = ("uniform", "exponential", "normal", "gamma")


def draw(stream: Stream, kind: str, n: int, offset: int = 0) -> np.ndarray:
    if kind == "gamma":
        return stream.gamma(0.4, n, offset)
    return getattr(stream, kind)(n, offset)


@pytest.mark.parametrize("kind", KINDS)
def test_draw_r_is_the_same_whatever_is_drawn_around_it(kind):
    whole = draw(Stream(7, "chat.prompt"), kind, 1000)
    for offset, n in ((0, 1), (1, 2), (3, 5), (511, 300), (999, 1)):
        assert (draw(Stream(7, "chat.prompt"), kind, n, offset) == whole[offset : offset + n]).all()


def test_paths_and_seeds_give_unrelated_vectors():
    n = 20_000
    one = Stream(1, "a").uniform(n)
    for other in (Stream(1, "b"), Stream(2, "a"), Stream(1, "a").child("x")):
        # Correlation of n independent pairs has standard deviation 1/sqrt(n).
        assert abs(np.corrcoef(one, other.uniform(n))[0, 1]) < 4 / np.sqrt(n)


def test_uniform_is_open_and_has_its_moments():
    n = 200_000
    values = Stream(3, "u").uniform(n)
    assert values.min() > 0
    assert values.max() < 1
    assert abs(values.mean() - 0.5) < 4 * np.sqrt(1 / 12 / n)


def test_normal_quantile_agrees_with_the_standard_library():
    p = np.concatenate([np.logspace(-16, -0.31, 300), 1 - np.logspace(-15, -0.31, 300)])
    expected = [statistics.NormalDist().inv_cdf(x) for x in p]
    assert normal_quantile(p) == pytest.approx(expected, rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("shape", [0.05, 0.4, 1.0, 9.0])
def test_gamma_has_mean_and_variance_equal_to_its_shape(shape):
    n = 200_000
    values = Stream(5, "g").gamma(shape, n)
    assert abs(values.mean() - shape) < 4 * np.sqrt(shape / n)
    # Fourth central moment of a gamma variable with scale 1: 3 k^2 + 6 k.
    spread = np.sqrt((3 * shape**2 + 6 * shape - shape**2) / n)
    assert abs(values.var() - shape) < 4 * spread


def test_known_values_do_not_drift():
    """Philox 4x64-10 under BLAKE2b-128 of "1\\0a"; a change here changes every result."""
    assert Stream(1, "a").uniform(3).tolist() == pytest.approx(
        [0.09143963, 0.95912309, 0.29103627], abs=1e-8
    )


def test_hash_seed_of_the_process_plays_no_part():
    code = (
        "from hermesdsl.sim.streams import Stream; print(Stream(1, 'a').normal(4).tobytes().hex())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }
    assert len(seen) == 1
