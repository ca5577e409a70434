"""Tests of the package: one file a room, same name."""
