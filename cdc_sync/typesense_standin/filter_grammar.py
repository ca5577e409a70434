"""The grammar of ``filter_by``: text to a postfix list of clauses and operators.

Follows the real tokenizer and its shunting-yard step (typesense-v29.md 6.4): ``&&`` and ``||`` have
equal precedence, left to right; the error texts are those recorded in topic ``filters``.
"""

import re

from .errors import Refusal

MAX_OPERATIONS = 100
_SYNTAX = "Could not parse the filter query."
_PARENTHESES = "Could not parse the filter query: unbalanced parentheses."
_SINGLE_OPERATOR = "Could not parse the filter filter_query."
_TOO_MANY = (
    "`filter_by` has too many operations. Maximum allowed: 100. Use `--filter-by-max-ops` command "
    "line argument to customize this value."
)
_INTERESTING = re.compile(r"[`()&|]")
_PLAIN_LIST = re.compile(r"\s*(?:`[^`\\]+`|[^`,]*)\s*(?:,\s*(?:`[^`\\]+`|[^`,]*)\s*)*")
_PLAIN_MEMBER = re.compile(r"`([^`]+)`|([^`,]+)")
OPERATORS = ("&&", "||")


def to_postfix(text: str) -> list[str]:
    """Clauses and operators in postfix order; raises the 400 of a malformed filter."""
    output: list[str] = []
    stack: list[str] = []
    for part in _parts(text):
        if part in OPERATORS:
            while stack and stack[-1] != "(":
                output.append(stack.pop())
            stack.append(part)
        elif part == "(":
            stack.append(part)
        elif part == ")":
            while stack and stack[-1] != "(":
                output.append(stack.pop())
            if not stack:
                raise Refusal(400, _PARENTHESES)
            stack.pop()
        else:
            output.append(part)
    while stack:
        operator = stack.pop()
        if operator == "(":
            raise Refusal(400, _PARENTHESES)
        output.append(operator)
    if len(output) > MAX_OPERATIONS:
        raise Refusal(400, _TOO_MANY)
    if not output:
        raise Refusal(400, "Filter query cannot be empty.")
    return output


def _parts(text: str) -> list[str]:
    parts: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        if char == " ":
            position += 1
        elif char in "()":
            parts.append(char)
            position += 1
        elif char in "&|":
            if text[position : position + 2] != char * 2:
                raise Refusal(400, _SINGLE_OPERATOR)
            parts.append(char * 2)
            position += 2
        else:
            end = _clause_end(text, position)
            parts.append(text[position:end].strip())
            position = end
    return parts


def _clause_end(text: str, start: int) -> int:
    """Where a clause ends: backticks and a value that opens with a parenthesis protect."""
    position = start
    while True:
        found = _INTERESTING.search(text, position)
        if found is None:
            return len(text)
        position = found.start()
        char = text[position]
        if char == "`":
            closing = text.find("`", position + 1)
            if closing < 0:
                return len(text)
            position = closing + 1
        elif char == "(" and text[start:position].rstrip().endswith(":"):
            closing = text.find(")", position)
            position = len(text) if closing < 0 else closing + 1
        elif char in "&|" and text[position : position + 2] != char * 2:
            position += 1
        else:
            return max(position, start + 1)


def split_clause(clause: str) -> tuple[str, str]:
    """Field name and raw value of a clause."""
    name, colon, value = clause.partition(":")
    if not colon:
        raise Refusal(400, _SYNTAX)
    return name.strip(), value.strip()


def split_values(text: str) -> list[str]:
    """Members of a list: cut at commas, backticks protect, outer spaces go (even inside)."""
    if "`" not in text:
        return [value for part in text.split(",") if (value := part.strip()) or part]
    if _PLAIN_LIST.fullmatch(text):
        found = (quoted or plain for quoted, plain in _PLAIN_MEMBER.findall(text))
        return [value for part in found if (value := part.strip())]
    return _split_odd_values(text)


def _split_odd_values(text: str) -> list[str]:
    values: list[str] = []
    buffer = ""
    inside = False
    for position, char in enumerate(text):
        if char == "`" and not (position and text[position - 1] == "\\"):
            inside = not (inside and buffer)
        elif char == "," and not inside:
            if buffer:
                values.append(buffer.strip())
            buffer = ""
        else:
            buffer += char
    if buffer:
        values.append(buffer.strip())
    return values
