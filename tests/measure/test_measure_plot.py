"""Pictures of predicted against measured: well-formed, escaped, and empty where nothing is."""

from xml.etree import ElementTree

import numpy as np

from hermesdsl.measure.plot import Dots, scatter


def test_a_picture_is_well_formed_and_escaped() -> None:
    dots = Dots("a<b>", np.array([1.0, 10.0]), np.array([1.2, 9.0]))
    other = Dots("c&d", np.array([2.0]), np.array([2.0]))
    root = ElementTree.fromstring(scatter("5 < 6 & so on", [dots, other], "ms"))
    texts = [element.text for element in root.iter() if element.text and element.text.strip()]
    assert "5 < 6 & so on" in texts
    assert {"a<b>", "c&d"} <= set(texts)


def test_points_lie_where_they_should() -> None:
    """On the line of equality x − left equals bottom − y."""
    text = scatter("one", [Dots("one", np.array([3.0]), np.array([3.0]))], "s")
    path = next(line for line in text.splitlines() if "stroke-linecap" in line)
    x, y = (float(v) for v in path.split('d="M')[1].split("h0")[0].split(" "))
    assert abs((x - 64.0) - (440.0 - y)) < 0.2


def test_what_cannot_be_drawn_is_left_out() -> None:
    dots = Dots("one", np.array([0.0, np.nan, 1.0]), np.array([1.0, 1.0, -1.0]))
    assert "nothing to draw" in scatter("empty", [dots], "s")


def test_many_points_are_thinned() -> None:
    values = np.linspace(1.0, 2.0, 100_000)
    assert len(scatter("many", [Dots("many", values, values)], "s")) < 200_000
