from __future__ import annotations

from itertools import islice
from typing import Any, Callable, Generic, Iterator, Optional, TypeVar

T = TypeVar("T")
Place = dict[str, Any]


class Pages(Generic[T]):
    """A list of the API that is read page by page as it is walked through.

    >>> for delivery in client.list_deliveries(status="dead_lettered"): ...  # doctest: +SKIP
    """

    def __init__(self, load: Callable[[Place], tuple[list[T], Optional[Place]]]) -> None:
        """`load` gets the place to go on at (empty for the first page), and answers items and the next place."""
        self._load = load

    def pages(self) -> Iterator[list[T]]:
        """Page by page."""
        place: Optional[Place] = {}
        while place is not None:
            items, place = self._load(place)
            yield items

    def __iter__(self) -> Iterator[T]:
        return (item for page in self.pages() for item in page)

    def take(self, count: int) -> list[T]:
        """The first `count` items."""
        return list(islice(self, count))
