"""The data folders are found beside a checkout and inside an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermesdsl import resources


@pytest.mark.parametrize("name", ["grammar", "stdlib"])
def test_checkout(name) -> None:
    assert resources.folder(name) == Path(resources.__file__).resolve().parents[1] / name


def test_wheel_comes_first(tmp_path, monkeypatch) -> None:
    package = tmp_path / "hermesdsl"
    (package / "_grammar").mkdir(parents=True)
    (tmp_path / "grammar").mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resources.folder("grammar") == package / "_grammar"


def test_neither(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "hermesdsl")
    with pytest.raises(RuntimeError, match="its folder `stdlib` is missing"):
        resources.folder("stdlib")
