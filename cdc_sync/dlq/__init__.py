"""Dead letters: written, counted against a limit, and read again."""

from cdc_sync.dlq.letter import DeadLetter, letter_headers, read_letter
from cdc_sync.dlq.limit import DeadLetterLimit
from cdc_sync.dlq.queue import KafkaDeadLetterQueue

__all__ = [
    "DeadLetter",
    "DeadLetterLimit",
    "KafkaDeadLetterQueue",
    "letter_headers",
    "read_letter",
]
