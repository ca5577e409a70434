"""A batch to Typesense and its per-document answers back.

`plan.py` and `enrich.py` decide what to ask, as pure generators of requests; `typesense.py` asks it over
`connection.py`; `answers.py` says what an answer means; `collections.py` makes the collections.
"""

from cdc_sync.sink.null import NullSink
from cdc_sync.sink.typesense import TypesenseSink

__all__ = ["NullSink", "TypesenseSink"]
