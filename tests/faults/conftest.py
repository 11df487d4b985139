"""Puts a fault proxy before the CA and before the DNS API of every bed, and records of others into the zone.

A test here takes `bed` (with a registry) or `bare` (a site that nobody serves), and to do damage `ca_proxy`
and `api_proxy` (proxy.py). It ends with `assert_invariants(bed)` (invariants.py), and says which rows it
covers by `@pytest.mark.row(46)` (matrix.py; then run `make docs`). The beds are those of ../conftest.py.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bed import KEY_ID, KEY_SECRET, ZONE, Bed
from support.fault_proxy import FaultProxy
from support.ground import Ground
from support.invariants import plant_foreign

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.pebble import Pebble


@pytest.fixture
def dns(dns: AlidnsEmulator) -> AlidnsEmulator:
    """The DNS service, with records of somebody else."""
    plant_foreign(dns)
    return dns


@pytest.fixture
def ca_proxy(tmp_path: Path, ca: Pebble) -> Iterator[FaultProxy]:
    """What stands before the CA."""
    folder = tmp_path / "ca-proxy"
    folder.mkdir()
    with FaultProxy(ca.directory_url, folder, ca.ca_bundle) as proxy:
        yield proxy


@pytest.fixture
def api_proxy(tmp_path: Path, dns: AlidnsEmulator) -> Iterator[FaultProxy]:
    """What stands before the DNS API."""
    folder = tmp_path / "api-proxy"
    folder.mkdir()
    with FaultProxy(dns.endpoint, folder) as proxy:
        yield proxy


def _lead_through(bed: Bed, ca_proxy: FaultProxy, api_proxy: FaultProxy) -> Bed:
    bed.config["acme"] = {"directory": f"{ca_proxy.url}/dir", "ca_bundle": str(ca_proxy.ca_bundle)}
    bed.config["aliyun"] |= {"endpoint": api_proxy.url, "ca_bundle": str(api_proxy.ca_bundle)}
    return bed


@pytest.fixture
def bare(bare: Bed, ca_proxy: FaultProxy, api_proxy: FaultProxy) -> Bed:
    """A bed without a container, and a site that nobody serves."""
    return _lead_through(bare, ca_proxy, api_proxy)


@pytest.fixture
def local(bare: Bed) -> Bed:
    """A bed whose site the CA of this machine certifies, and nobody serves."""
    del bare.config["aliyun"], bare.config["acme"]
    bare.config["sites"] = [{"domain": "devbox", "ca": "local", "address": "none"}]
    bare.write()
    return bare


@pytest.fixture
def bed(bed: Bed, ca_proxy: FaultProxy, api_proxy: FaultProxy) -> Bed:
    """A bed with a registry."""
    return _lead_through(bed, ca_proxy, api_proxy)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folders = [tmp_path_factory.mktemp(name) for name in ("pebble", "ca", "api")]
    with AlidnsEmulator([ZONE], access_key_id=KEY_ID, access_key_secret=KEY_SECRET) as dns:
        plant_foreign(dns)
        with (
            Pebble(folders[0], dns.nameservers[0], retry_after_s=0) as ca,
            FaultProxy(ca.directory_url, folders[1], ca.ca_bundle) as ca_proxy,
            FaultProxy(dns.endpoint, folders[2]) as api_proxy,
        ):
            yield Ground(ca, ca_proxy, dns, api_proxy)
