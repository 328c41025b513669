"""The Azure workloads of the library against the traces that they are derived from."""

import csv
import gzip
import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
WORKLOADS = ROOT / "stdlib" / "workloads" / "index.hms"
TRACES = ROOT / "../shared/data/traces"
SHAPES = ("conv", "code")


def written(shape: str) -> str:
    text = WORKLOADS.read_text(encoding="utf-8")
    return re.split(r"^workload ", text.split(f"workload azure_{shape}_2023 {{")[1], flags=re.M)[0]


def rate(shape: str) -> float:
    return float(re.search(r"poisson\(([\d.]+) req/s\)", written(shape))[1])


def table(shape: str, length: str) -> tuple[np.ndarray, np.ndarray]:
    """Shares (0..1) and tokens of one quantile table."""
    body = re.search(rf"{length} += quantiles\(\[(.*?)\]\)", written(shape), re.S)[1]
    pairs = re.findall(r"\(([\d.]+)%, ([\d_]+) tok\)", body)
    points = np.array([(float(share), float(tokens)) for share, tokens in pairs])
    return points[:, 0] / 100, points[:, 1]


def trace(shape: str) -> tuple[float, dict[str, np.ndarray]]:
    """Mean arrival rate (1/s) and lengths of the published trace."""
    path = TRACES / f"azure_llm_2023_{shape}.csv.gz"
    if not path.exists():
        pytest.skip(f"needs the published trace at {path.name} beside the checkout")
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    times = [datetime.fromisoformat(row["TIMESTAMP"][:26]) for row in rows]
    span = (max(times) - min(times)).total_seconds()
    return len(rows) / span, {
        "prompt": np.array([int(row["ContextTokens"]) for row in rows]),
        "output": np.array([int(row["GeneratedTokens"]) for row in rows]),
    }


def mean(shares: np.ndarray, tokens: np.ndarray) -> float:
    """Of a distribution whose quantile function is straight between the points."""
    return float(np.sum(np.diff(shares) * (tokens[1:] + tokens[:-1])) / 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", ["prompt", "output"])
def test_tables_span_all_and_rise(shape, length):
    shares, tokens = table(shape, length)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert (np.diff(shares) > 0).all()
    assert (np.diff(tokens) >= 0).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", ["prompt", "output"])
def test_tables_have_the_mean_of_the_trace(shape, length):
    lengths = trace(shape)[1][length]
    assert mean(*table(shape, length)) == pytest.approx(lengths.mean(), rel=0.002)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", ["prompt", "output"])
def test_tables_have_the_quantiles_of_the_trace(shape, length):
    shares, tokens = table(shape, length)
    lengths = np.sort(trace(shape)[1][length])
    assert np.abs(tokens - np.quantile(lengths, shares)).max() <= 0.5  # rounded to tokens
    middles = (np.arange(len(lengths)) + 0.5) / len(lengths)
    apart = np.abs(np.interp(middles, shares, tokens) - lengths).mean()  # Wasserstein distance
    assert apart <= 0.025 * lengths.mean()


@pytest.mark.parametrize("shape", SHAPES)
def test_arrivals_have_the_rate_of_the_trace(shape):
    assert rate(shape) == pytest.approx(trace(shape)[0], abs=0.005)
