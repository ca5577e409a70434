"""Token index of one string field: exact tokens, prefixes and tokens a few edits away."""

from bisect import bisect_left
from typing import Any

from .schema import Field
from .tokens import Tokenizer


class TextIndex:
    """Documents by token. The sorted vocabulary is rebuilt when a search finds it out of date."""

    def __init__(self, field: Field, tokenizer: Tokenizer) -> None:
        self.field = field
        self._tokenizer = tokenizer
        self.postings: dict[str, set[int]] = {}
        self._tokens: dict[int, tuple[str, ...]] = {}
        self._vocabulary: list[str] | None = None
        self._reversed: list[str] = []

    def follow(self, seq: int, value: Any) -> None:
        for token in self._tokens.pop(seq, ()):
            holders = self.postings[token]
            holders.discard(seq)
            if not holders:
                del self.postings[token]
                self._vocabulary = None
        texts = value if isinstance(value, list) else [value]
        tokens = {token for text in texts if isinstance(text, str) for token in self._tokenizer.tokens(text)}
        for token in tokens:
            holders = self.postings.setdefault(token, set())
            if not holders:
                self._vocabulary = None
            holders.add(seq)
        if tokens:
            self._tokens[seq] = tuple(tokens)

    def token_count(self, seq: int) -> int:
        """Distinct tokens of a document in this field."""
        return len(self._tokens.get(seq, ()))

    def _sorted_vocabulary(self) -> list[str]:
        if self._vocabulary is None:
            self._vocabulary = sorted(self.postings)
            self._reversed = []
        return self._vocabulary

    def _reversed_vocabulary(self) -> list[str]:
        words = self._sorted_vocabulary()
        if len(self._reversed) != len(words):
            self._reversed = sorted(word[::-1] for word in words)
        return self._reversed

    def with_prefix(self, prefix: str) -> list[str]:
        """Indexed tokens that begin with the prefix, itself left out."""
        return [word for word in _between(self._sorted_vocabulary(), prefix) if word != prefix]

    def near(self, token: str, edits: int, as_prefix: bool) -> list[str]:
        """Indexed tokens (or, for the last word of a query, their beginnings) some edits away.

        Compares only words that share the beginning or the end of the token: with one edit
        either half of it is untouched. With two edits a part in the middle is not looked for.
        """
        part = max(1, len(token) // (edits + 1))
        words = set(_between(self._sorted_vocabulary(), token[:part]))
        ending = token[-part:][::-1]
        words.update(word[::-1] for word in _between(self._reversed_vocabulary(), ending))
        found = []
        for word in words:
            if abs(len(word) - len(token)) <= edits:
                near = 0 < distance(token, word, edits) <= edits
            else:
                beginning = word[: len(token)]
                near = as_prefix and word > beginning and distance(token, beginning, edits) <= edits
            if near:
                found.append(word)
        return found


def _between(words: list[str], prefix: str) -> list[str]:
    """The words of a sorted list that begin with the prefix."""
    return words[bisect_left(words, prefix) : bisect_left(words, prefix + "\U0010ffff")]


def distance(left: str, right: str, limit: int) -> int:
    """Edit distance with swaps of neighbours counted once; ``limit + 1`` stands for more."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        older, before, row = before, row, [i]
        for j, b in enumerate(right, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return row[-1]
