"""Messages that were made before, so that a change costs what it touches.

A message is used again for an equal input, and the very same object is handed out: the snapshot then needs to
pack and hash it only once, however many proxies share it. Comparing is cheap where the resolver keeps
unchanged objects, since equality of tuples and dataclasses begins with identity of their parts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)
T = TypeVar("T")

VARIANTS = 64
"""Kept of one name at most: proxies in different places see a cluster differently."""

AGE = 16
"""Sweeps after which a message goes that nobody has asked for. More than one: a sweep follows each change,
and most changes concern few proxies."""


@dataclass(slots=True)
class _Known:
    made_of: tuple[object, ...]
    message: Message
    used: int
    """The sweep before which it was last asked for."""


class Reuse:
    """Not for several threads at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Hashable], list[_Known]] = {}
        self._of: dict[tuple[str, int], tuple[object, object]] = {}
        self._of_before: dict[tuple[str, int], tuple[object, object]] = {}
        self._sweeps = 0
        self.made = 0
        """How many messages had to be made; what tests and benchmarks look at."""

    def get(self, type_url: str, name: Hashable, made_of: tuple[object, ...], make: Callable[[], M]) -> M:
        """The message made of equal things under that name, else a new one.

        All that was made under a name is compared, so a name by which many differ has to say more.
        """
        variants = self._known.setdefault((type_url, name), [])
        for known in variants:
            if known.made_of == made_of:
                known.used = self._sweeps
                return known.message  # type: ignore[return-value]  # the same maker made it
        message = make()
        self.made += 1
        variants.append(_Known(made_of, message, self._sweeps))
        if len(variants) > VARIANTS:
            del variants[0]
        return message

    def of(self, type_url: str, source: object, make: Callable[[], T]) -> T:
        """What was made of that very object, else what `make` gives. Neither must ever change.

        Cheaper than `get`, since nothing is compared: proxies share most of what the resolver makes.
        """
        key = type_url, id(source)
        found = self._of.get(key)
        if found is None:
            # The pair holds the object, so that its number is not given to another while it is kept here.
            found = self._of[key] = self._of_before.get(key) or (source, make())
        return found[1]  # type: ignore[return-value]  # the same maker made it

    def sweep(self) -> None:
        """To be called when all proxies that a change concerns were translated: forgets what is long
        unused."""
        self._of_before, self._of = self._of, {}
        self._sweeps += 1
        if self._sweeps % AGE:
            return
        for place, variants in list(self._known.items()):
            variants[:] = [known for known in variants if self._sweeps - known.used <= AGE]
            if not variants:
                del self._known[place]
