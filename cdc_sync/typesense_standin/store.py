"""Collections by name and aliases that point at them."""

from .collection import Collection
from .errors import missing_collection
from .schema import Schema


class Store:
    """What the server holds. A collection shadows an alias of its name; aliases do not chain."""

    def __init__(self) -> None:
        self.collections: dict[str, Collection] = {}
        self.by_number: dict[int, Collection] = {}
        self.aliases: dict[str, str] = {}
        self._next_number = 0

    def resolve(self, name: str) -> str:
        """The collection name that a name in a path stands for right now."""
        if name in self.collections:
            return name
        return self.aliases.get(name, name)

    def get(self, name: str) -> Collection | None:
        """The collection behind a name or an alias."""
        return self.collections.get(self.resolve(name))

    def find(self, name: str) -> Collection:
        """Like ``get``, but raises the 404."""
        collection = self.get(name)
        if collection is None:
            raise missing_collection()
        return collection

    def create(self, name: str, created_at: int, schema: Schema) -> Collection:
        """A new, empty collection; the name must be free."""
        collection = Collection(name, self._next_number, created_at, schema)
        self.add(collection)
        return collection

    def add(self, collection: Collection) -> None:
        self.collections[collection.name] = collection
        self.by_number[collection.number] = collection
        self._next_number = max(self._next_number, collection.number + 1)

    def discard(self, collection: Collection) -> None:
        """Drop a collection; aliases to it dangle."""
        del self.collections[collection.name]
        del self.by_number[collection.number]

    def set_alias(self, alias: str, target: str | None) -> None:
        """Point an alias at a name that need not exist; None removes it."""
        if target is None:
            del self.aliases[alias]
        else:
            self.aliases[alias] = target
