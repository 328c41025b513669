"""Cost models: (work, resources) to seconds and a table of operators. Never clock or queues."""

from hermesdsl.cost.bind import bind, diagnose, engine_cost
from hermesdsl.cost.capacity import Capacity, capacity
from hermesdsl.cost.llm import DataSheetCost
from hermesdsl.cost.operator import Operator
from hermesdsl.cost.services import bind_services, diagnose_services, work_of
from hermesdsl.cost.types import DecodeRun, EngineCost, Piece, ServiceCost, StepWork

__all__ = [
    "Capacity", "DataSheetCost", "DecodeRun", "EngineCost", "Operator", "Piece", "ServiceCost",
    "StepWork", "bind", "bind_services", "capacity", "diagnose", "diagnose_services",
    "engine_cost", "work_of",
]  # fmt: skip
