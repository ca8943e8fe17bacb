"""The six acts. What is printed as true was checked the moment before, by clients that know nothing of mailseal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from lab.box import Result
from lab.demo.acts import (
    SABOTAGE,
    agree,
    error_of,
    found_row,
    only_done,
    own_views,
    proof_row,
    without_diffs,
)
from lab.demo.clients import Seen, fetch, look
from lab.demo.page import Page
from lab.demo.stage import Stage


@dataclass(frozen=True)
class Before:
    """The server as it was found."""

    seen: list[Seen]
    files: dict[str, str]


class Story:
    """Tells it on one stage; `page.failed` holds what did not come true."""

    def __init__(self, stage: Stage, page: Page) -> None:
        self._stage = stage
        self._page = page

    def tell(self) -> None:
        """All acts. Where the server never got a certificate, there is nothing to renew."""
        before = self._as_found()
        if self._set_up():
            first = self._proof()
            self._goes_wrong(first)
            self._goes_right(first)
        self._handed_back(before)

    def _as_found(self) -> Before:
        page, stage = self._page, self._stage
        page.heading("1. A mail server as it is found")
        page.say(stage.told)
        seen = look(stage, stage.name)
        page.table(
            ("port", "protocol", "TLS", "certificate of", "expires", "openssl says"), map(found_row, seen)
        )
        page.claim(
            any(s.served for s in seen) and not any(s.verified for s in seen),
            "No port has a certificate that a client trusts.",
        )
        return Before(seen, stage.snapshot())

    def _set_up(self) -> bool:
        self._page.heading("2. One command")
        self._page.say(self._stage.before_command)
        done = self._mailseal(self._stage.set_up(), without_diffs)
        return self._page.claim(done.returncode == 0, "It ended with exit status 0.", error_of(done))

    def _proof(self) -> list[Seen]:
        """Every endpoint by mailseal's own check, and beside it by openssl."""
        page, stage = self._page, self._stage
        page.heading("3. The proof: every endpoint, asked by mailseal and by openssl")
        told = stage.mailseal(["check", "--json"], page.passing)
        own, seen = own_views(told), look(stage, stage.name)
        head = ("port", "proto", "name", "TLS", "issuer", "expires", "mailseal", "openssl")
        page.table(head, [proof_row(s, own.get(s.port.number), stage.name) for s in seen])
        page.claim(told.returncode == 0, "mailseal check finds nothing wrong.", told.stdout + error_of(told))
        page.claim(
            all(agree(s, own.get(s.port.number)) for s in seen),
            "On every port openssl trusts chain and name, and sees the leaf that mailseal saw.",
        )
        page.claim(len({s.sha256 for s in seen}) == 1, "It is one certificate, on all of them.")
        if stage.address6:
            six = look(stage, stage.name, ipv6=True)
            page.claim([s.sha256 for s in six if s.verified] == [s.sha256 for s in seen], "Over IPv6 too.")
        listening = stage.listening()
        if listening is not None:
            unknown = listening - {port.number for port in stage.ports}
            page.claim(not unknown, "No other port is open to clients.", str(sorted(unknown)))
        self._web()
        return seen

    def _web(self) -> None:
        page, stage = self._page, self._stage
        url, secure = stage.url(stage.name), stage.url(stage.name, https=True)
        plain, page_itself = fetch(stage, url), fetch(stage, secure)
        page.claim(
            plain.stdout.startswith(f"301 {secure} "), f"curl: {url} sends to {secure} (301).", plain.stdout
        )
        page.claim(
            page_itself.returncode == 0 and page_itself.stdout.startswith("200 "),
            f"curl: {secure} is trusted, and answers 200.",
            page_itself.stdout + page_itself.stderr,
        )

    def _goes_wrong(self, first: list[Seen]) -> None:
        page, stage = self._page, self._stage
        page.heading("4. A renewal that goes wrong is taken back")
        page.say(
            f"{stage.second_name} joins the certificate. The moment the new generation goes live, another "
            "program writes a foreign key over it. No daemon refuses that at a reload: Apache exits, the others "
            "shake no hand any more. A client asks every port all the while."
        )
        self._add_name()
        files = stage.snapshot()
        lineage = f"{stage.state}/lineages/mail"
        with stage.start(["sh", "-euc", SABOTAGE, "sh", lineage, "0002"]) as saboteur, stage.watch() as watch:
            done = self._mailseal(["apply"], lambda _: "")
            served = look(stage, stage.name)
        page.quote(error_of(done))
        page.claim("wrote another key over 0002" in saboteur.told(), "The key was written over.")
        page.claim(
            done.returncode == 3 and "Taken back" in done.stderr, "mailseal took it back (exit status 3)."
        )
        page.claim(stage.snapshot() == files, "Every file of the daemons is as it was before.")
        page.claim(
            [s.sha256 for s in served if s.verified] == [s.sha256 for s in first],
            "Every port goes on serving the certificate from before, and openssl trusts it.",
        )
        self._turned_away(watch.told())

    def _turned_away(self, told: str) -> None:
        """How long clients were without a port; told, not judged."""
        ports = json.loads(told.splitlines()[-1])
        away = [one["longest"] for one in ports.values() if one["turned_away"]]
        asked = sum(one["asked"] for one in ports.values())
        if away:
            self._page.say(
                f"Clients were turned away for {min(away):.0f} to {max(away):.0f} s at {len(away)} of {len(ports)} "
                f"ports ({asked} were watched): until mailseal was sure, and had put everything back."
            )

    def _goes_right(self, first: list[Seen]) -> None:
        page, stage = self._page, self._stage
        page.heading("5. A renewal that goes right")
        done = self._mailseal(["apply"], only_done)
        refused = [line for line in done.stdout.splitlines() if "generation-refused" in line]
        link = stage.run(["readlink", f"{stage.state}/lineages/mail/current"]).stdout.strip()
        page.claim(
            bool(refused) and link == "0003",
            "mailseal saw the foreign key by itself: 0002 was refused, 0003 took its place.",
            done.stdout + error_of(done),
        )
        page.claim(done.returncode == 1, "It ended with exit status 1: done, and something to tell.")
        now, also = look(stage, stage.name), look(stage, stage.second_name)
        page.table(
            ("port", "protocol", "serial before", "serial now", "mail", "webmail"),
            [
                (str(a.port.number), a.port.protocol, a.serial, b.serial, b.verdict, c.verdict)
                for a, b, c in zip(first, now, also, strict=True)
            ],
        )
        new = {s.sha256 for s in (*now, *also)}
        page.claim(
            len(new) == 1 and not new & {"", *(s.sha256 for s in first)},
            "Every port serves one new certificate.",
        )
        page.claim(
            all(s.verified for s in (*now, *also)), "openssl trusts it on every port, under both names."
        )

    def _handed_back(self, before: Before) -> None:
        page, stage = self._page, self._stage
        page.heading("6. Handed back")
        done = self._mailseal(["detach", "--yes"], lambda text: text)
        page.claim(done.returncode == 0, "It ended with exit status 0.", error_of(done))
        after = stage.snapshot()
        differs = sorted(p for p in {*before.files, *after} if before.files.get(p) != after.get(p))
        page.claim(
            not differs,
            f"All {len(after)} files of {stage.watched} are as before: type, mode, owner, content.",
            "\n".join(differs),
        )
        page.claim(
            [s.sha256 for s in look(stage, stage.name)] == [s.sha256 for s in before.seen],
            "Every port serves what it served at first.",
        )

    def _add_name(self) -> None:
        stage = self._stage
        text = stage.read(stage.config)
        one, two = f'["{stage.name}"]', f'["{stage.name}", "{stage.second_name}"]'
        stage.write(stage.config, text.replace(f"identifiers = {one}", f"identifiers = {two}"))

    def _mailseal(self, args: list[str], shorten: Callable[[str], str]) -> Result:
        self._page.command(" ".join(["mailseal", *args]))
        done = self._stage.mailseal(args, self._page.passing)
        self._page.quote(self._stage.shown(shorten(done.stdout)))
        return done
