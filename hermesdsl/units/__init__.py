"""Units: dimensions, the table of unit names, and quantities."""

from hermesdsl.units.dimension import Dimension
from hermesdsl.units.quantity import Quantity, UnitError, si
from hermesdsl.units.table import Unit, find

__all__ = ["Dimension", "Quantity", "Unit", "UnitError", "find", "si"]
