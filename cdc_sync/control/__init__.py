"""What the owner of a partition is asked for besides its stream: read it again, apply a dead letter."""

from cdc_sync.control.desk import Desk
from cdc_sync.control.errands import Errand, Replay, Replayed, Rewind

__all__ = ["Desk", "Errand", "Replay", "Replayed", "Rewind"]
