"""Arguments that several verbs share, and their checks.

Knows how a command line is written; what a path or value means is the compiler's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from hermesdsl.diagnostics import SpecError, error

_Function = TypeVar("_Function", bound=Callable[..., Any])


def settings(function: _Function) -> _Function:
    """``--set PATH=VALUE`` and ``--path DIR``: what a specification is compiled with."""
    for option in (
        click.option(
            "--path", "folders", multiple=True, metavar="DIR",
            help="A further folder that imports may be read from.",
        ),
        click.option(
            "--set", "assignments", multiple=True, metavar="PATH=VALUE",
            help="Set a param or property, such as `rack.nodes=2`. May be repeated.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def case(function: _Function) -> _Function:
    """``--case NAME``: the named variant that a specification is compiled as."""
    return click.option("--case", metavar="NAME", help="Apply a `case` of the file.")(function)


def quiet(function: _Function) -> _Function:
    """``--quiet``."""
    return click.option("--quiet", "-q", is_flag=True, help="Print results and errors only.")(
        function
    )


def assigned(assignments: Iterable[str]) -> dict[str, str]:
    """The values of ``--set`` by path, later ones winning; raises `SpecError` HMS607."""
    found: dict[str, str] = {}
    problems = []
    for text in assignments:
        path, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not path or not value or "\n" in text:
            note = "help: such as `--set rack.nodes=2` or `--set 'chat.rate=4 req/s'`"
            message = f"`--set {text}` is not a path, `=` and a value"
            problems.append(error("HMS607", " ".join(message.split()), notes=[note]))
        found.pop(path, None)
        found[path] = value
    if problems:
        raise SpecError(problems)
    return found


def existing(folders: Iterable[str]) -> tuple[str, ...]:
    """The folders of ``--path``; raises `SpecError` HMS607 for one that is none."""
    problems = [
        error("HMS607", f"`--path {folder}` is not a folder")
        for folder in folders
        if not Path(folder).is_dir()
    ]
    if problems:
        raise SpecError(problems)
    return tuple(folders)
