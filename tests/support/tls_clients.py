"""Clients of TLS as people use them, each asked for a few places: does it trust what is served there?

A client is called with a machine and places, and returns for each place its objection, or nothing.
They read the roots where docs/local-ca-clients.md puts them.
"""

import ipaddress
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from support.browser import FLAGS
from support.neighbour import Neighbour
from support.pages import exchanged


@dataclass(frozen=True, slots=True)
class Place:
    """A host by name or address, and a port."""

    host: str
    port: int

    @property
    def is_address(self) -> bool:
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def where(self) -> str:
        """As a URL has it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self.where}/v2/"


Client = Callable[[Neighbour, Sequence[Place]], list[str]]


def one_by_one(command: Callable[[Place], Sequence[str]], is_trusted: str = "") -> Client:
    """Return a client that is started for each place.

    Args:
        is_trusted: what it says where only the service is not what it looks for; empty where it exits 0.
    """

    def client(there: Neighbour, places: Sequence[Place]) -> list[str]:
        return [_objection(there.run(*command(place)), is_trusted) for place in places]

    return client


def _objection(done: CompletedProcess[str], is_trusted: str) -> str:
    said = done.stdout + done.stderr
    is_well = is_trusted in said if is_trusted else done.returncode == 0
    return "" if is_well else said or f"exit {done.returncode}"


def all_at_once(*command: str | Path, **settings: str) -> Client:
    """Return a client that gets all places as arguments, HOST PORT each, and prints a line for each."""

    def client(there: Neighbour, places: Sequence[Place]) -> list[str]:
        arguments = (word for place in places for word in (place.host, str(place.port)))
        return [line.strip() for line in there.ok(*command, *arguments, **settings).splitlines()]

    return client


def _openssl(place: Place) -> list[str]:
    asked = ["-verify_ip"] if place.is_address else ["-servername", place.host, "-verify_hostname"]
    strict = ["-x509_strict", "-verify_return_error"]
    return ["openssl", "s_client", "-connect", place.where, *strict, *asked, place.host]


_PYTHON = """
import socket, ssl, sys
for host, port in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        with socket.create_connection((host, int(port)), 20) as raw:
            ssl.create_default_context().wrap_socket(raw, server_hostname=host).close()
    except ssl.SSLError as error:
        print(error)
    else:
        print()
"""


def python(program: str) -> Client:
    """Return a program in Python, with what `ssl` trusts by default."""
    return all_at_once(program, "-c", _PYTHON)


def pythons() -> list[str]:
    """Return the Pythons that are here: Debian's, and those that `make test` runs on."""
    found = ["/usr/bin/python3", *(shutil.which(f"python3.{minor}") for minor in (11, 13))]
    return [program for program in found if program]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of client.

    Attributes:
        refusal: in which words it refuses what no root of a LAN may sign; a pattern.
        takes_ipv6: whether an address of IPv6 can be typed at all.
    """

    client: Client
    refusal: str
    takes_ipv6: bool = True


# What takes a fraction of a second.
LIGHT = {
    "OpenSSL": Kind(one_by_one(_openssl), "permitted subtree violation"),
    "curl": Kind(one_by_one(lambda at: ["curl", "-fsS", at.url]), "permitted subtree violation"),
    "GnuTLS": Kind(one_by_one(lambda at: ["gnutls-cli", "--port", str(at.port), at.host]), "constraints"),
    "git": Kind(
        one_by_one(lambda at: ["git", "ls-remote", at.url], "not found"), "server verification failed"
    ),
    "Docker": Kind(
        one_by_one(lambda at: ["docker", "pull", f"{at.where}/nothing"], "not found"),
        "is not permitted by any constraint",
        takes_ipv6=False,
    ),
    **{program: Kind(python(program), "permitted subtree violation") for program in pythons()},
}


# --- what takes seconds -------------------------------------------------------------------------------------

_GO = """
package main

import ("crypto/tls"; "fmt"; "net"; "os")

func main() {
	for i := 1; i < len(os.Args); i += 2 {
		connection, err := tls.Dial("tcp", net.JoinHostPort(os.Args[i], os.Args[i+1]), nil)
		if err != nil {
			fmt.Println(err)
			continue
		}
		connection.Close()
		fmt.Println()
	}
}
"""
_JAVA = """
import javax.net.ssl.*;
import java.net.URI;

class Client {
    public static void main(String[] words) throws Exception {
        for (int i = 0; i < words.length; i += 2) {
            String host = words[i].contains(":") ? "[" + words[i] + "]" : words[i];
            URI where = URI.create("https://" + host + ":" + words[i + 1] + "/v2/");
            try {
                ((HttpsURLConnection) where.toURL().openConnection()).getResponseCode();
                System.out.println();
            } catch (SSLException error) {
                System.out.println(error);
            }
        }
    }
}
"""
_NODE = """
const https = require('https');
const words = process.argv.slice(1);
(async () => {
  for (let i = 0; i < words.length; i += 2) {
    console.log(await new Promise((told) => {
      const asked = https.get({host: words[i], port: words[i + 1], path: '/v2/', agent: false});
      asked.on('response', (answer) => { answer.resume(); told(''); });
      asked.on('error', (error) => told(`${error.code} ${error.message}`));
    }));
  }
})();
"""
_REQUESTS = """
import sys, requests
for host, port in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        requests.get(f"https://{'[%s]' % host if ':' in host else host}:{port}/v2/", timeout=20)
    except requests.exceptions.SSLError as error:
        print(error)
    else:
        print()
"""


def go(there: Neighbour, places: Sequence[Place]) -> list[str]:
    """A program in Go, with the roots that Go trusts by default."""
    (source := there.home / "client.go").write_text(_GO)
    own = {"GO111MODULE": "off", "GOTOOLCHAIN": "local", "GOCACHE": str(there.home / "go")}
    there.ok("go", "build", "-o", "client", source, **own, CGO_ENABLED="0")
    return all_at_once("./client")(there, places)


def java(there: Neighbour, places: Sequence[Place]) -> list[str]:
    """A program in Java, with the roots that Java trusts by default."""
    (source := there.home / "Client.java").write_text(_JAVA)
    return all_at_once("java", source)(there, places)


def after(commands: str, program: str, source: str) -> Client:
    """Return a client that a shell starts after some commands, by `-c` or `-e` and its source."""
    option = "-c" if "python" in program else "-e"
    return all_at_once("sh", "-euc", f'{commands}\nexec "$0" {option} "$@"', program, source)


def node(commands: str) -> Client:
    """Return a program in JavaScript, started after these commands of a shell."""
    return after(commands, "node", _NODE)


def requests(commands: str) -> Client:
    """Return a program in Python with the library `requests`, started after these commands of a shell."""
    return after(commands, sys.executable, _REQUESTS)


def chromium(profile: Path) -> Client:
    """Return Chromium without a screen, with its profile in this folder."""
    flags = [*FLAGS, f"--user-data-dir={profile}", "--dump-dom"]
    return one_by_one(lambda at: ["chromium", *flags, at.url], "{}")


def firefox(profile: Path) -> Client:
    """Return Firefox without a screen, with its profile in this folder."""
    return all_at_once(sys.executable, Path(__file__).with_name("firefox.py"), profile)


def nss(database: Path) -> Client:
    """Return NSS's own client, with the roots of this database."""
    known = ["-d", f"sql:{database}", "-V", "tls1.2:", "-Q"]
    return one_by_one(lambda at: ["tstclnt", "-h", at.host, "-p", str(at.port), *known])


def podman(folder: Path) -> Client:
    """Return Podman, with its images in this folder."""
    own = [f"--root={folder}/images", f"--runroot={folder}/run", "--storage-driver=vfs"]
    return one_by_one(lambda at: ["podman", *own, "pull", f"{at.where}/nothing"], "manifest unknown")


def skopeo(there: Neighbour, places: Sequence[Place]) -> list[str]:
    """Skopeo, which reads what Podman reads."""
    asked = one_by_one(lambda at: ["skopeo", "inspect", f"docker://{at.where}/nothing"], "manifest unknown")
    return asked(there, places)


def containerd(socket: Path, line: str, theirs: str) -> Client:
    """Return containerd at this socket, asked by a line of the page for another image than `theirs`."""

    def pull(place: Place) -> list[str]:
        typed = shlex.split(exchanged(line, {theirs: f"{place.where}/nothing:latest"}))
        return ["env", f"CONTAINERD_ADDRESS={socket}", *typed]

    return one_by_one(pull, "not found")
