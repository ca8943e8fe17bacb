"""Inside the lab host: many lineages, as certbot, dehydrated and mailseal write them; and what one run of them takes.

    renew_job.py lineages KIND COUNT FOLDER [--like FILE]
    renew_job.py run ARGV…

`lineages` makes COUNT of them below FOLDER, each with a key and a certificate
of its own (ECDSA P-256, 90 days, issued an hour ago) by a CA made for it. KIND
is certbot (renewal/, live/, archive/; --like is the renewal file of a real
lineage, rewritten for each), dehydrated (certs/, domains.txt) or mailseal (its
own store writes them; beside each the CA's word on when to renew and when to
ask again, as after any run). `run` starts a program and prints one JSON object:
seconds, cpu (seconds of it and of all that it started), rss (MiB, the largest
of its processes), status.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.issue_names import name_of
from mailseal.certificates import certificate_facts, read_pem
from mailseal.model import KeyType, Secret
from mailseal.stores.filesystem import LineageStore, Material
from mailseal.stores.state import LineageState, StateStore, Suggestion
from mailseal.system.local import LocalSystem

SUFFIX = ".renew.example.test"
LIFE = timedelta(days=90)
NOW = datetime.now(UTC).replace(microsecond=0)
BEGAN = NOW - timedelta(hours=1)


@dataclass(frozen=True)
class Made:
    """One certificate: PEM of the key, the leaf, and of the CA above it."""

    name: str
    privkey: bytes
    cert: bytes
    chain: bytes


def made(count: int) -> Iterator[Made]:
    """That many, each for the name of its number."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Bench CA")])
    authority = x509.BasicConstraints(ca=True, path_length=None)
    chain = _signed(issuer, issuer, key.public_key(), authority, key).public_bytes(Encoding.PEM)
    for number in range(count):
        name, own = name_of(number, SUFFIX), ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        leaf = _signed(x509.Name([]), issuer, own.public_key(), names, key)
        pem = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        yield Made(name, pem, leaf.public_bytes(Encoding.PEM), chain)


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    extension: x509.ExtensionType,
    key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(BEGAN).not_valid_after(BEGAN + LIFE)
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = builder.add_extension(extension, critical=True).add_extension(above, critical=False)
    return builder.sign(key, hashes.SHA256())


def certbot(folder: Path, one: Made, like: str) -> None:
    """archive/NAME, live/NAME and renewal/NAME.conf."""
    archive, live = folder / "archive" / one.name, folder / "live" / one.name
    archive.mkdir(parents=True)
    live.mkdir(parents=True)
    contents = {
        "privkey": one.privkey,
        "cert": one.cert,
        "chain": one.chain,
        "fullchain": one.cert + one.chain,
    }
    for file, content in contents.items():
        (archive / f"{file}1.pem").write_bytes(content)
        (live / f"{file}.pem").symlink_to(f"../../archive/{one.name}/{file}1.pem")
    real = re.search(r"^archive_dir = .*/archive/(\S+)$", like, re.M)
    assert real is not None
    told = like.replace(real[1], one.name).replace("/etc/letsencrypt/", f"{folder}/")
    (folder / "renewal").mkdir(exist_ok=True)
    (folder / "renewal" / f"{one.name}.conf").write_text(told, encoding="utf-8")


def dehydrated(folder: Path, one: Made) -> None:
    """certs/NAME, and a line of domains.txt."""
    own = folder / "certs" / one.name
    own.mkdir(parents=True)
    contents = {
        "privkey": one.privkey,
        "cert": one.cert,
        "chain": one.chain,
        "fullchain": one.cert + one.chain,
    }
    for file, content in contents.items():
        (own / f"{file}-1.pem").write_bytes(content)
        (own / f"{file}.pem").symlink_to(f"{file}-1.pem")
    with (folder / "domains.txt").open("a", encoding="utf-8") as names:
        names.write(f"{one.name}\n")


def mailseal(folder: str, one: Made, issuer: str) -> None:
    """A generation that is live, its links, and what is remembered of it."""
    system = LocalSystem()
    store, kind = LineageStore(system, folder), KeyType.ECDSA_P256
    facts = certificate_facts(read_pem(one.cert)[0])
    material = Material(kind, Secret(one.privkey), one.cert, one.chain, facts)
    generation = store.write(one.name, (material,), issuer=issuer, issued_at=NOW, asked=facts.identifiers)
    os.symlink(generation.label, store.current_path(one.name))
    directory, *links = store.live_wishes(one.name, kind)
    os.mkdir(directory.path, 0o700)
    for link in links:
        os.symlink(getattr(link, "target"), link.path)  # noqa: B009
    middle, hours = BEGAN + LIFE * 2 / 3, timedelta(hours=22)
    told = Suggestion(
        "a.b", facts.fingerprint, middle - hours, middle + hours, middle, NOW + timedelta(hours=6)
    )
    StateStore(system, folder).save(one.name, LineageState(suggestions={kind: told}))


def lineages(told: argparse.Namespace) -> None:
    """Makes them."""
    folder: Path = told.folder
    like = told.like.read_text(encoding="utf-8") if told.kind == "certbot" else ""
    if told.kind == "mailseal":
        LineageStore(LocalSystem(), str(folder)).prepare()
    for one in made(told.count):
        if told.kind == "certbot":
            certbot(folder, one, like)
        elif told.kind == "dehydrated":
            dehydrated(folder, one)
        else:
            mailseal(str(folder), one, told.issuer)


def run(argv: list[str]) -> None:
    """Starts a program and tells what it took."""
    began = time.perf_counter()
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    result = {
        "seconds": time.perf_counter() - began,
        "cpu": cpu,
        "rss": usage.ru_maxrss / 1024,
        "status": process.returncode,
        "said": said[-2000:],
    }
    print(json.dumps(result))


def main() -> None:
    if sys.argv[1:2] == ["run"]:
        run(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("lineages",))
    parser.add_argument("kind", choices=("certbot", "dehydrated", "mailseal"))
    parser.add_argument("count", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--like", type=Path, help="a renewal file of certbot's")
    parser.add_argument("--issuer", default="", help="the CA's directory, for mailseal")
    lineages(parser.parse_args())


if __name__ == "__main__":
    main()
