"""Where clients reach the local sites, as `host:port`: folders of certs.d have such names."""

from collections.abc import Iterator
from contextlib import suppress

from ...base.errors import AddressError, StoreError
from ...base.privileges import as_owner
from ...base.words import Text
from ...config.settings import Config, Site
from ...model.observation import endpoints_of
from ...state.site import SiteFile
from ...world.lan.address import address_now

_HTTPS = 443
# The state of a site is written by the service, which shall not make root fill /etc with folders.
_PORTS, _MOST_PORTS = range(1, 1 << 16), 100


def places(config: Config) -> list[str]:
    """Return each place of each local site, sorted: every name and address, at every port that is known.

    Raises:
        StoreError: the state of a site cannot be read, or cannot be true.
    """
    return sorted({place for site in config.sites if site.is_local for place in _places_of(config, site)})


def _places_of(config: Config, site: Site) -> Iterator[str]:
    with as_owner(config.state_dir):
        state = SiteFile(config.state_dir, site.domain).load()
    names = {name for name in site.all_names if not name.startswith("*.")}
    if site.with_address:
        # Without an address at the moment its names are enough.
        with suppress(AddressError):
            names |= {*site.address.several} or {address_now(site.address)}
    found = [each.where for target in site.deploy for each in endpoints_of(target, state, "127.0.0.1")]
    ports = {where[1] for where in found if where}
    if len(ports) > _MOST_PORTS or not ports <= {*_PORTS}:
        raise StoreError(Text("the state of {!r} has ports that no service has", site.domain))
    for port in ports:
        for host in names - {""}:
            bare = f"[{host}]" if ":" in host else host
            yield f"{bare}:{port}"
            if port == _HTTPS:
                yield bare
