"""Which documents match a query and how well.

Kept simple on purpose: all words must match somewhere in the searched fields; more exact words
beat prefixes, prefixes beat typos, earlier fields beat later ones. Typos are only looked for, and
words only dropped, when nothing else was found, as in the real server's default thresholds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from .collection import Collection
from .schema import Field
from .textindex import TextIndex

EXACT, PREFIX, ONE_TYPO, TWO_TYPOS = 4, 3, 2, 1
MIN_LENGTH_ONE_TYPO = 4
MIN_LENGTH_TWO_TYPOS = 7


@dataclass(frozen=True, slots=True)
class Matches:
    """Score of every matching document, and the indexed words that were matched."""

    scores: dict[int, int]
    words: frozenset[str]
    token_count: int


@dataclass(frozen=True, slots=True)
class TextQuery:
    """The words of ``q`` and the options that decide how they match."""

    tokens: list[str]
    excluded: list[str]
    prefix: bool
    typos: int

    @classmethod
    def read(cls, collection: Collection, params: Mapping[str, str]) -> "TextQuery":
        """The query of a search; words with a leading ``-`` exclude."""
        wanted: list[str] = []
        excluded: list[str] = []
        for word in params["q"].split():
            tokens = collection.tokenizer.tokens(word)
            (excluded if word.startswith("-") and len(word) > 1 else wanted).extend(tokens)
        prefix = "true" in params.get("prefix", "true").lower()
        typos = max(int(part) for part in params.get("num_typos", "2").split(","))
        return cls(wanted, excluded, prefix, min(typos, 2))


def match(collection: Collection, fields: list[Field], query: TextQuery) -> Matches:
    """Documents that match the query in any of the fields."""
    indexes = [collection.text_index(field) for field in fields]
    tokens = query.tokens
    while tokens:
        for typos in range(query.typos + 1):
            found = _match_all(indexes, tokens, query.prefix, typos)
            if found.scores:
                return _without(found, indexes, query.excluded)
        tokens = tokens[:-1]
    return Matches({}, frozenset(), 0)


def _without(found: Matches, indexes: list[TextIndex], excluded: list[str]) -> Matches:
    gone = {seq for token in excluded for index in indexes for seq in index.postings.get(token, ())}
    if not gone:
        return found
    scores = {seq: score for seq, score in found.scores.items() if seq not in gone}
    return Matches(scores, found.words, found.token_count)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Documents that hold one indexed word in one field, and what finding it is worth."""

    word: str
    documents: set[int]
    index: TextIndex
    score: int


def _match_all(indexes: list[TextIndex], tokens: list[str], prefix: bool, typos: int) -> Matches:
    """Documents in which every word of the query was found; the rarest word goes first."""
    by_token = [
        [
            _Candidate(word, index.postings[word], index, quality * 1000 + max(0, 15 - rank) * 10)
            for rank, index in enumerate(indexes)
            for word, quality in _candidates(index, token, prefix and token is tokens[-1], typos)
        ]
        for token in tokens
    ]
    by_token.sort(key=lambda found: sum(len(candidate.documents) for candidate in found))
    total: dict[int, int] | None = None
    for candidates in by_token:
        scores = _best_scores(candidates, total, len(tokens))
        total = scores if total is None else {seq: total[seq] + scores[seq] for seq in scores}
        if not total:
            break
    words = frozenset(candidate.word for candidates in by_token for candidate in candidates)
    return Matches(total or {}, words, len(tokens))


def _best_scores(
    candidates: list[_Candidate], among: dict[int, int] | None, token_count: int
) -> dict[int, int]:
    scores: dict[int, int] = {}
    for candidate in candidates:
        documents = candidate.documents if among is None else candidate.documents & among.keys()
        for seq in documents:
            score = candidate.score
            if candidate.index.token_count(seq) == token_count:
                score += 5  # the query is all of the field
            if score > scores.get(seq, 0):
                scores[seq] = score
    return scores


def _candidates(index: TextIndex, token: str, as_prefix: bool, typos: int) -> list[tuple[str, int]]:
    """Indexed words that a word of the query stands for, with the quality of the match."""
    found = [(token, EXACT)] if token in index.postings else []
    if as_prefix:
        found += [(word, PREFIX) for word in index.with_prefix(token)]
    if typos >= 1 and len(token) >= MIN_LENGTH_ONE_TYPO:
        edits = 2 if typos == 2 and len(token) >= MIN_LENGTH_TWO_TYPOS else 1
        known = {word for word, _ in found}
        quality = ONE_TYPO if edits == 1 else TWO_TYPOS
        found += [(word, quality) for word in index.near(token, edits, as_prefix) if word not in known]
    return found
