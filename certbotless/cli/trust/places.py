"""Where clients reach the local sites, as `host:port`: folders of certs.d have such names."""

from collections.abc import Iterator
from contextlib import suppress

from ...base.errors import AddressError
from ...base.privileges import as_owner
from ...config.settings import Config, Site
from ...model.observation import endpoints_of
from ...state.site import SiteFile
from ...world.lan.address import address_now

_HTTPS = 443


def places(config: Config) -> list[str]:
    """Return each place of each local site, sorted: every name and address, at every port that is known.

    Raises:
        StoreError: the state of a site cannot be read.
    """
    return sorted({place for site in config.sites if site.is_local for place in _places_of(config, site)})


def _places_of(config: Config, site: Site) -> Iterator[str]:
    with as_owner(config.state_dir):
        state = SiteFile(config.state_dir, site.domain).load()
    names = {name for name in site.all_names if not name.startswith("*.")}
    if site.with_address:
        # Without an address at the moment its names are enough.
        with suppress(AddressError):
            names.add(address_now(site.address))
    for target in site.deploy:
        for endpoint in endpoints_of(target, state, "127.0.0.1"):
            if endpoint.where is None:
                continue
            port = endpoint.where[1]
            for host in names - {""}:
                bare = f"[{host}]" if ":" in host else host
                yield f"{bare}:{port}"
                if port == _HTTPS:
                    yield bare
