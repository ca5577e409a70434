"""A stand-in for a single-node Typesense v29.0 on loopback: for tests, benchmarks and the demo.

It answers like the real server for what a sync engine uses; it is not a search engine to rely on.
"""

from .faults import ArmedFault, Fault, Faults
from .standin import StandIn, serve

__all__ = ["ArmedFault", "Fault", "Faults", "StandIn", "serve"]
