"""Diagnostics as data: what went wrong, where, and what to do about it.

Built everywhere, rendered last (`render`). Nothing in here prints, exits or decides
whether a diagnostic is fatal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from hermesdsl.diagnostics.codes import CODES
from hermesdsl.diagnostics.nearest import nearest
from hermesdsl.source import Span

__all__ = [
    "CODES", "Diagnostic", "Fix", "Label", "Severity", "Sink", "SpecError",
    "error", "nearest", "warning",
]  # fmt: skip


class Severity(Enum):
    """How bad it is; only an error stops the next stage."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Label:
    """A short text under a range of source; the first label of a diagnostic is its main one.

    One that is not `marked` has its text right below the range, without an underline: a value
    below the operand that has it.
    """

    span: Span
    text: str
    marked: bool = True


@dataclass(frozen=True)
class Fix:
    """A replacement a person (or an editor) may apply."""

    span: Span
    replacement: str


@dataclass(frozen=True)
class Diagnostic:
    """One finding. `code` is a key of `CODES`; `span` is where, None for the whole run.

    `labels` mark further ranges (operands, earlier definitions); `notes` are whole sentences
    printed below, such as ``help: did you mean `60 GB`?``.
    """

    code: str
    severity: Severity
    message: str
    span: Span | None = None
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    fix: Fix | None = None

    @property
    def is_error(self) -> bool:
        """True if the next stage must not run."""
        return self.severity is Severity.ERROR


class SpecError(Exception):
    """A specification (or trace, or argument) that cannot be used; carries every diagnostic."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)
        super().__init__("\n".join(f"{d.code}: {d.message}" for d in self.diagnostics))


@dataclass
class Sink:
    """A list of diagnostics passed through a stage; callers ask `failed`."""

    items: list[Diagnostic] = field(default_factory=list)

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic unless an equal one is there already."""
        if diagnostic not in self.items:
            self.items.append(diagnostic)

    @property
    def failed(self) -> bool:
        """True once an error was added."""
        return any(item.is_error for item in self.items)

    def raise_if_failed(self) -> None:
        """Raise `SpecError` with everything collected so far if any of it is an error."""
        if self.failed:
            raise SpecError(self.items)


def error(
    code: str,
    message: str,
    span: Span | None = None,
    *,
    label: str | None = None,
    labels: Iterable[Label] = (),
    notes: Iterable[str] = (),
    fix: Fix | None = None,
) -> Diagnostic:
    """An error at `span`; `label` is the text under the span itself."""
    own = (Label(span, label),) if span is not None and label is not None else ()
    return Diagnostic(code, Severity.ERROR, message, span, own + tuple(labels), tuple(notes), fix)


def warning(
    code: str,
    message: str,
    span: Span | None = None,
    *,
    notes: Iterable[str] = (),
) -> Diagnostic:
    """A warning at `span`."""
    return Diagnostic(code, Severity.WARNING, message, span, (), tuple(notes))
