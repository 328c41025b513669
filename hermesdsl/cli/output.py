"""Where text goes: results to standard output, everything else to standard error.

Knows terminals, colour and width; knows no result and no specification.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hermesdsl.diagnostics import Diagnostic

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Without a terminal nothing is wrapped: each row and sentence is one line.
_UNLIMITED = 100_000


@dataclass(frozen=True)
class Output:
    """The two streams of a command. `quiet` keeps results and errors only."""

    quiet: bool = False

    @cached_property
    def console(self) -> Console:
        """Standard error, for what moves (progress)."""
        return _console(error=True)

    @cached_property
    def width(self) -> int:
        """Columns of standard output."""
        return self._results.width

    @cached_property
    def _results(self) -> Console:
        return _console(error=False)

    def show(self, *parts: RenderableType) -> None:
        """Results, to standard output."""
        console = self._results
        with console.capture() as captured:
            console.print(*parts, sep="\n")
        text = captured.get()
        if not console.is_terminal:
            text = "".join(line.rstrip() + "\n" for line in text.splitlines())
        sys.stdout.write(text)

    def write(self, text: str) -> None:
        """Text as it is (JSON, file names, a formatted file), to standard output, as UTF-8."""
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8")
        sys.stdout.write(text)

    def note(self, text: str, *, label: str = "note") -> None:
        """One sentence worth reading, to standard error."""
        if not self.quiet:
            from rich.text import Text

            self.console.print(Text.assemble((f"{label}: ", "bold cyan"), text))

    def report(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Diagnostics with their source lines, to standard error."""
        from hermesdsl.diagnostics.render import render_text, summary

        kept = [item for item in diagnostics if item.is_error or not self.quiet]
        text = render_text(kept, color=self.console.color_system is not None)
        if not any(item.is_error for item in kept):
            text = text.removesuffix(summary(kept) + "\n")  # counted where a run was stopped
        self.status(text)

    def gap(self) -> None:
        """A blank line between results and notes where a person sees both."""
        if not self.quiet and self.console.is_terminal and self._results.is_terminal:
            self.status("\n")

    def status(self, text: str) -> None:
        """Text as it is, to standard error."""
        sys.stderr.write(text)

    def fault(self, failure: BaseException) -> None:
        """What stopped a run that no specification is to blame for, in one line and a hint."""
        if isinstance(failure, OSError):
            self.status(f"error: the run failed: {failure.strerror or failure}\n")
            return
        reason = " ".join(str(failure).split())
        what = f"{type(failure).__name__}: {reason}" if reason else type(failure).__name__
        self.status(f"error: the run failed: {what}\n")
        self.status("help: this is a fault in hermes; HERMES_TRACEBACK=1 shows where\n")


def _console(*, error: bool) -> Console:
    """Prints texts literally: paths such as ``gpu[0]`` are no markup."""
    from rich.console import Console

    made = Console(stderr=error, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made = Console(
            stderr=error, highlight=False, markup=False, emoji=False, width=_UNLIMITED,
            no_color=True,
        )  # fmt: skip
    return made
