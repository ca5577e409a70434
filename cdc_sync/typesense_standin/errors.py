"""Refusals of the stand-in and the spellings in which a real server sends them.

A ``Refusal`` is raised where a rule is broken and turned into a response by the route, because
the same text leaves the real server in three dialects (typesense-v29.md, 0.3).
"""

import msgspec

JSON = "application/json; charset=utf-8"
PLAIN_JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

NOT_FOUND = '{ "message": "Not Found"}'
LAGGING = '{ "message": "Not Ready or Lagging"}'
RATE_LIMITED = '{ "message": "Rate limit exceeded or blocked"}'
FORBIDDEN = '{"message": "Forbidden - a valid `x-typesense-api-key` header must be sent."}'

COLLECTION_NOT_FOUND = "Collection not found"
BAD_JSON = "Bad JSON."
BAD_REQUEST = "Bad request."
NOT_AN_OBJECT = "Bad JSON: not a properly formed document."
BAD_ACTION = "Parameter `action` must be a create|update|upsert."
FILTER_REQUIRED = "Parameter `filter_by` must be provided."
BATCH_SIZE = "Parameter `batch_size` must be a positive integer."
BATCH_FAILED = "Unhandled Typesense error in index batch, check logs for details."


class Refusal(Exception):
    """A request, a document or a filter that a real server would refuse."""

    def __init__(self, status: int, text: str, *, compact: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.compact = compact

    def body(self) -> bytes:
        """The JSON body: compact and escaped, or spaced and (as in the real server) unescaped."""
        if self.compact:
            return msgspec.json.encode({"message": self.text})
        return f'{{"message": "{self.text}"}}'.encode()

    def as_compact(self) -> "Refusal":
        """The same refusal in the compact dialect."""
        return Refusal(self.status, self.text, compact=True)


def missing_document(document_id: str) -> Refusal:
    """The 404 of GET, PATCH, DELETE and of the import actions that need a document."""
    return Refusal(404, f"Could not find a document with id: {document_id}")


def missing_collection() -> Refusal:
    """The 404 of every path below a collection that is not there."""
    return Refusal(404, COLLECTION_NOT_FOUND)
