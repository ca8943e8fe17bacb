"""What should hold on a machine that nobody described: inferred from its own configuration.

An endpoint should serve the certificate that lies in the file its service is
configured with: the one for its port where there is one, else the service's
own; and under a name that has a certificate of its own, that one. What a
process serves and what lies in the file differ where it was not reloaded.

Mail endpoints should carry the name that Postfix goes by, or the host does.
That name is a guess where no configured certificate is for it, and for a
service whose own certificate is for other names: there a mismatch is a
warning, since mail may be fetched under another name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailseal.certificates import covers
from mailseal.chains import shape
from mailseal.errors import KeyMaterialError
from mailseal.judge.expect import Expectation, ExpectedLeaf, askable
from mailseal.judge.files import Pair
from mailseal.model import AppProtocol, Endpoint, KeyFamily, TlsMode
from mailseal.services.base import Facts

NAMES_ASKED = 20  # names with certificates of their own that are asked at one endpoint


@dataclass(frozen=True, slots=True)
class Seen:
    """One service as found: its facts, and the files that its settings name (those in force)."""

    facts: Facts
    pairs: tuple[Pair, ...]


def mail_name(seen: Sequence[Seen], candidates: Iterable[str]) -> tuple[str, bool]:
    """The name that mail endpoints should carry, and whether a configured certificate confirms it.

    `candidates` are names that the machine goes by besides those that its mail
    services tell, the likeliest first. Empty where there is none at all.
    """
    told = [name for one in seen if one.facts.kind != "apache" for name in one.facts.names]
    names = [name for name in dict.fromkeys([*told, *candidates]) if "." in name]
    for name in names:
        if any(_is_for(pair, name) for one in seen for pair in one.pairs):
            return name, True
    return (names[0], False) if names else ("", False)


def infer(seen: Sequence[Seen], name: str, *, certain: bool) -> tuple[Expectation, ...]:
    """What every endpoint should do."""
    wanted: list[Expectation] = []
    for one in seen:
        for endpoint in dict.fromkeys(one.facts.endpoints):
            if endpoint.tls is not TlsMode.NONE:
                wanted += _endpoint(endpoint, one.pairs, name, certain)
    return tuple(wanted)


def unasked(seen: Sequence[Seen]) -> int:
    """How many names have certificates of their own and are not asked, since there are too many."""
    return sum(max(0, len(_groups(one.pairs)) - NAMES_ASKED) for one in seen)


def names_asked(pairs: Iterable[Pair]) -> frozenset[tuple[str, ...]]:
    """The groups of names whose files are worth reading."""
    return frozenset([*_groups(pairs)][:NAMES_ASKED])


def _endpoint(endpoint: Endpoint, pairs: Sequence[Pair], name: str, certain: bool) -> list[Expectation]:
    here = [pair for pair in pairs if endpoint.port in pair.configured.ports]
    general = [pair for pair in pairs if not pair.configured.ports]
    default = _unnamed(here) or _unnamed(general)
    web = endpoint.protocol is AppProtocol.HTTP
    if web and not default and here:
        first = here[0].configured.names  # the first site of a port answers for all that have none
        default = [pair for pair in here if pair.configured.names == first]
    wanted = []
    named: set[str] = set()
    for group, files in [*_groups([*here, *general]).items()][:NAMES_ASKED]:
        asked = tuple(askable(one) for one in group if _can_be_asked(one))
        if asked:
            named.update(asked)
            wanted.append(Expectation(endpoint, asked, leaves=_leaves(files), unnamed=False))
    own_name = name if name and not web and name not in named else ""
    names = (own_name,) if own_name else ()
    default_name = name if endpoint.protocol is AppProtocol.SMTP else ""
    wanted.append(
        Expectation(
            endpoint,
            names,
            default_name,
            leaves=_leaves(default),
            guessed=not certain or any(_is_for_others(pair, name) for pair in default),
            unnamed=True,
        )
    )
    return wanted


def _unnamed(pairs: Iterable[Pair]) -> list[Pair]:
    return [pair for pair in pairs if not pair.configured.names]


def _groups(pairs: Iterable[Pair]) -> dict[tuple[str, ...], list[Pair]]:
    groups: dict[tuple[str, ...], list[Pair]] = {}
    for pair in pairs:
        if pair.configured.names:
            groups.setdefault(pair.configured.names, []).append(pair)
    return groups


def _leaves(pairs: Iterable[Pair]) -> tuple[ExpectedLeaf, ...]:
    """One a key family, the first that is configured; nothing where a file cannot be read."""
    found: dict[KeyFamily, ExpectedLeaf] = {}
    for pair in pairs:
        try:
            if chain := pair.chain:
                leaf = ExpectedLeaf(chain)
                found.setdefault(leaf.family, leaf)
        except KeyMaterialError:
            continue
    return tuple(found.values())


def _is_for(pair: Pair, name: str) -> bool:
    try:
        chain = pair.chain
        return bool(chain) and covers(chain[0], name) and not shape(chain).self_signed
    except KeyMaterialError:
        return False


def _is_for_others(pair: Pair, name: str) -> bool:
    try:
        chain = pair.chain
        return bool(chain) and not covers(chain[0], name) and not shape(chain).self_signed
    except KeyMaterialError:
        return False


def _can_be_asked(name: str) -> bool:
    return "." in name.strip("*.") and "?" not in name and ":" not in name
