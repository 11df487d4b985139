"""Measure the figures of docs/figures.md, on real parts; run by `make measure` on a private host.

Prints the CPU time of commands (of some as a multiple of a bare import in the same run), how soon a
certificate is published and served once the slower of two name servers shows the TXT value, be it a site's
own or a shared one, and how long one site and many take, also as a multiple of the same exchange by the
libraries alone (bare.py). Of twenty services that use a shared certificate one after the other it prints how
long that takes in all.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from support.bed import DOMAIN, KEY_ID, KEY_SECRET, ZONE, Bed, wait_until

import certbotless
from bench import bare
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS, hosts_entry
from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.registry import Registry, served_sha256

RUNS = 9
# What a command costs at most, as a multiple of a bare import in the same run.
LOOKING, ACTING = "import argparse, logging, ssl, pydantic, yaml", "import acme, requests"
LIMITS = {("check",): (LOOKING, 1.5), ("status", "--json"): (LOOKING, 2.2), ("--once",): (ACTING, 1.5)}
# From the start to the published pairs, as a multiple of the same exchange by the libraries alone (bare.py).
MOST_OF_BARE, TURNS = {1: 1.25, 20: 1.2, 100: 0.0}, 3
DELAYS_S = (2.0, 3.0)


def cpu_s(command: list[str]) -> float:
    """Return user and system time of one run, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def wall_s(command: list[str]) -> float:
    """Return how long one run takes, in seconds."""
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"measure: {command} failed: {done.stderr}")
    return time.monotonic() - began


def commands(bed: Bed) -> None:
    """Print the CPU time of each command that looks, and of `--once` where nothing is due; some as ratios."""
    for args in (("--help",), ("check",), ("plan",), ("status",), ("status", "--json"), ("--once",)):
        bare, most = LIMITS.get(args, ("pass", 0))
        # By turns, so that both have the same of what else the machine does.
        pairs = [(cpu_s(bed.command(*args)), cpu_s([sys.executable, "-c", bare])) for _ in range(RUNS)]
        took, base = (statistics.median(times) for times in zip(*pairs, strict=True))
        limit = f", {took / base:.2f} times `{bare}` (at most {most})" if most else ""
        print(f"cpu  {' '.join(args):<15} {took:.2f} s{limit}")


def latency(bed: Bed, *args: str, kind: str = "") -> None:
    """Print how long after the slower name server shows the TXT value the pair is published, and served."""
    before = bed.served()
    link = bed.certs / ".certbotless" / DOMAIN / "current"
    was = os.readlink(link) if link.is_symlink() else ""
    calls = len(bed.dns.calls)
    bed.write()
    process = subprocess.Popen(bed.command(*args), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    published = served = 0.0
    while process.poll() is None and not served:
        # The old pair, set aside as a generation, is no publication.
        now_at = os.readlink(link) if link.is_symlink() else was
        if not published and now_at != was and not now_at.startswith("aside"):
            published = time.time()
        if published:
            try:
                # A lost SYN is sent again after a second: a client that gives up sooner measures finer.
                leaf = served_sha256(LAN_ADDRESS, bed.registry.port, DOMAIN, timeout_s=0.2)
                served = time.time() if leaf != before else 0.0
            except OSError:
                pass
        time.sleep(0.005)
    assert process.wait(60) == 0
    added = next(call.at for call in bed.dns.calls[calls:] if call.parameters.get("Type") == "TXT")
    shown = added.timestamp() + max(DELAYS_S)
    print(
        f"time {kind + args[0]:<15} published {published - shown:.2f} s after the slower server shows the"
        f" value, served {served - published:.2f} s later"
    )


def turns(bed: Bed) -> None:
    """Print how long twenty containers take to have a renewed certificate that their sites share.

    Beside it the slowest of their restarts without us. One has it after the other, in the order of the file.
    """
    wildcard = f"*.turns.{ZONE}"
    names = [wildcard.replace("*", f"box{number}") for number in range(20)]
    registries = [
        Registry(bed.engine, name, certs=bed.certs, port=6000 + number, name=f"box{number}")
        for number, name in enumerate(names)
    ]
    bed.config["sites"] = [bed.site(name, certificate=wildcard, deploy=[]) for name in names]
    bed.ok("--once")
    restarts_s = []
    for number, registry in enumerate(registries):
        registry.create()
        began = time.monotonic()
        registry.container.restart()
        registry.wait_serving()
        restarts_s.append(time.monotonic() - began)
        bed.config["sites"][number]["deploy"] = [{"container": f"box{number}", "port": registry.port}]
    bed.ok("--once")
    link = bed.certs / ".certbotless" / names[0] / "current"
    was, before = os.readlink(link), bed.published(names[0])
    with subprocess.Popen(bed.command("--renew-now"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
        wait_until(lambda: os.readlink(link) != was, "the first site has it")
        began = time.monotonic()
        for registry in registries:
            wait_until(partial(_shows_another, registry, before), "it is served")
        took_s = time.monotonic() - began
    for registry in registries:
        registry.remove()
    slowest_s = max(restarts_s)
    print(
        f"time {'shared by 20':<15} all served {took_s:.1f} s after the first one published it, one after the"
        f" other: {took_s / slowest_s:.1f} times the slowest restart ({slowest_s:.2f} s), "
        f"{took_s / len(names):.2f} s each"
    )


def _shows_another(registry: Registry, before: str) -> bool:
    try:
        return served_sha256(LAN_ADDRESS, registry.port, registry.domain, timeout_s=0.2) != before
    except OSError:
        return False


def many(bed: Bed) -> None:
    """Print how long new sites take from the start to the published pairs, one and many at once.

    For some also how many times as long as the bare exchange (bare.py) does, by turns; each makes an account.
    """
    alone_s = 0.0
    for count, most in MOST_OF_BARE.items():
        ours, bares = [], []
        for turn in range(TURNS):
            ours.append(_ours_s(bed, f"{count}-{turn}", count))
            bares += [_bare_s(bed, f"{count}-{turn}", count)] if most else []
        took_s = statistics.median(ours)
        alone_s = alone_s or took_s
        limit = (
            f", {took_s / statistics.median(bares):.2f} times the bare exchange (at most {most})"
            if most
            else ""
        )
        print(
            f"time {f'{count} at once':<15} {took_s:.1f} s, {took_s / alone_s:.2f} times that of one{limit}"
        )


def _ours_s(bed: Bed, run: str, count: int) -> float:
    domains = [f"box{number}-of-{run}.{ZONE}" for number in range(count)]
    bed.config["sites"] = [bed.site(domain, deploy=[]) for domain in domains]
    # A new box: where the ledger is lost, it is made again of all certificates that are there.
    certs = bed.home / f"certs-{run}"
    certs.mkdir()
    bed.config |= {"state_dir": str(bed.home / f"state-{run}"), "certs_dir": str(certs)}
    bed.write()
    took_s = wall_s(bed.command("--once"))
    assert len(list(certs.glob("*.pem"))) == count
    return took_s


def _bare_s(bed: Bed, run: str, count: int) -> float:
    out, settings = bed.home / f"bare-{run}", bed.home / "bare.json"
    out.mkdir()
    exchange = {
        "directory": bed.ca.directory_url,
        "ca_bundle": str(bed.ca.ca_bundle),
        "endpoint": bed.dns.endpoint,
        "key_id": KEY_ID,
        "key_secret": KEY_SECRET,
        "zone": ZONE,
        "nameservers": list(bed.dns.nameservers),
        "address": LAN_ADDRESS,
        "domains": [f"bare{number}-of-{run}.{ZONE}" for number in range(count)],
        "out": str(out),
    }
    settings.write_text(json.dumps(exchange))
    took_s = wall_s([sys.executable, str(Path(bare.__file__)), str(settings)])
    assert len(list(out.glob("*.pem"))) == count
    return took_s


def main() -> None:
    """Measure all."""
    home = Path(tempfile.mkdtemp())
    for name in ("certs", "pebble", "engine"):
        (home / name).mkdir()
    # A program that is installed has its byte code.
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", str(Path(certbotless.__file__).parent)], check=True
    )
    python, cores = sys.version.split()[0], os.cpu_count()
    print(f"{datetime.now(UTC):%Y-%m-%d} Python {python}, {cores} cores, DNS delays {DELAYS_S} s")
    with (
        AlidnsEmulator([ZONE], access_key_id=KEY_ID, access_key_secret=KEY_SECRET) as dns,
        Pebble(home / "pebble", dns.nameservers[0]) as ca,
        hosts_entry(DOMAIN, LAN_ADDRESS),
        Engine(home / "engine") as engine,
    ):
        registry = Registry(engine, DOMAIN, certs=home / "certs")
        registry.write_self_signed()
        registry.create()
        bed = Bed(home, dns, ca, engine, registry)
        for index, delay in enumerate(DELAYS_S):
            dns.set_delay(index, delay)
        latency(bed, "--once")
        for _ in range(2):
            latency(bed, "--renew-now")
        commands(bed)
        bed.config["sites"] = [bed.site(certificate=f"*.{ZONE}")]
        for args in (["--once"], *[["--renew-now"]] * 2):
            latency(bed, *args, kind="shared ")
        turns(bed)
        many(bed)


if __name__ == "__main__":
    main()
