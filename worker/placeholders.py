"""Liquid variables in the mails of a form: `{{ name }}` is what the visitor answered.

Variables and a few filters only: no loops, conditions or includes, since text from an event must not keep the
worker busy. Each statement goes to the Liquid library by itself and is short, because the library's lexer takes
quadratic time over an unclosed one.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from liquid import BoundTemplate, Environment
from liquid.exceptions import LiquidError

from contracts.dead_letter import Reason
from worker.errors import PermanentError

FILTERS: Final = ("capitalize", "default", "downcase", "strip", "truncate", "upcase")
MAX_STATEMENT_CHARACTERS: Final = 200
MAX_OUTPUT_CHARACTERS: Final = 1024 * 1024
HINT: Final = "Correct the form's email rule in the CMS: it may use {{ field }} and no other Liquid."

_STATEMENT: Final = re.compile(r"\{\{-?([^{}]*?)-?\}\}")
_LEFTOVER: Final = re.compile(r"\{\{|\{%")


def refusal(where: str, what: str) -> PermanentError:
    """What is wrong with the Liquid in the event's field `where`."""
    return PermanentError(Reason.TEMPLATE, f"{where}: {what}", settings=(), hint=HINT)


class Placeholders:
    """The answers of one form response, by field id; `where` names the rule in errors.

    All that is filled in for one mail may have `MAX_OUTPUT_CHARACTERS` together.
    """

    def __init__(self, values: Mapping[str, str], where: str) -> None:
        self._values = values
        self._where = where
        self._room = MAX_OUTPUT_CHARACTERS

    def fill(self, source: str) -> str:
        """`source` with its variables filled in, as plain text; an unknown variable is empty.

        Raises PermanentError (template) for broken or unsupported Liquid.
        """
        texts = _STATEMENT.split(source)
        if any(_LEFTOVER.search(text) for text in texts[::2]):
            raise refusal(self._where, "Liquid tags, or {{ without }}")
        for place in range(1, len(texts), 2):
            texts[place] = self._value(texts[place].strip())
        return "".join(texts)

    def _value(self, statement: str) -> str:
        if len(statement) > MAX_STATEMENT_CHARACTERS:
            raise refusal(self._where, f"a Liquid variable of over {MAX_STATEMENT_CHARACTERS} characters")
        value = self._evaluated(statement)
        self._room -= len(value)
        if self._room < 0:
            raise refusal(self._where, f"Liquid variables fill in over {MAX_OUTPUT_CHARACTERS} characters")
        return value

    def _evaluated(self, statement: str) -> str:
        try:
            return _parsed(statement).render(self._values)
        except LiquidError as error:
            raise refusal(self._where, type(error).__name__) from None


@lru_cache(maxsize=1024)
def _parsed(statement: str) -> BoundTemplate:
    return _LIQUID.from_string("{{ " + statement + " }}")


def _variables_only() -> Environment:
    environment = Environment()
    environment.tags = {name: environment.tags[name] for name in ("content", "output", "illegal")}
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    return environment


_LIQUID: Final = _variables_only()
