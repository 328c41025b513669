"""Messages for likely mistakes, one rule for each.

A rule looks at a `Failure` and returns a diagnostic if the mistake is its own, else None. The
first one that does wins, so special rules stand before general ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hermesdsl.diagnostics import Diagnostic
from hermesdsl.syntax.failure import Failure
from hermesdsl.syntax.mistakes import signs, statements
from hermesdsl.syntax.mistakes.numbers import malformed_number

_RULES: Final[tuple[Callable[[Failure], Diagnostic | None], ...]] = (
    malformed_number,
    signs.surplus_closer,
    signs.wrong_closer,
    signs.semicolon_in_brackets,
    signs.comment_sign,
    statements.misplaced_else,
    statements.reserved_word,
    statements.arm_in_statements,
    signs.colon_equals,
    signs.wrong_arrow,
    statements.statement_in_branch,
    signs.in_place,
    signs.equals_twice,
    statements.two_statements,
    statements.imports,
    statements.functions,
    signs.not_in,
    statements.value_after_colon,
    signs.colon_in_call,
    statements.colon_before_block,
    statements.equals_before_block,
    statements.missing_block,
    statements.sign_of_values,
    signs.message_without_comma,
    signs.comma_after_statement,
    signs.indices,
    statements.wires,
    signs.forks,
)


def hint(failure: Failure) -> Diagnostic | None:
    """The message of the first rule that knows the mistake."""
    for rule in _RULES:
        found = rule(failure)
        if found is not None:
            return found
    return None
