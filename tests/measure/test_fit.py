"""Grids fitted to synthetic ratios come back as they were made."""

import numpy as np
import pytest

from hermesdsl.cost.utilisation import utilisation
from hermesdsl.measure.fit import Penalty, fit, folds, grids, interpolation, predict, term

FREE = Penalty(bend=0.0, size=1e-9)


def shapes(rows: int = 400) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(7)
    return {axis: np.exp(draw.uniform(0.0, np.log(4096.0), rows)) for axis in ("m", "n", "k")}


def test_a_grid_comes_back() -> None:
    """Ratios made of one grid are fitted by that grid, value by value."""
    made = term(m=(1, 16, 256, 4096), n=(1, 64, 4096))
    truth = np.log(np.random.default_rng(3).uniform(0.3, 1.2, made.size))
    points = shapes()
    target = predict([made], [truth], points)
    (found,) = fit([made], points, target, np.ones(400), FREE)
    assert found == pytest.approx(truth, abs=1e-6)


def test_outliers_do_not_pull() -> None:
    """One row in twenty that took ten times as long moves a constant by less than 2 %."""
    flat = term(m=(1, 4096))
    points = shapes()
    target = np.full(400, np.log(0.7))
    target[::20] -= np.log(10.0)
    (found,) = fit([flat], points, target, np.ones(400), FREE)
    assert np.exp(found) == pytest.approx([0.7, 0.7], rel=0.02)


def test_between_knots_it_is_geometric_and_beyond_them_constant() -> None:
    """Half-way in log m between 0.25 and 1 lies 0.5."""
    one = term(m=(1, 100))
    values = np.log(np.array([0.25, 1.0]))
    at = {"m": np.array([0.01, 1.0, 10.0, 100.0, 1e6])}
    assert np.exp(predict([one], [values], at)) == pytest.approx([0.25, 0.25, 0.5, 1.0, 1.0])


def test_shares_of_corners_add_up_to_one() -> None:
    places, shares = interpolation(term(m=(1, 8, 64), n=(2, 4), k=(3,)), shapes())
    assert places.shape == shares.shape == (400, 4)
    assert shares.sum(axis=1) == pytest.approx(np.ones(400))


def test_a_stiff_fit_is_straighter() -> None:
    """With the second differences of alternating values penalised, they shrink."""
    zigzag = term(m=(1, 4, 16, 64, 256))
    points = shapes()
    target = predict([zigzag], [np.array([0.0, 1.0, 0.0, 1.0, 0.0])], points)
    loose, stiff = (
        fit([zigzag], points, target, np.ones(400), Penalty(bend, 1e-9))[0] for bend in (0.0, 1e6)
    )
    assert np.abs(np.diff(stiff, 2)).max() < 0.01 < np.abs(np.diff(loose, 2)).max()


def test_rows_of_one_shape_share_a_fold() -> None:
    keys = [(1, 2), (3, 4), (1, 2), (5, 6)]
    found = folds(keys, 5)
    assert found[0] == found[2]
    assert found.tolist() == folds(keys, 5).tolist()


def test_nothing_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="nothing to fit"):
        fit([term(m=(1, 2))], {"m": np.zeros(0)}, np.zeros(0), np.zeros(0), FREE)


def test_the_cost_model_reads_grids_as_the_fit_made_them() -> None:
    """Same factors from numpy at once and from the look-up one by one, fixed axes or not."""
    made = [term(m=(1, 16, 256), n=(1, 64, 4096), k=(8, 512)), term(waves=(0.5, 4), fill=(0.5, 1))]
    values = [
        np.log(np.random.default_rng(i).uniform(0.3, 1.2, t.size)) for i, t in enumerate(made)
    ]
    points = shapes(50)
    points["waves"], points["fill"] = points["m"] / 100, np.full(50, 0.8)
    wanted = np.exp(predict(made, values, points))
    read = utilisation(grids(made, values), "gemm", lambda *_: 1.0)
    rows = list(zip(*(points[a] for a in ("m", "n", "k", "waves", "fill")), strict=True))
    assert [read.at(*row)[0] for row in rows] == pytest.approx(wanted, rel=1e-12)
    fixed = [read.fixed(n=row[1], k=row[2]).at(*row)[0] for row in rows]
    assert fixed == pytest.approx(wanted, rel=1e-12)
