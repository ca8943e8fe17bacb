"""Certificate lines of somebody else's site, edited in place: what changes, and what never does."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailseal.services.apache_edit import with_certificates

EC, RSA = ("/m/ec/fullchain.pem", "/m/ec/privkey.pem"), ("/m/rsa/fullchain.pem", "/m/rsa/privkey.pem")

SITE = """\
# before
<VirtualHost *:443>
\tServerName a.example.org
\tSSLEngine on
\tSSLCertificateFile    /old/cert.pem
\t# the key
\tSSLCertificateKeyFile "/old/privkey.pem"
\tSSLCertificateChainFile /old/chain.pem
</VirtualHost>
# SSLCertificateFile /old/cert.pem
<VirtualHost *:443>
    SSLCertificateFile /other/cert.pem
</VirtualHost>
"""


def test_one_key_type() -> None:
    edited = with_certificates(SITE.encode(), 2, [EC]).decode()
    assert edited == SITE.replace(
        '\tSSLCertificateFile    /old/cert.pem\n\t# the key\n\tSSLCertificateKeyFile "/old/privkey.pem"\n'
        "\tSSLCertificateChainFile /old/chain.pem\n",
        "\tSSLCertificateFile /m/ec/fullchain.pem\n\tSSLCertificateKeyFile /m/ec/privkey.pem\n\t# the key\n",
    )


def test_two_key_types() -> None:
    edited = with_certificates(SITE.encode(), 2, [EC, RSA]).decode()
    assert re.findall(r"^\tSSLCert\S+ (\S+)$", edited, re.MULTILINE) == [*EC, *RSA]
    assert "/other/cert.pem" in edited


def test_from_two_key_types_to_one() -> None:
    both = with_certificates(SITE.encode(), 2, [EC, RSA])
    assert with_certificates(both, 2, [EC]) == with_certificates(SITE.encode(), 2, [EC])


def test_lines_that_say_the_same_keep_their_letters() -> None:
    text = (
        '<VirtualHost *>\n  sslcertificatefile   "/m/ec/fullchain.pem"\n'
        "  SSLCertificateKeyFile\t/m/ec/privkey.pem\n</VirtualHost>\n"
    )
    assert with_certificates(text.encode(), 1, [EC]) == text.encode()


def test_joined_lines_go_whole() -> None:
    text = "<VirtualHost *>\n SSLCertificateFile \\\n   /old/c.pem\n SSLCertificateKeyFile /old/k.pem\n"
    text += " X y\n</VirtualHost>\n"
    assert with_certificates(text.encode(), 1, [EC]).decode() == (
        "<VirtualHost *>\n SSLCertificateFile /m/ec/fullchain.pem\n SSLCertificateKeyFile /m/ec/privkey.pem\n"
        " X y\n</VirtualHost>\n"
    )


def test_a_site_without_certificate_lines_is_left_as_it_is() -> None:
    text = b"<VirtualHost *:443>\nSSLEngine on\n</VirtualHost>\n"
    assert with_certificates(text, 1, [EC]) == text


@pytest.mark.parametrize("line", [0, 1, 3, 99])
def test_a_wrong_line_is_refused(line: int) -> None:
    with pytest.raises(ValueError, match="opens no virtual host"):
        with_certificates(SITE.encode(), line, [EC])


OTHERS = [
    "ServerName a.example.org",
    "",
    "# SSLCertificateFile /no",
    "  SSLEngine on",
    'Header set A "é"',
    "\tx \\\n y",
]
CERTIFICATES = [
    "SSLCertificateFile /old/fullchain.pem",
    "  SSLCertificateKeyFile /old/privkey.pem",
    "sslcertificatechainfile /old/chain.pem",
    '\tSSLCertificateFile "/old/b.pem"',
]
pairs_of = st.sampled_from([[EC], [RSA], [EC, RSA]])
bodies = st.lists(st.sampled_from([*OTHERS, *CERTIFICATES]), max_size=12)


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, int]:
    end = draw(st.sampled_from(["\n", "\r\n"]))
    before, body, after = draw(st.lists(st.sampled_from(OTHERS), max_size=4)), draw(bodies), draw(bodies)
    lines = [*before, "<VirtualHost *:443>", *body, "</VirtualHost>", *after]
    text = "\n".join(lines) + draw(st.sampled_from(["", "\n"]))
    opened = text.split("\n").index("<VirtualHost *:443>") + 1
    return text.replace("\n", end).encode(), opened


@given(files(), pairs_of)
def test_twice_is_once(file: tuple[bytes, int], pairs: list[tuple[str, str]]) -> None:
    content, line = file
    once = with_certificates(content, line, pairs)
    assert with_certificates(once, line, pairs) == once


@given(files(), pairs_of, pairs_of)
def test_what_was_there_between_does_not_matter(
    file: tuple[bytes, int], first: list[tuple[str, str]], then: list[tuple[str, str]]
) -> None:
    content, line = file
    assert with_certificates(with_certificates(content, line, first), line, then) == with_certificates(
        content, line, then
    )


def others(content: bytes) -> list[bytes]:
    return [line for line in content.split(b"\n") if not re.match(rb"\s*SSLCertificate", line, re.IGNORECASE)]


@given(files(), pairs_of)
def test_all_other_lines_stay_in_their_order(file: tuple[bytes, int], pairs: list[tuple[str, str]]) -> None:
    content, line = file
    edited = with_certificates(content, line, pairs)
    assert others(edited) == others(content)
    if b"\r\n" in content:
        assert edited.count(b"\n") == edited.count(b"\r\n")
