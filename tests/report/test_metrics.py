"""The metrics: each fact of `status` as a number, in a form that Prometheus and its linter take."""

import math
import re
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import sharing
from support.pages import Reading
from support.showing import config_of, remember_visit, views_at
from support.views import FACTS, IN_WINDOW, LISTED, NOTHING, NOW, SITE, failure, on_three, said, site, view

from certbotless import __version__
from certbotless.base.errors import StoreError
from certbotless.config import load
from certbotless.model.decision import Step
from certbotless.model.ledger import Entry
from certbotless.model.memory import Failure
from certbotless.model.view import ClientFacts, View
from certbotless.observe import client_visit
from certbotless.report import metrics
from certbotless.report.status_json import Seen

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
DOMAIN = SITE.domain
SMALLEST = "aliyun: {access_key_id: a, access_key_secret: b}\nsites: [{domain: a.example.com}]\n"


def text_of(*views: View, **fields: Any) -> str:
    """Return the metrics of these views."""
    given = {"visits": {}, "is_looking": True, "is_refused": False, **fields}
    unseen, ledger, well_at = given.pop("unseen", ()), given.pop("ledger", ()), given.pop("well_at", {})
    config = config_of([*views], Path("/state"))
    config = replace(config, sites=(*config.sites, *map(site, unseen)))
    seen = Seen(config, {view.site.domain: view for view in views}, ledger, well_at)
    return metrics.text(seen, now=NOW, **given)


def samples_of(*views: View, **fields: Any) -> Samples:
    """Return each sample by its name, without the part that all have, and its labels."""
    return {
        (sample.name.removeprefix("certbotless_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text_of(*views, **fields))
        for sample in family.samples
    }


def of(samples: Samples, name: str, domain: str = DOMAIN, **labels: str) -> float:
    """Return the value of a sample of a site, which is no number where there is none."""
    return samples.get((name, frozenset({"domain": domain, **labels}.items())), math.nan)


def promtool(*check: str, text: str = "") -> str:
    """Return what Prometheus' own linter says of a text or a file that it takes."""
    command = ["promtool", "check", *check]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def whole(tmp_path: Path) -> str:
    """Every metric that there is, of three sites and a certificate that others share."""
    views = [*views_at(NOW), sharing.unit(), on_three()]
    remember_visit(tmp_path, views[0])
    return text_of(*views, visits=client_visit.remembered(tmp_path), well_at={views[0].site.domain: NOW})


# --- their form ---------------------------------------------------------------------------------------------


@pytest.mark.process
def test_the_linter_of_prometheus_has_nothing_against_them(whole: str) -> None:
    """With every metric that there is; and without any site."""
    for name in ("client_passed", "last_success_timestamp_seconds"):
        assert f"\n# HELP certbotless_{name} " in whole
    assert promtool("metrics", text=whole) == ""
    assert promtool("metrics", text=text_of()) == ""


@pytest.mark.process
def test_a_name_of_others_stays_in_its_label() -> None:
    """A command, or a container, may be called anything; and one that stands twice has one sample."""
    twice = site(deploy='[{command: [say, "a\\"b\\\\c} 1"], port: 443}, {container: web, port: 1}]')
    shown = view(of=replace(twice, deploy=twice.deploy * 2), served={})
    assert promtool("metrics", text=text_of(shown)) == ""
    assert of(samples_of(shown), "served_matches_disk", target=twice.deploy[0].name) == 0


# --- what they say ------------------------------------------------------------------------------------------


def test_the_daemon_tells_of_itself() -> None:
    well, ill = samples_of(view()), samples_of(view(), is_looking=False, is_refused=True)
    for name, of_well, of_ill in (("looks_go_on", 1, 0), ("config_refused", 0, 1)):
        assert (well[name, frozenset()], ill[name, frozenset()]) == (of_well, of_ill)
    assert well["build_info", frozenset({("version", __version__)})] == 1


@pytest.mark.parametrize(
    ("shown", "state", "is_well"),
    [
        (view(), "ok", True),
        (view(Step("order", said("due"))), "pending", True),
        (view(Step("order", said("due")), served={}), "pending", False),
        (view(IN_WINDOW), "pending", True),
        (view(Step("order", said("due")), failures={"order": failure()}), "failing", False),
    ],
)
def test_a_site_is_in_one_state(shown: View, state: str, is_well: bool) -> None:
    found = samples_of(shown)
    for name in ("ok", "pending", "failing"):
        assert of(found, "site_state", state=name) == (name == state)
    assert of(found, "site_well") == is_well


def test_a_site_that_nobody_has_looked_at_yet_is_not_well() -> None:
    """More is not known of it."""
    found = samples_of(view(), unseen=("new.example.com",))
    assert of(found, "site_well", "new.example.com") == 0
    assert [name for name, labels in found if ("domain", "new.example.com") in labels] == ["site_well"]


def test_moments_are_seconds_since_the_epoch() -> None:
    found = samples_of(view(), well_at={DOMAIN: NOW - timedelta(hours=1)})
    moments: dict[str, datetime] = {
        "certificate_not_before_timestamp_seconds": FACTS.not_before,
        "certificate_not_after_timestamp_seconds": FACTS.not_after,
        "next_renewal_timestamp_seconds": NOW + timedelta(days=50),
        "last_look_timestamp_seconds": NOW,
        "last_success_timestamp_seconds": NOW - timedelta(hours=1),
    }
    assert {name: of(found, name) for name in moments} == {n: at.timestamp() for n, at in moments.items()}


def test_what_is_not_known_is_absent() -> None:
    """A 0 would be an expiry in 1970."""
    found = samples_of(view(Step("order", said("none yet")), published=NOTHING, served={}))
    assert not [
        name for name, _ in found if name.startswith(("certificate_", "next_", "client", "last_success"))
    ]


def test_failed_attempts_are_counted_by_the_fact_that_they_were_for() -> None:
    """What only waits for something else has not failed."""
    failures: dict[str, Failure] = {
        "order": failure(count=4),
        "record": failure(count=2),
        "confirm6": failure(count=1),
        "deploy:web": failure(count=3),
        "deploy:registry": failure(count=5, is_waiting=True),
    }
    blind = view(Step("order", said("due")), failures=failures, problems=(failure("no server answers"),))
    found, none = samples_of(blind), samples_of(view())
    counts = {"record": 3, "certificate": 4, "files": 0, "served": 3, "look": 1}
    assert {kind: of(found, "failed_attempts", kind=kind) for kind in counts} == counts
    assert all(of(none, "failed_attempts", kind=kind) == 0 for kind in counts)


def test_each_target_says_whether_it_serves_what_is_on_disk() -> None:
    """One that cannot be proved says nothing."""
    found = samples_of(view(served={"registry": FACTS.sha256, "web": "cd" * 32}))
    assert of(found, "served_matches_disk", target="registry") == 1
    assert of(found, "served_matches_disk", target="web") == 0


def test_each_address_of_a_list_says_whether_it_has_a_record() -> None:
    samples = samples_of(on_three(out=LISTED[:1]))
    assert [of(samples, "address_wanted", address=address) for address in LISTED] == [0, 1, 1]
    assert not any(name == "address_wanted" for name, _ in samples_of(view()))


def test_the_orders_that_are_left_are_those_of_the_doctor() -> None:
    directory = config_of([view()], Path("/state")).cas[0].url
    ledger = [Entry(NOW - timedelta(hours=1), "order", directory, SITE.all_names)] * 2
    assert of(samples_of(view()), "orders_left") == 3
    assert of(samples_of(view(), ledger=ledger), "orders_left") == 1
    assert of(samples_of(view(), ledger=ledger * 2), "orders_left") == 0
    assert of(samples_of(view(), ledger=StoreError("it cannot be read")), "orders_left") == 0


def test_what_a_client_met_is_told_as_far_as_it_came(tmp_path: Path) -> None:
    shown = view()
    met = remember_visit(tmp_path, shown)
    found = samples_of(shown, visits=client_visit.remembered(tmp_path))
    for check in ("resolved", "trusted", "answered"):
        assert of(found, "client_passed", check=check) == 1
    assert of(found, "client_visit_timestamp_seconds") == met.at.timestamp()
    refused = ClientFacts(met.at, True, False, None, "", met.about)
    found = samples_of(shown, visits={DOMAIN: refused})
    assert of(found, "client_passed", check="trusted") == 0
    assert math.isnan(of(found, "client_passed", check="answered"))


# --- what is told of them -----------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "status-page.md").read_text()


def test_the_page_has_a_row_for_each_metric_with_its_labels(whole: str) -> None:
    """And none for another one."""
    found = {
        family.name.removeprefix("certbotless_"): set[str]().union(*(each.labels for each in family.samples))
        for family in text_string_to_metric_families(whole)
    }
    rows = re.findall(r"(?m)^\| `(\w+)` \| (.*?) ?\|", PAGE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == found


@pytest.mark.process
@pytest.mark.page("docs/status-page.md", "scrape", "alerts")
def test_prometheus_takes_the_rules_and_the_configuration_of_the_page(tmp_path: Path, paper: Reading) -> None:
    """Each metric that a rule asks for is one of ours."""
    for name, check in {"scrape": "config", "alerts": "rules"}.items():
        text = paper.text("docs/status-page.md", name)
        (tmp_path / "prometheus.yml").write_text(text)
        assert "WARNING" not in promtool(check, str(tmp_path / "prometheus.yml"))
        assert all(f"| `{name}` |" in PAGE for name in re.findall(r"certbotless_(\w+)", text))


def test_the_configuration_of_the_page_opens_it() -> None:
    block = re.findall(r"```yaml\n(http:.*?)```", PAGE, re.DOTALL)[0]
    found = load.parse(f"{SMALLEST}{block}".encode(), "c.yaml")
    assert found.http is not None
    assert found.http.listen == "127.0.0.1:9109"
