"""The configuration file: what is read, and every fault told at once, in words an admin can act on."""

from __future__ import annotations

import pytest

from mailseal.config import Config, load
from mailseal.config.acme import LETSENCRYPT, LETSENCRYPT_STAGING
from mailseal.errors import ConfigError, ExitCode
from mailseal.model import Identifier, KeyType

SMALLEST = """\
[acme]
contact = ["postmaster@example.org"]
agree_to_terms = true

[[certificate]]
name = "mail"
identifiers = ["mail.example.org", "webmail.example.org"]
"""


def with_identifiers(listed: str) -> str:
    return f'[[certificate]]\nname = "mail"\nidentifiers = [{listed}]\n'


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, "/etc/mailseal/mailseal.toml")
    return list(caught.value.faults)


def test_the_smallest_that_works() -> None:
    config = load(SMALLEST)
    assert config.acme.directory_url == LETSENCRYPT
    assert config.acme.contact == ("postmaster@example.org",)
    assert config.acme.agree_to_terms
    (spec,) = config.specs()
    assert spec.name == "mail"
    assert spec.identifiers == {
        Identifier("dns", "mail.example.org"),
        Identifier("dns", "webmail.example.org"),
    }
    assert spec.key_types == (KeyType.ECDSA_P256,)
    assert config.http01.method == "auto"
    assert config.state.directory == "/var/lib/mailseal"
    assert config.services.postfix.enabled


def test_every_table_is_read() -> None:
    config = load(
        SMALLEST
        + """
key_types = ["rsa-3072", "ecdsa-p384"]
profile = "shortlived"
[http01]
method = "webroot"
webroot = "/var/www/html"
webroots = { "webmail.example.org" = "/var/www/webmail" }
[services.apache]
config_dir = "/srv/apache"
http_port = 8080
https_port = 8443
[services.dovecot]
enabled = false
[state]
directory = "/srv/state"
[proof]
trust = "/srv/root.pem"
deadline = 30
timeout = 2.5
[dns]
nameservers = ["127.0.0.1:5353", "[::1]:53", "192.0.2.53", "2001:db8::53"]
"""
    )
    assert config.specs()[0].key_types == (KeyType.RSA_3072, KeyType.ECDSA_P384)
    assert config.specs()[0].profile == "shortlived"
    assert config.http01.webroots == {"webmail.example.org": "/var/www/webmail"}
    assert config.services.apache.https_port == 8443
    assert not config.services.dovecot.enabled
    assert (config.proof.deadline, config.proof.timeout) == (30.0, 2.5)
    assert len(config.dns.nameservers) == 4


def test_what_a_certificate_leaves_open_is_taken_from_acme() -> None:
    config = load(
        '[acme]\ndirectory = "letsencrypt-staging"\nprofile = "tlsserver"\n' + with_identifiers('"a.example"')
    )
    assert config.acme.directory_url == LETSENCRYPT_STAGING
    assert config.specs()[0].profile == "tlsserver"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("MAIL.Example.ORG.", "mail.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("mail.192-0-2-7.sslip.io", "mail.192-0-2-7.sslip.io"),
        ("192.0.2.7.nip.io", "192.0.2.7.nip.io"),
    ],
)
def test_identifiers_in_any_spelling(written: str, meant: str) -> None:
    (spec,) = load(with_identifiers(f'"{written}"')).specs()
    assert spec.identifiers == {Identifier("dns", meant)}


def test_an_address_is_an_identifier() -> None:
    (spec,) = load(with_identifiers('"192.0.2.7", "2001:DB8::0:7"')).specs()
    assert spec.identifiers == {Identifier("ip", "192.0.2.7"), Identifier("ip", "2001:db8::7")}


def test_a_hundred_names_and_not_one_more() -> None:
    def names(count: int) -> str:
        return ", ".join(f'"n{i}.example.org"' for i in range(count))

    assert len(load(with_identifiers(names(100))).specs()[0].identifiers) == 100
    (fault,) = faults(with_identifiers(names(101)))
    assert "1 to 100" in fault
    (fault,) = faults(with_identifiers(""))
    assert "1 to 100" in fault


SECOND = '[[acme.fallback]]\ndirectory = "https://b.example/d"\nagree_to_terms = true\n'


def test_other_cas_stand_below_the_first() -> None:
    second = SECOND + 'profile = "short"\nca_file = "/etc/b.pem"\n'
    acme = load('[acme]\ncontact = ["a@b.example"]\n' + second + with_identifiers('"x.example"')).acme
    assert acme.issuers == (LETSENCRYPT, "https://b.example/d")
    assert [one.contact for one in acme.authorities] == [("a@b.example",)] * 2
    other = acme.authority("https://b.example/d")
    assert other is not None and (other.profile, other.ca_file) == ("short", "/etc/b.pem")
    assert acme.authority("") is acme and acme.authority("https://c.example/d") is None


def test_staging_is_known_or_told() -> None:
    acme = load(with_identifiers('"x.example"')).acme
    assert acme.staging is not None and acme.staging.directory_url == LETSENCRYPT_STAGING
    other = load(SECOND + with_identifiers('"x.example"')).acme.fallback[0]
    assert other.staging is None
    told = SECOND + 'staging_directory = "https://s.example/d"\n' + with_identifiers('"x.example"')
    staging = load(told).acme.fallback[0].staging
    assert staging is not None and staging.directory_url == "https://s.example/d"


# Each line: a file with one fault, and what the message must say.
ONE_FAULT = [
    ("", ["[[certificate]]", "no certificate is asked for"]),
    ("[acme", ["not TOML", "at the end of the file"]),
    ("[acme]\na = 1\na = 2\n", ["line 3", "not TOML"]),
    ('[acme]\ncontact = "a@b.example"\n', ["line 2, [acme] contact", 'contact = ["a@b.example"]']),
    ('[acme]\ncontact = ["mailto:a@b.example"]\n', ["line 2", "needs no mailto:"]),
    ('[acme]\ncontact = [\n  "a@b.example",\n  "ab"\n]\n', ["line 4", '"ab" is not a mail address']),
    ('[acme]\ncontakt = ["a@b.example"]\n', ["line 2", "Did you mean contact?"]),
    ("[acme]\nagree-to-terms = true\n", ["line 2", "Did you mean agree_to_terms?"]),
    ('[acme]\nagree_to_terms = "yes"\n', ["true or false", "without quotes"]),
    ('[acme]\ndirectory = "http://ca.example/dir"\n', ["line 2", "not https"]),
    ('[acme]\ndirectory = "lets-encrypt"\n', ["letsencrypt, letsencrypt-staging"]),
    ('[acme]\ndirectory = "https://me:pw@ca.example/"\n', ["holds a login"]),
    ('[acme]\ndirectory = "https://[ca/"\n', ["is not a URL"]),
    ('[acme]\nca_file = "root.pem"\n', ["line 2", "absolute path"]),
    ('[acme]\nca_file = "/etc/../root.pem"\n', ["by .."]),
    ('[acme]\neab_key_id = "kid"\n', ["line 2", "without eab_hmac_file"]),
    ('[acme]\naccount_key_type = "rsa2048"\n', ['Did you mean "rsa-2048"?']),
    ('[acme]\nchallenge = "dns-01"\n', ['expected "http-01", found "dns-01"']),
    ('[acme]\nidentifiers = ["a.example"]\n', ["It belongs into [[certificate]]"]),
    ("[[acme.fallback]]\nagree_to_terms = true\n", ["line 1, [[acme.fallback]] directory", "is missing"]),
    (
        '[[acme.fallback]]\ndirectory = "https://b.example/d"\n',
        ["line 1", "agree_to_terms", "nobody is there"],
    ),
    (
        '[[acme.fallback]]\ndirectory = "letsencrypt"\nagree_to_terms = true\n',
        ["line 2, [[acme.fallback]] directory", "that of [acme] too"],
    ),
    (
        f'{SECOND}[[acme.fallback]]\ndirectory = "https://b.example/d"\nagree_to_terms = true\n',
        ["line 5", "too"],
    ),
    (f'{SECOND}contakt = "b@b.example"\n', ["line 4", "Did you mean contact?"]),
    (f'{SECOND}eab_key_id = "kid"\n', ["line 4", "other half"]),
    (f'[acme]\nstaging_directory = "https"\n{SECOND}', ["line 2", "neither an https URL"]),
    ("[acme.fallback]\nagree_to_terms = true\n", ["[[acme.fallback]] directory", "is missing"]),
    ('[acme]\nfallback = "letsencrypt"\n', ["[[acme.fallback]]", "expected a table"]),
    ('contact = ["a@b.example"]\n', ["line 1", "outside of any table", "[acme]"]),
    ("acme = 3\n", ["[acme]", "expected a table, found 3"]),
    ("[certificates]\n", ["Did you mean [[certificate]]?"]),
    ("[postfix]\n", ["Did you mean [services.postfix]?"]),
    ("[quux]\n", ["Known are", "[[certificate]]"]),
    ("services = 1\n", ["[services.postfix]"]),
    ("[services.postfx]\n", ["line 1", "Did you mean [services.postfix]?"]),
    ("[services.exim]\n", ["Known are: postfix, dovecot, apache"]),
    ('[services.postfix]\nweb_root = "/x"\n', ["It belongs into [services.apache]"]),
    ('[services.postfix]\nconfig_dir = "/etc/post fix"\n', ["' '", "something else"]),
    ("[http01]\nport = 0\n", ["a port from 1 to 65535, found 0"]),
    ('[http01]\nport = "80"\n', ["port = 80"]),
    ('[http01]\nlisten = "eth0"\n', ["is not an IP address"]),
    ('[http01]\nmethod = "web-root"\n', ['Did you mean "webroot"?']),
    ('[http01]\nmethod = "apache"\nport = 8080\n', ["line 3", "no effect"]),
    ('[http01]\nmethod = "listener"\nwebroot = "/var/www"\n', ["line 3", "no effect"]),
    ('[http01]\nwebroots = { "x.example" = "var" }\n', ["line 2", '"var" is not an absolute path']),
    (
        "[http01.webroots]\n'x.example' = \"/var\"\nlocalhost = '/var'\n",
        ["line 3", '"localhost" is no host name'],
    ),
    ("[proof]\ndeadline = -1\n", ["more than 0"]),
    ("[proof]\ndeadline = nan\n", ["more than 0"]),
    ('[proof]\ntrust = "pebble"\n', ['neither "system" nor an absolute path']),
    ('[dns]\nnameservers = ["192.0.2.53:99999"]\n', ["port from 1 to 65535"]),
    ('[state]\ndirectory = ""\n', ["absolute path"]),
]


@pytest.mark.parametrize(("text", "told"), ONE_FAULT, ids=[text for text, _ in ONE_FAULT])
def test_a_fault_says_where_and_what(text: str, told: list[str]) -> None:
    whole = text if text in ("", "[acme") else text + with_identifiers('"x.example"')
    (fault,) = faults(whole)
    for part in told:
        assert part in fault


# The same for [[certificate]].
CERTIFICATES = [
    ('identifiers = ["a.example"]', ["[[certificate]] name: is missing", 'name = "mail"']),
    ('name = "mail"', ['"mail" identifiers: is missing']),
    ('name = "../mail"\nidentifiers = ["a.example"]', ["line 2", "folder's name"]),
    ('name = "-x"\nidentifiers = ["a.example"]', ["folder's name"]),
    ('name = "a..b"\nidentifiers = ["a.example"]', ["folder's name"]),
    ('name = "m"\nidentifiers = "a.example"', ['identifiers = ["a.example"]']),
    ('name = "m"\nidentifiers = ["*.example.org"]', ["wildcard", "dns-01"]),
    ('name = "m"\nidentifiers = ["localhost"]', ["no dot"]),
    ('name = "m"\nidentifiers = ["a_b..example"]', ["is not a DNS label"]),
    ('name = "m"\nidentifiers = ["192.0.2.300"]', ["looks like an address"]),
    (
        'name = "m"\nidentifiers = [\n"a.example",\n"b.example",\n"A.example."]',
        ["line 6", "twice", 'as "a.example"'],
    ),
    ('name = "m"\nidentifiers = ["xn--bcher-kva.example", "bücher.example"]', ["twice"]),
    (
        'name = "m"\nidentifiers = ["a.example"]\nkey_types = ["ecdsa-p256", "ecdsa-p384"]',
        ["line 4", "family ECDSA"],
    ),
    ('name = "m"\nidentifiers = ["a.example"]\nkey_types = ["rsa-1024"]', ["rsa-2048"]),
    ('name = "m"\nidentifiers = ["a.example"]\nkey_types = []', ["one or two of"]),
    ('name = "m"\nidentifiers = ["a.example"]\nissuer = "acmee"', ['Did you mean "acme"?']),
    (
        'name = "m"\nidentifiers = ["a.example"]\n[[certificate]]\nname = "M"\nidentifiers = ["b.example"]',
        ["line 5", "has this name already (line 2)"],
    ),
    (
        (
            'name = "m"\nidentifiers = ["a.example"]\n'
            '[[certificate]]\nname = "n"\nidentifiers = ["b.example", "a.example"]'
        ),
        ["line 6", 'also in [[certificate]] "m"'],
    ),
]


@pytest.mark.parametrize(("text", "told"), CERTIFICATES, ids=[text for text, _ in CERTIFICATES])
def test_a_fault_of_a_certificate(text: str, told: list[str]) -> None:
    (fault,) = faults(f"[[certificate]]\n{text}\n")
    for part in told:
        assert part in fault


def test_a_single_table_in_place_of_an_array() -> None:
    (fault,) = faults('[certificate]\nname = "m"\nidentifiers = ["a.example"]\n')
    assert "[[certificate]], in double brackets" in fault


def test_webroot_needs_a_directory_for_every_name() -> None:
    text = SMALLEST + '[http01]\nmethod = "webroot"\nwebroots = { "mail.example.org" = "/var/www/mail" }\n'
    (fault,) = faults(text)
    assert "needs a directory for webmail.example.org" in fault
    assert load(text + 'webroot = "/var/www/html"\n')


def test_a_web_root_for_a_name_of_no_certificate() -> None:
    (fault,) = faults(SMALLEST + '[http01]\nwebroots = { "mial.example.org" = "/var/www/mail" }\n')
    assert '"mial.example.org" is an identifier of no certificate' in fault


@pytest.mark.parametrize("name", ["eab_hmac", "eab_hmac_key", "password", "api_token", "account_private_key"])
def test_a_secret_is_refused_and_never_shown(name: str) -> None:
    (fault,) = faults(f'[acme]\n{name} = "hunter2"\n' + with_identifiers('"a.example"'))
    assert "secrets are never in this file" in fault
    assert "eab_hmac_file" in fault
    assert "hunter2" not in fault


def test_key_material_under_a_known_key_is_not_shown() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\\nMC4CAQ\\n-----END PRIVATE KEY-----"
    (fault,) = faults(f'[acme]\nca_file = "{pem}"\n' + with_identifiers('"a.example"'))
    assert "MC4CAQ" not in fault
    assert "secrets are never in this file" in fault


def test_every_fault_at_once_in_the_order_of_the_file() -> None:
    told = faults(
        """\
[acme]
contact = "postmaster@example.org"
agree_to_term = true
directory = "http://ca.example"

[[certificate]]
name = "mail"
identifiers = ["mail.example.org", "*.example.org", "mail.example.org"]
key_types = ["rsa-1024"]

[[certificate]]
name = "mail"

[proof]
timeout = 0
[services.postfx]
"""
    )
    lines = [int(fault.split()[1].rstrip(",:")) for fault in told]
    assert lines == [2, 3, 4, 8, 8, 9, 11, 12, 15, 16]


def test_the_error_names_the_file_the_state_and_the_next_command() -> None:
    with pytest.raises(ConfigError) as caught:
        load("[quux]\n", "/srv/m.toml")
    assert caught.value.exit_code is ExitCode.USAGE
    first, *_, state, following = caught.value.lines()
    assert first == "The configuration /srv/m.toml has 2 faults:"
    assert "Nothing was changed." in state
    assert "/srv/m.toml" in following


def test_defaults_are_the_packages_own() -> None:
    assert Config().services.postfix.config_dir is None
    assert Config().proof.trust == "system"
