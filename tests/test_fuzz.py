"""Golden programs with mistakes compile, or say what is wrong; nothing else ever happens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import KINDS, Mutation, mutated

import hermesdsl
from hermesdsl.diagnostics import CODES, SpecError
from hermesdsl.diagnostics.render import render_github, render_json, render_text

PROGRAMS = Path(__file__).parent / "golden" / "programs"
NAMES = sorted(path.name for path in PROGRAMS.glob("*.hms"))

share = st.floats(0, 1, exclude_max=True)
mutations = st.lists(st.builds(Mutation, st.sampled_from(KINDS), share, share), max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("programs")
    for name in NAMES:
        shutil.copy(PROGRAMS / name, made / name)
    return made


# The same examples every time: a number swapped for a large one can make a system of a million
# parts, which takes a minute.
@settings(max_examples=250, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
@given(st.sampled_from(NAMES), mutations)
def test_a_program_with_mistakes(folder: Path, name: str, mistakes: list[Mutation]) -> None:
    original = (PROGRAMS / name).read_text(encoding="utf-8")
    (folder / name).write_text(mutated(original, mistakes), encoding="utf-8")
    try:
        found = hermesdsl.compile(folder / name).diagnostics
    except SpecError as failure:
        found = failure.diagnostics
        assert any(d.is_error for d in found)
    finally:
        (folder / name).write_text(original, encoding="utf-8")
    for diagnostic in found:
        assert diagnostic.code in CODES
        assert diagnostic.message
        for span in (diagnostic.span, *(label.span for label in diagnostic.labels)):
            if span is not None:
                assert 0 <= span.start <= span.end <= len(span.source.text)
    assert "Traceback" not in render_text(found) + render_github(found)
    assert len(render_json(found)) == len(found)
    errors = [(d.span.source.name, d.span.start) for d in found if d.is_error and d.span]
    assert len(set(errors)) == len(errors)
