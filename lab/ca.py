"""ACME servers and the DNS they look names up in, on a lab host of their own.

Two independent implementations of RFC 8555, so that a client fits the protocol
and not one server:

`Pebble` is Let's Encrypt's own test server. It refuses nonces on purpose, reuses
authorizations or not, makes long chains, asks for external accounts (RFC 8555
section 7.3.4), and, from 2.6 on, tells renewal windows (RFC 9773) and profiles.
Roots are made anew at each start; its management port gives them out.

`Caddy` contains smallstep's CA (`acme_server`), with a root on disk.

Both validate http-01 on the real port 80 of whatever address the name has in
`ChallTestSrv`, the DNS server that comes with Pebble: every name has just the
addresses it was given, and a name without any is answered with no records.

The certificate of the servers' own https is of a small CA made here, as an
admin's internal ACME server would have: `Api.trust` is what a client must trust.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lab.box import Box, Spawned

DIRECTORY = "/var/lib/lab-ca"
DNS_PORT, DNS_MANAGEMENT = 53, 8055

EAB_KEYS = {
    "kid-1": "6FZkKFG1KVpVRpiVZqE1Wa1NqkOHAb0mAYXzkkXoDt2sEvRvh9cxcIiGpaqiDDnn",
    "kid-2": "pDQIsN0LzbZVA8ZuYFScSKiaJRzPPwQxLaxXrAW6YJ3U4nIFHsfqJpcqDE0AiE4Q",
}


@dataclass(frozen=True)
class Profile:
    """A kind of certificate that the server offers; `validity` in seconds."""

    description: str
    validity: int


PROFILES = {
    "default": Profile("Ninety days", 90 * 86400),
    "tlsserver": Profile("Forty-five days", 45 * 86400),
    "shortlived": Profile("A hundred and sixty hours", 160 * 3600),
}


@dataclass(frozen=True)
class PebbleOptions:
    """How strict, slow and odd this Pebble is. Percentages 0-100, times in seconds."""

    nonce_reject: int = 5
    authz_reuse: int = 50
    chain_length: int = 1
    alternate_roots: int = 0
    eab: bool = False
    validity: int = 90 * 86400
    profiles: Mapping[str, Profile] = field(default_factory=lambda: dict(PROFILES))
    always_valid: bool = False
    max_sleep: int = 0
    retry_authz: int | None = None
    retry_order: int | None = None
    blocked: Sequence[str] = ("blocked.example.test",)
    strict: bool = False


class Api:
    """The https side of the ACME servers: one key and certificate for all names and addresses of the CA host."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.host = box.name
        names = f"DNS:{box.name},DNS:localhost,IP:127.0.0.1,IP:{box.ipv4},IP:{box.ipv6}"
        ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650"
        box.sh(
            f"""
            mkdir -p {DIRECTORY} && cd {DIRECTORY}
            openssl req -x509 {ec} -subj '/CN=Lab API CA' -keyout ca.key -out ca.pem \
                -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>&1
            openssl req -x509 {ec} -subj '/CN={box.name}' -keyout api.key -out api.pem -CA ca.pem -CAkey ca.key \
                -addext subjectAltName={names} -addext basicConstraints=critical,CA:FALSE \
                -addext extendedKeyUsage=serverAuth 2>&1
            """
        )
        self.trust = box.read(f"{DIRECTORY}/ca.pem")

    def get(self, url: str, timeout: float = 10) -> str:
        """What the CA host itself gets at that URL."""
        return self.box.run(["curl", "-fsS", "--cacert", f"{DIRECTORY}/ca.pem", url], timeout=timeout).stdout


class ChallTestSrv:
    """The lab's DNS: authoritative for everything, knowing only what it was told."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.address = box.ipv4
        off = ["-http01", "", "-https01", "", "-tlsalpn01", ""]
        if "-doh" in box.run(["pebble-challtestsrv", "-h"], check=False).stderr:
            off += ["-doh", ""]
        listen = f":{DNS_PORT}"
        self._process = box.spawn(
            [
                *("pebble-challtestsrv", "-defaultIPv4", "", "-defaultIPv6", "", "-dns01", listen),
                *("-management", f"127.0.0.1:{DNS_MANAGEMENT}", *off),
            ],
            log="/var/log/dns.log",
        )
        box.wait_listening(DNS_PORT, DNS_MANAGEMENT)

    def set_addresses(self, name: str, ipv4: Sequence[str] = (), ipv6: Sequence[str] = ()) -> None:
        """The A and AAAA records of a name, all of them; none takes them away."""
        for kind, addresses in (("a", ipv4), ("aaaa", ipv6)):
            self._post(f"clear-{kind}", host=name)
            if addresses:
                self._post(f"add-{kind}", host=name, addresses=list(addresses))

    def set_cname(self, name: str, target: str) -> None:
        """Makes a name an alias."""
        self._post("set-cname", host=name, target=target)

    def clear_cname(self, name: str) -> None:
        """Takes the alias away."""
        self._post("clear-cname", host=name)

    def set_caa(self, name: str, *policies: tuple[str, str]) -> None:
        """CAA records as pairs of tag and value (RFC 8659)."""
        self._post("clear-caa", host=name)
        if policies:
            records = [{"tag": tag, "value": value} for tag, value in policies]
            self._post("add-caa", host=name, policies=records)

    def set_txt(self, name: str, value: str) -> None:
        """A TXT record; `name` without the final dot."""
        self._post("set-txt", host=f"{name}.", value=value)

    def clear_txt(self, name: str) -> None:
        """Takes the TXT records of a name away."""
        self._post("clear-txt", host=f"{name}.")

    def set_servfail(self, name: str, broken: bool = True) -> None:
        """Makes every question for a name fail, as a broken DNSSEC zone does."""
        self._post("set-servfail" if broken else "clear-servfail", host=name)

    def _post(self, what: str, **body: object) -> None:
        url = f"http://127.0.0.1:{DNS_MANAGEMENT}/{what}"
        self.box.run(["curl", "-fsS", "--data-binary", "@-", url], input=json.dumps(body))


class AcmeServer:
    """A running ACME server. `directory_url` for clients, `trust` for its https, `roots()` of what it issues."""

    def __init__(self, api: Api, directory_url: str, port: int, process: Spawned) -> None:
        self.api = api
        self.directory_url = directory_url
        self.trust = api.trust
        self.port = port
        self._process = process

    def roots(self) -> list[str]:
        """PEM of every root that chains may end in, the preferred one first."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ends the server, as an outage would."""
        self._process.kill()
        self._process.wait()


class Pebble(AcmeServer):
    """Pebble with the given oddities; several may run, on ports of their own."""

    def __init__(self, api: Api, options: PebbleOptions | None = None, *, port: int = 14000) -> None:
        self.options = options or PebbleOptions()
        box = api.box
        self._config = f"{DIRECTORY}/pebble-{port}.json"
        self._log = f"/var/log/pebble-{port}.log"
        box.write(self._config, json.dumps({"pebble": self._configuration(port)}, indent=1))
        argv = ["pebble", "-config", self._config, "-dnsserver", f"127.0.0.1:{DNS_PORT}"]
        argv.append(f"-strict={str(self.options.strict).lower()}")
        process = box.spawn(argv, env=self._environment(), log=self._log)
        super().__init__(api, f"https://{api.host}:{port}/dir", port, process)
        box.wait_listening(port, port + 1000)

    def roots(self) -> list[str]:
        manage = f"https://127.0.0.1:{self.port + 1000}"
        return [self.api.get(f"{manage}/roots/{n}") for n in range(self.options.alternate_roots + 1)]

    def status_of(self, serial: int) -> str:
        """ "Valid" or "Revoked", by the certificate's serial number."""
        url = f"https://127.0.0.1:{self.port + 1000}/cert-status-by-serial/{serial:x}"
        return str(json.loads(self.api.get(url))["Status"])

    def log(self) -> str:
        """Every request it saw, a line each."""
        return self.api.box.read(self._log)

    def _configuration(self, port: int) -> dict[str, object]:
        options = self.options
        retry = {"authz": options.retry_authz, "order": options.retry_order}
        return {
            "listenAddress": f"[::]:{port}",
            "managementListenAddress": f"[::]:{port + 1000}",
            "certificate": f"{DIRECTORY}/api.pem",
            "privateKey": f"{DIRECTORY}/api.key",
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": options.eab,
            "externalAccountMACKeys": EAB_KEYS if options.eab else {},
            "domainBlocklist": list(options.blocked),
            "certificateValidityPeriod": options.validity,
            "retryAfter": {what: seconds for what, seconds in retry.items() if seconds is not None},
            "profiles": {
                name: {"description": profile.description, "validityPeriod": profile.validity}
                for name, profile in options.profiles.items()
            },
        }

    def _environment(self) -> dict[str, str]:
        options = self.options
        sleep = (
            {"PEBBLE_VA_SLEEPTIME": str(options.max_sleep)}
            if options.max_sleep
            else {"PEBBLE_VA_NOSLEEP": "1"}
        )
        return sleep | {
            "PEBBLE_WFE_NONCEREJECT": str(options.nonce_reject),
            "PEBBLE_AUTHZREUSE": str(options.authz_reuse),
            "PEBBLE_CHAIN_LENGTH": str(options.chain_length),
            "PEBBLE_ALTERNATE_ROOTS": str(options.alternate_roots),
            **({"PEBBLE_VA_ALWAYS_VALID": "1"} if options.always_valid else {}),
        }


class Caddy(AcmeServer):
    """smallstep's CA inside Caddy. `lifetime` of its certificates as Go writes durations."""

    def __init__(self, api: Api, *, port: int = 9443, lifetime: str = "24h") -> None:
        self._storage = f"{DIRECTORY}/caddy"
        caddyfile = f"""
            {{
                admin off
                auto_https disable_redirects
                skip_install_trust
                storage file_system {self._storage}
            }}
            https://{api.host}:{port} {{
                tls {DIRECTORY}/api.pem {DIRECTORY}/api.key
                acme_server {{
                    lifetime {lifetime}
                }}
            }}
        """
        api.box.write(f"{DIRECTORY}/Caddyfile", caddyfile)
        argv = ["caddy", "run", "--adapter", "caddyfile", "--config", f"{DIRECTORY}/Caddyfile"]
        process = api.box.spawn(argv, log="/var/log/caddy.log")
        super().__init__(api, f"https://{api.host}:{port}/acme/local/directory", port, process)
        api.box.wait_listening(port)

    def roots(self) -> list[str]:
        return [self.api.box.read(f"{self._storage}/pki/authorities/local/root.crt")]
