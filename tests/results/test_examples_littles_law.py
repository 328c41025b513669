"""On every example: Little's law at every client, parts that sum, and what a summary says of both.

The loads are shortened. An example whose data is not there is left out by name.
"""

from pathlib import Path

import numpy as np
import pytest

from hermesdsl import api
from hermesdsl.diagnostics import SpecError
from hermesdsl.results.metrics import Measures

EXAMPLES = Path(__file__).parents[2] / "examples"
#: Long enough for every client to be visited, short enough for a test.
SETTINGS = {"duration": "30 s", "warmup": "0 s", "horizon": "drain"}


def measured(path: Path) -> Measures:
    """A short, drained run of the first experiment of an example."""
    name = next(iter(api.compile(path).compiled.experiments))
    short = {f"{name}.{key}": value for key, value in SETTINGS.items()}
    try:
        result = api.run(api.compile(path, set=short), experiment=name)
    except SpecError as failure:
        if failure.diagnostics[0].code == "HMS603":
            pytest.skip(f"{failure.diagnostics[0].message}")
        raise
    assert result.measures is not None
    return result.measures


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.hms")), ids=lambda path: path.stem)
def test_present_is_arrivals_times_stay(path: Path) -> None:
    seen = measured(path)
    run = seen.run
    assert run.counts["unfinished"] == 0
    total = run.end_s
    _, present = type(seen.busy)(run, seen.places, (0.0, total)).present()
    for index, client in enumerate(run.clients):
        rows = run.visits["client"] == index
        enter, end = np.sort(run.visits["enter_s"][rows]), np.sort(run.visits["end_s"][rows])
        # The number present, integrated event by event.
        times = np.concatenate([enter, end])
        change = np.concatenate([np.ones(len(enter)), -np.ones(len(end))])
        order = np.argsort(times, kind="stable")
        number = np.cumsum(change[order])[:-1]
        average = float((number * np.diff(times[order])).sum()) / total
        arrivals, stay = len(enter) / total, float((end - enter).mean()) if len(enter) else 0.0
        assert average == pytest.approx(arrivals * stay, rel=1e-9, abs=1e-12), client
        assert present[index] == pytest.approx(average, rel=1e-9, abs=1e-12), client
    completed = np.unique(seen.attribution.request)
    parts = np.bincount(seen.attribution.request, seen.attribution.seconds.sum(axis=1))
    np.testing.assert_allclose(parts[completed], seen.column("e2e")[completed], rtol=1e-9)
    for share in seen.busy.clients.values():
        assert share is None or 0 <= share <= 1 + 1e-9
