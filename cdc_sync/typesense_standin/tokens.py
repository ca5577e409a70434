"""Text to tokens: lower-cased, accents folded, punctuation removed rather than split at.

Source: typesense-v29.md 6.4 ("Tokens") and the recorded cases of ``filters`` and ``search``.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Any

_SPECIAL = str.maketrans(
    {"ß": "ss", "ẞ": "ss", "æ": "ae", "ø": "o", "œ": "oe", "đ": "d", "ł": "l", "ð": "d", "þ": "th"}
)
MAX_TOKEN_BYTES = 100


class Tokenizer:
    """Tokens of one collection, with its ``token_separators`` and ``symbols_to_index``."""

    def __init__(self, separators: tuple[str, ...] = (), symbols: tuple[str, ...] = ()) -> None:
        self._separators = re.compile("[\\s" + re.escape("".join(separators)) + "]+")
        kept = "".join(symbols)
        ascii_punctuation = "".join(char for code in range(33, 128) if not (char := chr(code)).isalnum())
        removed = "".join(char for char in ascii_punctuation if char not in kept)
        self._removed = re.compile(f"[\\x00-\\x1f{re.escape(removed)}]+")

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text in order; words of punctuation only give none."""
        found = []
        for word in self._separators.split(text):
            token = self.fold(word)
            if token:
                found.append(token)
        return found

    def fold(self, word: str) -> str:
        """One word as it is indexed."""
        token = word.lower() if word.isascii() else fold_accents(word)
        if not token.isalnum():
            token = self._removed.sub("", token)
        return token[:MAX_TOKEN_BYTES]

    def key(self, value: Any) -> str:
        """The tokens of a text as one string: equal for texts that ``:=`` holds equal."""
        return " ".join(self.tokens(value))

    def words(self, text: str) -> list[tuple[int, int, str]]:
        """Start, end and token of each word of a text: for highlighting."""
        found = []
        for match in re.finditer(r"\S+", text):
            start = match.start()
            for part in self._separators.split(match.group()):
                begin = text.index(part, start)
                start = begin + len(part)
                if token := self.fold(part):
                    found.append((begin, start, token))
        return found


@lru_cache(maxsize=65536)
def fold_accents(word: str) -> str:
    """Lower case, Latin letters without their marks; other scripts stay as they are."""
    lowered = word.lower().translate(_SPECIAL)
    folded = []
    for char in lowered:
        base = unicodedata.normalize("NFKD", char)
        plain = "".join(part for part in base if not unicodedata.combining(part))
        folded.append(plain if plain.isascii() else char)
    return "".join(folded)
