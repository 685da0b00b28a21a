"""The names in a template's code: what it sets, and what it asks for in vain."""

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Final

from jinja2 import meta, nodes

from worker.template_files import Fault

PHRASES: Final = "text"
"""The value that holds the phrases: `text["greeting"]`."""

LIKENESS: Final = 0.75
"""From what ratio on a name may have been meant."""


def assigned(tree: nodes.Template) -> Iterator[str]:
    """The names it sets, for the templates that it extends or includes, and those that do so with it."""
    for statement in tree.find_all((nodes.Assign, nodes.AssignBlock)):
        yield from (node.name for node in statement.find_all(nodes.Name) if node.ctx == "store")


def unknown_values(file: str, tree: nodes.Template, known: Collection[str]) -> Iterator[Fault]:
    """A fault for each name that is not `known`, at its first line."""
    for name in sorted(meta.find_undeclared_variables(tree).difference(known)):
        line = next(node.lineno for node in tree.find_all(nodes.Name) if node.name == name)
        yield Fault(file, f"there is no value named {name}{_but(name, known)}", line)


def unknown_phrases(file: str, tree: nodes.Template, known: Collection[str]) -> Iterator[Fault]:
    """A fault for each `text["key"]` whose key is not `known`."""
    for asked in tree.find_all(nodes.Getitem):
        key = asked.arg.value if isinstance(asked.arg, nodes.Const) else None
        of_phrases = isinstance(asked.node, nodes.Name) and asked.node.name == PHRASES
        if of_phrases and isinstance(key, str) and key not in known:
            yield Fault(file, f"there is no phrase named {key}{_but(key, known)}", asked.lineno)


def _but(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, known, 1, cutoff=LIKENESS)
    return f", but there is {close[0]}" if close else ""
