"""Engine profiles as cost models use them: those of the library by name, and the user's own.

The library's are read once from the standard library, as any definition of the language is. Knows
no engine, step or device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from types import MappingProxyType

from hermesdsl.cost.constants import DEVICE, NONE, Kernels, Overheads, Profile, Reserve
from hermesdsl.graph.types import Client, EngineProfile

_HOST = (
    "step", "workers", "sequence", "token", "overlap", "gap", "request", "graph_limit", "eager",
    "eager_prompt", "answer",
)  # fmt: skip
_KERNELS = tuple(field.name for field in fields(Kernels))
_RESERVE = tuple(field.name for field in fields(Reserve))


def made(found: EngineProfile) -> Profile:
    """A profile of the language, beside what kernels cost on every device."""
    host = {name: getattr(found, name) for name in _HOST}
    reserve = Reserve(**{name: getattr(found, name) for name in _RESERVE})
    kernels = Kernels(**{name: getattr(found, name) for name in _KERNELS})
    overheads = replace(DEVICE, **host)
    return Profile(
        found.name, overheads, reserve, found.step_tokens, found.reserved, kernels
    )  # fmt: skip


@cache
def library() -> Mapping[str, Profile]:
    """Every profile that a word names, by name; ``none`` has no fixed costs at all."""
    from hermesdsl.graph.lowering.profile import library_profiles

    profiles = {name: made(found) for name, found in library_profiles().items()}
    return MappingProxyType({**profiles, NONE.name: NONE})


def profile_of(client: Client) -> Profile | None:
    """The profile of an engine: its own, or the library's of that name (default ``vllm``).

    None if there is none of that name.
    """
    if client.profile is not None:
        return made(client.profile)
    name = client.options.get("profile")
    return library().get(name if isinstance(name, str) else "vllm")


def without_host(profile: Profile) -> Profile:
    """The same engine for work that its host starts together with other work."""
    quiet = dict.fromkeys((name for name in _HOST if name != "graph_limit"), 0.0)
    return replace(profile, overheads=replace(profile.overheads, **quiet))


__all__ = ["Overheads", "library", "made", "profile_of", "without_host"]
