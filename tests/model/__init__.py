"""A simulator of the whole core in one process, and what must be true of it whatever the seed."""
