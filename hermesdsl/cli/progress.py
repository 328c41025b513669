"""A bar for runs that take longer than a second, on a terminal only."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hermesdsl.cli import figures

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds of silence.
_PATIENCE = 1.0


class _Shown:
    """What counts `things`; leaves no trace when it is closed."""

    things: str

    def __init__(self, console: Console, *, shown: bool) -> None:
        self._console = console
        self._shown = shown and console.is_terminal
        self._started = time.monotonic()
        self._progress: Any = None
        self._task: Any = None

    def show(self, ended: int, offered: int, text: str) -> None:
        """Show so many of all, and a text."""
        if not self._shown or time.monotonic() - self._started < _PATIENCE:
            return
        if self._progress is None:
            self._open(offered)
        self._progress.update(self._task, completed=ended, total=offered, description=text)

    def _open(self, offered: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn(self.things), Remaining(), TextColumn("left"),
            console=self._console, transient=True,
        )  # fmt: skip
        self._progress.start()
        self._task = self._progress.add_task("", total=offered)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()


class Bar(_Shown):
    """Of a run: called with (simulated s, requests ended, offered)."""

    things = "requests,"

    def __call__(self, simulated_s: float, ended: int, offered: int) -> None:
        """Show how far the run is."""
        self.show(ended, offered, f"{figures.duration(simulated_s)} simulated")


class Count(_Shown):
    """Of a sweep: called with (runs done, runs in all)."""

    things = "runs,"

    def __call__(self, done: int, total: int) -> None:
        """Show how far the sweep is."""
        self.show(done, total, "")


class Shapes(_Shown):
    """Of a profile: called with (shapes done, in all, the one at hand)."""

    things = "shapes,"

    def __call__(self, done: int, total: int, text: str) -> None:
        """Show how far the profile is."""
        self.show(done, total, text)
