"""Operators on language values: numbers, quantities, formulas, lists, text."""

from __future__ import annotations

import math
from typing import Any, Final

from hermesdsl.model.values import ComputedValue, Formula, Interval, SourcedText, text
from hermesdsl.schema.types import AnyType
from hermesdsl.units import dimension as d
from hermesdsl.units import quantity as q
from hermesdsl.units.dimension import Dimension
from hermesdsl.units.quantity import Quantity, UnitError

#: What a lookup gives for a name that is nowhere.
MISSING: Final = object()
#: A number of whatever dimension.
ANY_NUMBER = AnyType()
#: Largest exponent of ``**``.
EXPONENT_BUDGET = 64

_OPERATIONS = {
    "+": q.add, "-": lambda a, b: q.add(a, b, -1), "*": q.multiply, "/": q.divide,
    "//": q.floor_divide, "%": q.modulo, "**": q.power,
}  # fmt: skip


class ExponentError(ValueError):
    """An exponent beyond the budget."""


def is_number(value: Any) -> bool:
    """True for numbers and quantities, not for true and false."""
    return isinstance(value, int | float | Quantity) and not isinstance(value, bool)


def _varies(value: Any) -> bool:
    """True for what differs from request to request: a formula, or something drawn."""
    return isinstance(value, Formula) or (
        isinstance(value, ComputedValue) and value.family == "distribution"
    )


def apply(op: str, left: Any, right: Any) -> Any:
    """`left op right`; raises UnitError, TypeError, ZeroDivisionError, OverflowError."""
    if _varies(left) or _varies(right):
        return _formula(op, left, right)
    if op == "+" and isinstance(left, list) and isinstance(right, list):
        return left + right
    if not is_number(left) or not is_number(right):
        wrong = right if is_number(left) else left
        raise TypeError(f"`{op}` takes numbers and quantities, not {kind_of(wrong)}")
    if op == "**" and abs(q.si(right)) > EXPONENT_BUDGET:
        raise ExponentError(f"an exponent of {q.number_text(q.si(right))}; the most is "
                            f"{EXPONENT_BUDGET}")  # fmt: skip
    return _OPERATIONS[op](left, right)


def unary(op: str, value: Any) -> Any:
    """``-value``, ``+value`` or ``not value``."""
    if op == "not":
        if not isinstance(value, bool):
            raise TypeError(f"`not` takes true or false, not {kind_of(value)}")
        return not value
    if _varies(value):
        return value if op == "+" else _formula("*", -1, value)
    if not is_number(value):
        raise TypeError(f"`{op}` takes a number, not {kind_of(value)}")
    return q.negate(value) if op == "-" else value


def compare(op: str, left: Any, right: Any) -> bool:
    """`left op right`; raises UnitError or TypeError."""
    if op == "in":
        if not isinstance(right, list | tuple):
            raise TypeError(f"`in` takes a list, not {kind_of(right)}")
        return any(equal(left, item) for item in right)
    if op in ("==", "!="):
        if is_number(left) and is_number(right):
            _check_comparable(left, right)
        elif type_name(left) != type_name(right):
            raise TypeError(f"cannot compare {kind_of(left)} with {kind_of(right)}")
        return equal(left, right) is (op == "==")
    if not is_number(left) or not is_number(right):
        wrong = right if is_number(left) else left
        raise TypeError(f"`{op}` compares numbers and quantities, not {kind_of(wrong)}")
    _check_comparable(left, right)
    a, b = q.si(left), q.si(right)
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]


def equal(left: Any, right: Any) -> bool:
    """Equality of values; quantities up to rounding of their units."""
    if is_number(left) and is_number(right):
        if not d.comparable(q.dimension_of(left), q.dimension_of(right)):
            return False
        return math.isclose(q.si(left), q.si(right), rel_tol=1e-12, abs_tol=0.0)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(
            equal(a, b) for a, b in zip(left, right, strict=True)
        )
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _check_comparable(left: Any, right: Any) -> None:
    a, b = q.dimension_of(left), q.dimension_of(right)
    if not d.comparable(a, b):
        raise UnitError(f"cannot compare {q.article(a)} with {q.article(b)}")


def common_dimension(left: Any, right: Any) -> Dimension:
    """That of two values of which a formula takes one or a sum; raises UnitError, TypeError."""
    a, b = _dimension(left), _dimension(right)
    if not d.comparable(a, b):
        raise UnitError(f"cannot combine {q.article(a)} and {q.article(b)}")
    return a if any(a) else b


def _dimension(value: Any) -> Dimension:
    if isinstance(value, Formula):
        return value.dimension
    if _varies(value):
        # Shapes are numbers; what is left has the dimension of what is drawn.
        sizes = (q.dimension_of(arg) for arg in value.args.values() if is_number(arg))
        return next((size for size in sizes if any(size)), d.NUMBER)
    if not is_number(value):
        raise TypeError(f"a formula takes numbers and quantities, not {kind_of(value)}")
    return q.dimension_of(value)


def _formula(op: str, left: Any, right: Any) -> Formula:
    a, b = _dimension(left), _dimension(right)
    if op in ("+", "-", "%"):
        made = common_dimension(left, right)
    elif op == "*":
        made = d.multiply(a, b)
    elif op in ("/", "//"):
        made = d.divide(a, b)
    else:
        made = d.power(a, int(q.si(right)) if is_number(right) else 1)
    return Formula(op, (left, right), made)


def type_name(value: Any) -> str:
    """A coarse type for comparisons."""
    if isinstance(value, bool):
        return "bool"
    if is_number(value):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list | tuple):
        return "list"
    return type(value).__name__


def kind_of(value: Any) -> str:
    """How a sentence names a value: ``text "abc"``, ``a list``, ``the chip H100``."""
    if isinstance(value, bool):
        return text(value)
    if is_number(value):
        return q.article(q.dimension_of(value)) + f" ({text(value)})"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, ComputedValue):
        return f"the {value.family} setting `{value.name}`"
    if isinstance(value, Formula):
        return "a formula over the request"
    if isinstance(value, Interval):
        return f"`{value}`"
    kind = getattr(getattr(value, "kind", None), "name", None)
    if kind == "client" and not hasattr(value, "parent"):
        return f"the type `{value}`"
    if kind is not None:
        return f"the {kind} `{value}`"
    if value is None:
        return "nothing"
    return f"the {type(value).__name__.lower()} `{value}`"


def with_article(noun: str) -> str:
    """``a chip``, ``an index``, ``an LlmEngine`` (read out letter by letter)."""
    return f"an {noun}" if noun[:1] in "aeioAEIO" or noun.startswith("Ll") else f"a {noun}"


def _text(value: str) -> str:
    """A text in quotes, a word of the language in backquotes; a long one shortened."""
    if not value:
        return "an empty text"
    short = value if len(value) <= 40 else f"{value[:39]}…"
    return f'the text "{short}"' if isinstance(value, SourcedText) else f"`{short}`"


def described(value: Any) -> str:
    """For a label under an operand: dimension, and the value if it was computed."""
    if not is_number(value):
        return kind_of(value)
    dimension = q.dimension_of(value)
    if isinstance(value, Quantity) and value.unit is None:
        return f"{d.describe(dimension)} ({value})"
    return d.describe(dimension)
