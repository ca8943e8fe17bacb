"""What is written reads back as the same configuration, and is as short as it can be."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mailseal.config import (
    Acme,
    Certificate,
    Config,
    Dns,
    Fallback,
    Http01,
    PostfixService,
    Proof,
    Service,
    Services,
    State,
    WebService,
    load,
    render,
)
from mailseal.config.acme import AccountKeyType
from mailseal.model import KeyType

_words = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
_names = st.builds("{}.example".format, _words.map(lambda word: f"a{word}"))
_paths = st.builds("/{}/{}".format, _words, _words)
_texts = st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable() and text.strip())
_ports = st.integers(1, 65535)
_seconds = st.floats(0.01, 3600, allow_nan=False)
_addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def _tuple(strategy: st.SearchStrategy[Any], **sizes: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, unique=True, **sizes).map(tuple)  # type: ignore[arg-type]


_fallback = st.builds(
    Fallback,
    directory=_words.map("https://{}.second.example/dir".format),
    contact=_tuple(_names.map("postmaster@{}".format), max_size=2),
    agree_to_terms=st.just(True),
    ca_file=_maybe(_paths),
    profile=_maybe(_words),
)
_acme = st.builds(
    Acme,
    fallback=_tuple(_fallback, max_size=2).filter(lambda many: len({f.directory for f in many}) == len(many)),
    staging_directory=_maybe(st.just("https://staging.example/dir")),
    directory=st.sampled_from(["letsencrypt", "letsencrypt-staging", "https://ca.example:14000/dir"]),
    contact=_tuple(_names.map("postmaster@{}".format), max_size=3),
    agree_to_terms=st.booleans(),
    ca_file=_maybe(_paths),
    account_key_type=st.sampled_from(get_args(AccountKeyType)),
    profile=_maybe(_words),
    preferred_chain=_maybe(_texts),
)
_mail = st.builds(Service, enabled=st.booleans(), config_dir=_maybe(_paths), systemd_unit=_maybe(_words))
_postfix = st.builds(
    PostfixService, enabled=st.booleans(), config_dir=_maybe(_paths), submission=st.booleans()
)
_web = st.builds(WebService, web_root=_maybe(_paths), http_port=_ports, https_port=_ports)
_key_types = st.sampled_from(
    [(KeyType.ECDSA_P256,), (KeyType.RSA_2048, KeyType.ECDSA_P384), (KeyType.ECDSA_P256, KeyType.RSA_4096)]
)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    names = draw(_tuple(_names, min_size=2, max_size=40))
    cut = draw(st.integers(1, len(names) - 1))
    certificates = tuple(
        Certificate(name=f"c{i}", identifiers=part, key_types=draw(_key_types), profile=draw(_maybe(_words)))
        for i, part in enumerate((names[:cut], names[cut:]))
    )
    http01 = draw(
        st.just(Http01())
        | st.builds(Http01, method=st.just("listener"), listen=_maybe(_addresses), port=_ports)
        | st.builds(Http01, method=st.just("webroot"), webroot=_paths, webroots=st.just({names[0]: "/x"}))
    )
    return Config(
        acme=draw(_acme),
        certificate=certificates,
        http01=http01,
        services=draw(st.builds(Services, postfix=_postfix, dovecot=_mail, apache=_web)),
        state=draw(st.builds(State, directory=_paths)),
        proof=draw(st.builds(Proof, deadline=_seconds, timeout=_seconds)),
        dns=draw(st.builds(Dns, nameservers=_tuple(_addresses, max_size=2))),
    )


@given(configs())
def test_what_is_written_reads_back(config: Config) -> None:
    assert load(render(config)) == config


def test_only_what_differs_is_written() -> None:
    config = Config(
        acme=Acme(contact=("postmaster@example.org",), agree_to_terms=True),
        certificate=(Certificate(name="mail", identifiers=("mail.example.org",)),),
    )
    body = [line for line in render(config).splitlines() if line and not line.startswith("#")]
    assert body == [
        "[acme]",
        'contact = ["postmaster@example.org"]',
        "agree_to_terms = true",
        "[[certificate]]",
        'name = "mail"',
        'identifiers = ["mail.example.org"]',
    ]


def test_many_names_stand_in_a_line_each() -> None:
    names = tuple(f"name{i}.example.org" for i in range(9))
    text = render(Config(certificate=(Certificate(name="m", identifiers=names),)))
    assert '    "name3.example.org",\n' in text


def test_structs_are_frozen() -> None:
    for struct in (Acme, Certificate, Config, Http01, Services, Service, WebService, State, Proof, Dns):
        assert issubclass(struct, msgspec.Struct)
        assert struct.__struct_config__.frozen
