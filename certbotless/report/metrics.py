"""Facts -> metrics for Prometheus (prometheus-client). Pure, and light; docs/status-page.md explains each.

Every sample is a gauge: the last check has found it. Failed attempts are no counter either: they go back to 0
with a success, and a restart of the daemon does not reset them.

Source: prometheus.io, "Metric and label naming" and "Exposition formats".
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import get_args

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4 as TYPE
from prometheus_client import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .. import __version__
from ..model.decision import Fact, fact_of
from ..model.ledger import next_order, orders_left_for_each
from ..model.view import View, Visits, facts_of
from .status_json import Seen, served_of

__all__ = ["TYPE", "text"]

_STATES = ("ok", "pending", "failing")
_SHARED_WELL = "1 if the certificate that sites share is valid, and was renewed in time or is being renewed."
_WELL = (
    "1 if the site is ok, waits only for a window, or is being renewed while the certificate in use is"
    " valid and served; 0 also before the first check."
)


def text(seen: Seen, visits: Visits, now: datetime, *, is_looking: bool, is_refused: bool) -> str:
    """Return the metrics in Prometheus' text format, of the type `TYPE`.

    Args:
        is_looking: whether the checks go on.
        is_refused: whether the file, as it is now, is refused.
    """
    families = _Families()
    families.add("build_info", "The version that runs; always 1.", 1, version=__version__)
    families.add("looks_go_on", "1 while no check of the daemon is overdue.", is_looking)
    families.add(
        "config_refused", "1 while the daemon refuses an edit of the configuration file.", is_refused
    )
    for domain, view in seen.views.items():
        if view.site.is_shared:
            _add_shared(families, view)
            continue
        _add_site(families, view, seen.well_at.get(domain))
        _add_client(families, view, visits)
    for domain in seen.unseen:
        if domain.startswith("*."):
            families.add("shared_well", _SHARED_WELL, False, certificate=domain)
        else:
            families.add("site_well", _WELL, False, domain=domain)
    _add_orders_left(families, seen, now)
    return generate_latest(families).decode()


class _Families(Collector):
    """Gauges by name, in the order in which they came up."""

    def __init__(self) -> None:
        self._found: dict[str, GaugeMetricFamily] = {}

    def add(self, name: str, about: str, value: float | datetime | None, **labels: str) -> None:
        """Add a sample, unless its value is not known."""
        if value is None:
            return
        family = self._found.get(name)
        if family is None:
            family = self._found[name] = GaugeMetricFamily(f"certbotless_{name}", about, labels=[*labels])
        family.add_metric([*labels.values()], value.timestamp() if isinstance(value, datetime) else value)

    def collect(self) -> Iterator[Metric]:
        yield from self._found.values()


def _add_site(families: _Families, view: View, ok_at: datetime | None) -> None:
    domain, facts = view.site.domain, view.seen.published.facts
    for state in _STATES:
        about = "1 for the state that the site is in, 0 for the others."
        families.add("site_state", about, view.state == state, domain=domain, state=state)
    families.add("site_well", _WELL, view.is_well, domain=domain)
    begin, end = (facts.not_before, facts.not_after) if facts else (None, None)
    for name, about, at in (
        ("last_look", "When the site was last checked.", view.seen.at),
        ("last_success", "When the site was last ok, since the daemon started.", ok_at),
        ("certificate_not_before", "From when the certificate on disk is valid.", begin),
        ("certificate_not_after", "When the certificate on disk expires.", end),
        ("next_renewal", "When the certificate is due for renewal.", view.decision.next_renewal),
    ):
        families.add(f"{name}_timestamp_seconds", about, at, domain=domain)
    _add_failed(families, "failed_attempts", view, domain=domain)
    for address in view.site.address.several:
        about = "1 for an address of a list that the record carries, 0 for one that is withdrawn."
        families.add("address_wanted", about, address in view.seen.several, domain=domain, address=address)
    # A name that is there twice, for two ports, has one sample: the first.
    for name, state in {each.name: each.state for each in reversed([*served_of(view)])}.items():
        if state != "unproved":
            about = "1 if the target used the certificate on disk at the last check."
            families.add("served_matches_disk", about, state == "serving", domain=domain, target=name)


def _add_shared(families: _Families, view: View) -> None:
    """Add a certificate that sites share; the samples of a site are of what it has on disk."""
    name, facts = view.site.domain, view.seen.published.facts
    families.add("shared_well", _SHARED_WELL, view.is_well, certificate=name)
    begin, end = (facts.not_before, facts.not_after) if facts else (None, None)
    for about_what, about, at in (
        ("certificate_not_before", "From when the certificate that sites share is valid.", begin),
        ("certificate_not_after", "When the certificate that sites share expires.", end),
        (
            "next_renewal",
            "When the certificate that sites share is due for renewal.",
            view.decision.next_renewal,
        ),
    ):
        families.add(f"shared_{about_what}_timestamp_seconds", about, at, certificate=name)
    _add_failed(families, "shared_failed_attempts", view, certificate=name)


def _add_failed(families: _Families, name: str, view: View, **labels: str) -> None:
    failed = Counter({"look": len(view.decision.problems)})
    for key, failure in view.standing_failures.items():
        if not failure.is_waiting:
            failed[fact_of(key)] += failure.count
    for kind in get_args(Fact):
        about = "Attempts of this kind that failed in a row; 0 after one succeeds."
        families.add(name, about, failed[kind], **labels, kind=kind)


def _add_orders_left(families: _Families, seen: Seen, now: datetime) -> None:
    views = [view for view in seen.views.values() if not view.site.is_local and not view.site.certificate]
    planned = (
        next_order(now, seen.config.cas[0].url, view.site.all_names, view.seen.in_hand, view.remembered)
        for view in views
    )
    about = "Orders that certbotless' own limits allow now."
    for view, left in zip(views, orders_left_for_each(seen.ledger, planned), strict=True):
        if view.site.is_shared:
            families.add("shared_orders_left", about, left, certificate=view.site.domain)
        else:
            families.add("orders_left", about, left, domain=view.site.domain)


def _add_client(families: _Families, view: View, visits: Visits) -> None:
    met = facts_of(view, visits)
    if met is None:
        return
    for check, passed in (("resolved", met.resolved), ("trusted", met.trusted), ("answered", met.answered)):
        about = "1 if the last connection as a client passed this check; absent if it was not tried."
        families.add("client_passed", about, passed, domain=view.site.domain, check=check)
    about = "When certbotless last connected as a client."
    families.add("client_visit_timestamp_seconds", about, met.at, domain=view.site.domain)
