"""Results laid over a picture."""

from __future__ import annotations

from math import inf, nan

import pytest
from drawn_systems import rack, system

from hermesdsl.drawing import Mark, draw, style
from hermesdsl.drawing.overlay import Overlay


def test_shares_are_taken_as_they_are():
    overlay = Overlay({"a": Mark(0.5, "50 %"), "b": Mark(0.6, "60 %")})
    assert overlay.at(["a"]) == (("50 %",), style.heat(0.5))


def test_other_values_span_the_scale():
    overlay = Overlay({"a": Mark(10, "10 W"), "b": Mark(30, "30 W"), "c": Mark(20, "20 W")})
    assert overlay.at(["a"])[1] == style.heat(0)
    assert overlay.at(["b"])[1] == style.heat(1)
    assert overlay.at(["c"])[1] == style.heat(0.5)


def test_folded_marks_show_their_range_and_the_colour_of_their_mean():
    overlay = Overlay({"a": Mark(0.2, "20 %"), "b": Mark(0.6, "60 %")})
    assert overlay.at(["a", "b"]) == (("20 % … 60 %",), style.heat(0.4))
    assert overlay.at(["c"]) == ((), None)


def test_a_given_colour_wins():
    assert Overlay({"a": Mark(0.2, "hot", "#ff0000")}).at(["a"]) == (("hot",), "#ff0000")


def test_a_wire_shows_the_busier_of_its_ways():
    marks = {"a -> b": Mark(0.2, "20 %"), "b -> a": Mark(0.6, "60 %"), "c -> d": Mark(0.4, "40 %")}
    overlay = Overlay(marks)
    assert overlay.along([("a", "b")]) == (("60 %",), 0.6)
    assert overlay.along([("b", "a"), ("c", "d")]) == (("40 % … 60 %",), 0.5)
    assert overlay.along([("a", "c")]) == ((), None)


def test_marked_wires_are_coloured_and_labelled():
    marks = {f"rack.node[{n}].gpu[{g}] -> rack.node[{n}].nvswitch": Mark(0.75, "75 % busy")
             for n in range(4) for g in range(8)}  # fmt: skip
    made = draw(system(rack()), "hardware", overlay=marks)
    assert made.dot.count("75 % busy") >= 1
    assert style.wire_heat(0.75) in made.dot
    assert style.wire_heat(0.75) not in draw(system(rack()), "hardware").dot


@pytest.mark.parametrize("value", [inf, -inf, nan])
def test_values_without_a_place_on_the_scale_get_no_colour(value):
    overlay = Overlay({"a": Mark(value, "?"), "b": Mark(5, "5")})
    assert overlay.at(["a"]) == (("?",), None)


def test_an_overlay_does_not_change_the_folding():
    marks = {f"rack.node[{n}].gpu[{g}]": Mark(g / 8, f"{g}/8") for n in range(4) for g in range(8)}
    plain = draw(system(rack()), "hardware")
    marked = draw(system(rack()), "hardware", overlay=marks)
    assert list(plain.graph) == list(marked.graph)
    assert marked.graph.nodes["rack.node[0:4].gpu[0:8]"]["label"].endswith("\n0/8 … 7/8")
    assert style.heat(3.5 / 8) in marked.dot


def test_text_is_legible_on_every_fill():
    """Contrast by the formula of WCAG 2.1, 1.4.6; level AAA asks for 7 : 1."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    pairs = [(fill, style.INK) for fill in (style.heat(0), style.heat(1))]
    pairs += [(fill, style.INK) for fill, _ in style.HUES]
    pairs += [(look.fill, look.ink) for kind, look in style.LOOKS.items() if kind != "port"]
    for fill, ink in pairs:
        dark, light = sorted((luminance(fill), luminance(ink)))
        assert (light + 0.05) / (dark + 0.05) > 7, fill
