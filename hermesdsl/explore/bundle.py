"""Everything that a worker without our files needs: this package, and what a specification reads.

Contents and names relative to their folders travel, never paths of this machine. Knows files;
runs nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hermesdsl import resources
from hermesdsl.explore.job import Job
from hermesdsl.explore.reads import data_files

if TYPE_CHECKING:
    from hermesdsl.api import System

__all__ = ["Bundle", "bundled", "stage", "unpacked"]

#: Where the folder of the specification goes, and those of ``--path`` by their number.
_SPEC, _FOLDER = "spec", "path"


@dataclass(frozen=True)
class Bundle:
    """A job, and the files it reads by where they go: ``spec/parts/disk.hms`` → contents."""

    job: Job
    files: Mapping[str, bytes]


def bundled(system: System, job: Job) -> Bundle:
    """The files that `system` was compiled from and that its runs will read, with its job.

    Files of the standard library are left out: they come with the package.
    """
    spec = Path.cwd() if job.is_text else Path(job.spec).resolve().parent
    homes = [(spec, _SPEC)]
    homes += [(Path(each).resolve(), f"{_FOLDER}{n}") for n, each in enumerate(job.folders)]
    files: dict[str, bytes] = {}
    for path in _read(system, job):
        for home, name in homes:
            if path.is_relative_to(home):
                files[f"{name}/{path.relative_to(home).as_posix()}"] = path.read_bytes()
    moved = replace(
        job,
        spec=job.spec if job.is_text else Path(job.spec).name,
        folders=tuple(f"../{_FOLDER}{n}" for n in range(len(job.folders))),
    )
    return Bundle(moved, files)


def _read(system: System, job: Job) -> Iterator[Path]:
    if not job.is_text:
        yield Path(job.spec).resolve()
    for module in system.tree.modules:
        path = Path(module.folder) / Path(module.file.span.source.name).name
        if not module.library and path.is_file():
            yield path.resolve()
    yield from (path.resolve() for path in sorted(data_files(system)))


def unpacked(bundle: Bundle, folder: Path) -> Path:
    """Write the files of a bundle below a folder; the folder that its job is to be run in."""
    for name in (_SPEC, *(f"{_FOLDER}{n}" for n in range(len(bundle.job.folders)))):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, data in bundle.files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder / _SPEC


def stage(folder: Path) -> Path:
    """A copy of this package below a folder, grammar and library inside it as in a wheel."""
    package = folder / "hermesdsl"
    bare = shutil.ignore_patterns("__pycache__", "_grammar", "_stdlib")
    shutil.copytree(Path(__file__).parents[1], package, ignore=bare)
    shutil.copytree(resources.folder("grammar"), package / "_grammar")
    shutil.copytree(resources.folder("stdlib"), package / "_stdlib")
    return package
