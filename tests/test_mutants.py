"""The bugs of `tools/mutants.py` still fit the code, and what is caught is told."""

from __future__ import annotations

import pytest

from tools.mutants import MUTANTS, Mutant, changed, hunted

QUICK = ("the commit is made before the write", "placeholders are written as values", "a lease never ends")
"""Caught by the model within a few dozen seeds."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_text_is_where_the_mutant_looks_for_it(mutant: Mutant) -> None:
    """Once, or the mutant is none; and it is Python afterwards."""
    compile(changed(mutant), mutant.file, "exec")


@pytest.mark.parametrize("name", QUICK)
def test_the_model_catches(name: str) -> None:
    """All of them: `make mutants`."""
    [mutant] = [mutant for mutant in MUTANTS if mutant.name == name]
    found = hunted(mutant, 150)
    assert found is not None
    assert found.startswith("seed ")
