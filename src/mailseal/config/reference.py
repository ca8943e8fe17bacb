"""The configuration's documentation, from the schema: the reference page and the annotated sample. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import msgspec

from mailseal.config.acme import Fallback
from mailseal.config.notify import SEVERAL, SINGLE, NotifyKeys
from mailseal.config.reader import SERVICES, TABLES, FieldDoc, field_docs
from mailseal.config.schema import Certificate
from mailseal.config.writer import toml

SMALLEST = """\
[acme]
contact = ["postmaster@example.org"]
agree_to_terms = true

[[certificate]]
name = "mail"
identifiers = ["mail.example.org", "webmail.example.org"]
"""

# Set in the sample; every other key stands there as a comment.
_SET = {"contact", "agree_to_terms", "name", "identifiers"}


def tables() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Every table as it is headed in a file, with its struct, in the order of the documentation."""
    yield "[acme]", TABLES["acme"]
    yield "[[acme.fallback]]", Fallback
    yield "[[certificate]]", Certificate
    yield "[http01]", TABLES["http01"]
    for kind, struct in SERVICES.items():
        yield f"[services.{kind}]", struct
    for name in ("state", "proof", "dns", "hooks", "metrics", "timer"):
        yield f"[{name}]", TABLES[name]
    yield "[notify]", NotifyKeys
    for name, table in (*SINGLE.items(), *SEVERAL.items()):
        yield f"[notify.{name}]" if name in SINGLE else f"[[notify.{name}]]", table


def page() -> str:
    """docs/reference/configuration.md."""
    parts = [
        "# Configuration",
        "One TOML file, `/etc/mailseal/mailseal.toml`, that nobody but root may write to. The smallest that works:",
        f"```toml\n{SMALLEST}```",
        (
            "`mailseal setup` writes such a file. Every fault in it is told at once, with its line. Secrets are never "
            "in it: what is secret stands in a file of its own, which a key ending in `_file` names. All paths are "
            "absolute. [examples/mailseal.toml](../../examples/mailseal.toml) shows every key in its place."
        ),
    ]
    for head, struct in tables():
        parts.append(f"## {head}\n\n{_table_text(struct)}")
        parts += [_entry(doc) for doc in field_docs(struct)]
    return "\n\n".join(parts) + "\n"


def sample() -> str:
    """examples/mailseal.toml: every key with its explanation; what is not needed is commented out."""
    parts = [
        (
            "# An annotated configuration of mailseal: every key there is.\n"
            "# What begins with '#' and a key is optional and shows its default, or an example where there is none."
        )
    ]
    for head, struct in tables():
        optional = head.startswith(("[[notify.", "[[acme."))
        lines = [*_comment(_table_text(struct)), f"#{head}" if optional else head]
        for doc in field_docs(struct):
            lines += ["", *_comment(_sentence(doc)), _sample_line(doc, optional)]
        parts.append("\n".join(lines))
    return "\n\n\n".join(parts) + "\n"


def _entry(doc: FieldDoc) -> str:
    facts = [f"Expected: {doc.expects}."]
    if doc.required:
        facts.append("Required.")
    elif doc.default not in (None, (), {}):
        facts.append(f"Default: `{toml(doc.default)}`.")
    if doc.example is not None:
        facts.append(f"Example: `{doc.name} = {toml(doc.example)}`.")
    return f"### `{doc.name}`\n\n{doc.description}\n\n{' '.join(facts)}"


def _sentence(doc: FieldDoc) -> str:
    is_choice = doc.expects.startswith(("one of", '"')) and not doc.shape
    return f"{doc.description} Expected: {doc.expects}." if is_choice else doc.description


def _sample_line(doc: FieldDoc, optional: bool) -> str:
    by_example = doc.required or doc.name in _SET or doc.default in (None, (), {})
    shown = doc.example if by_example else doc.default
    line = f"{doc.name} = {toml(shown)}"
    return line if doc.name in _SET and not optional else "\n".join(f"#{part}" for part in line.split("\n"))


def _table_text(struct: type[msgspec.Struct]) -> str:
    return " ".join((struct.__doc__ or "").split())


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, 98, break_long_words=False, break_on_hyphens=False)]
