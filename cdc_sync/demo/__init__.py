"""The self-contained tour: the daemon between two stand-ins, fed with what Debezium really wrote.

Beside the daemon's own rooms, never imported by them.
"""
