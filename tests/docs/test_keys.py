"""Every key of the configuration changes what the program does, and a test says so by name.

`PROOFS` is the register: a key that is not in it fails here, as does an entry without its key or its test.
The tests that stand in this file are of keys whose effect no other test shows from the file on.
"""

import ast
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from support.fakes import FakeZone
from support.scenes import ZONE, Scene
from support.scripted_ca import ScriptedCa

from certbotless.act.run import run
from certbotless.base.errors import DnsRefused
from certbotless.model.decision import Intent
from tools.docs import schema

TESTS = Path(__file__).resolve().parents[1]

# Key -> file and name of a test that fails if the program ignores the key.
PROOFS = {
    "acme.directory": "faults/test_accounts.py::test_each_ca_has_an_account_of_its_own_and_is_known_again",
    "acme.email": "docs/test_keys.py::test_the_ca_is_told_where_to_write_and_which_profile_is_ordered",
    "acme.ca_bundle": "system/test_acme.py::test_a_registry_serves_leafs_of_every_kind_of_key",
    "acme.eab.kid": "system/test_acme.py::test_a_ca_that_binds_accounts_is_told_who_we_are",
    "acme.eab.hmac_key": "system/test_acme.py::test_a_ca_that_binds_accounts_is_told_who_we_are",
    "acme.profile": "docs/test_keys.py::test_the_ca_is_told_where_to_write_and_which_profile_is_ordered",
    "acme.key_type": "system/test_acme.py::test_a_registry_serves_leafs_of_every_kind_of_key",
    "aliyun.access_key_id": "system/test_doctor.py::"
    "test_each_breakage_is_named_with_its_cure_and_nothing_else",
    "aliyun.access_key_secret": "faults/test_api.py::"
    "test_a_key_that_may_not_costs_no_order_and_a_corrected_one_is_tried_at_once",
    "aliyun.security_token": "system/test_access.py::"
    "test_a_temporary_key_does_all_of_the_chain_as_soon_as_its_token_is_right",
    "aliyun.credentials": "system/test_credentials.py::test_a_program_gives_one_key_for_a_whole_run",
    "aliyun.role": "system/test_credentials.py::"
    "test_a_role_is_assumed_for_the_zones_of_the_file_and_that_of_a_delegation",
    "aliyun.external_id": "system/test_credentials.py::"
    "test_a_role_is_assumed_for_the_zones_of_the_file_and_that_of_a_delegation",
    "aliyun.sts_endpoint": "system/test_credentials.py::"
    "test_a_role_is_assumed_for_the_zones_of_the_file_and_that_of_a_delegation",
    "aliyun.endpoint": "system/test_access.py::"
    "test_a_temporary_key_does_all_of_the_chain_as_soon_as_its_token_is_right",
    "aliyun.ca_bundle": "system/test_access.py::"
    "test_a_temporary_key_does_all_of_the_chain_as_soon_as_its_token_is_right",
    "dns.nameservers": "faults/test_dns.py::"
    "test_a_value_that_shows_here_and_not_where_the_ca_looks_is_told_with_a_hint",
    "dns.propagation_timeout": "faults/test_dns.py::"
    "test_where_port_53_leads_to_somebody_else_the_challenge_is_answered_all_the_same",
    "docker.host": "faults/test_docker.py::test_an_engine_that_is_away_costs_no_order_and_is_waited_for",
    "http.listen": "service/test_http_paths.py::test_the_page_follows_the_file",
    "certs_dir": "docs/test_keys.py::test_a_pair_counts_where_the_file_wants_it",
    "state_dir": "cli/test_main.py::test_a_running_daemon_is_known_by_its_lock",
    "check_every": "system/test_daemon.py::"
    "test_what_others_break_is_put_right_by_the_next_look_without_an_order",
    "parallel": "docs/test_keys.py::test_as_many_sites_talk_at_a_time_as_the_file_allows",
    "key_mode": "faults/test_disk.py::test_a_key_is_never_open_to_more_than_its_mode_says",
    "notify": "notify/test_notify.py::test_a_run_tells_what_is_amiss_at_once_and_only_once",
    "language": "base/test_words.py::test_a_file_that_is_loaded_has_its_language_spoken",
    "sites[].domain": "system/test_chain.py::"
    "test_an_untrusted_registry_becomes_one_that_every_client_trusts_and_stays_so",
    "sites[].names": "system/test_chain.py::test_a_wildcard_and_its_base_are_proved_together",
    "sites[].zone": "system/test_bad_input.py::"
    "test_an_unknown_zone_and_a_name_in_none_say_so_before_any_order",
    "sites[].address": "system/test_recovery.py::test_an_edit_is_in_the_record_while_dns_is_still_waited_for",
    "sites[].address6": "faults/test_lan.py::test_the_aaaa_record_is_kept_as_the_a_record_is",
    "sites[].ttl": "system/test_chain.py::test_every_name_gets_its_record_where_all_are_wanted",
    "sites[].records": "system/test_chain.py::test_every_name_gets_its_record_where_all_are_wanted",
    "sites[].certs_dir": "docs/test_keys.py::test_a_pair_counts_where_the_file_wants_it",
    "sites[].ca": "system/test_local_ca.py::"
    "test_a_file_without_an_account_makes_a_ca_and_its_service_is_trusted",
    "sites[].certificate": "system/test_shared.py::"
    "test_one_order_serves_all_sites_and_shows_none_of_their_names",
    "sites[].with_address": "system/test_local_ca.py::"
    "test_a_file_without_an_account_makes_a_ca_and_its_service_is_trusted",
    "local_ca.permit": "system/test_local_ca.py::test_the_keys_of_the_ca_have_their_effect",
    "local_ca.lifetime": "system/test_local_ca.py::test_the_keys_of_the_ca_have_their_effect",
    "local_ca.share": "system/test_root_share.py::"
    "test_a_client_that_types_what_the_page_says_trusts_the_service",
    "local_ca.key_type": "system/test_local_ca.py::test_the_keys_of_the_ca_have_their_effect",
    "sites[].deploy[].container": "act/test_failures.py::"
    "test_an_absent_container_that_keeps_an_order_from_being_placed_is_told_as_its_own",
    "sites[].deploy[].label": "system/test_deploy.py::test_a_label_means_every_container_that_has_it",
    "sites[].deploy[].command": "system/test_deploy.py::test_a_command_reloads_a_service_of_the_machine",
    "sites[].deploy[].action": "act/test_deploy.py::test_a_signal_is_no_restart",
    "sites[].deploy[].port": "act/test_deploy.py::test_a_service_may_be_proved_elsewhere",
    "sites[].deploy[].when": "system/test_deploy.py::test_a_window_is_waited_for_but_not_beyond_the_deadline",
    "sites[].deploy[].stop_timeout": "act/test_deploy.py::"
    "test_a_restart_gives_the_container_its_time_to_stop_and_is_proved",
    "sites[].deploy[].service": "system/test_swarm.py::"
    "test_no_roll_shows_a_foreign_certificate_or_another_key",
    "sites[].deploy[].secrets.cert": "act/test_service.py::test_the_files_of_a_service_may_have_other_names",
    "sites[].deploy[].secrets.key": "act/test_service.py::test_the_files_of_a_service_may_have_other_names",
    "sites[].deploy[].timeout": "act/test_deploy.py::test_a_command_that_hangs_is_ended_with_what_it_said",
}


# --- the register -------------------------------------------------------------------------------------------


def keys_of_the_model() -> set[str]:
    """Return the path of every key that has a value of its own, not one of a section."""
    paths = {path for path, _, _ in schema.all_keys()}
    return {
        path for path in paths if not any(other.startswith((f"{path}.", f"{path}[].")) for other in paths)
    }


def test_every_key_has_a_test_that_names_it() -> None:
    assert PROOFS.keys() == keys_of_the_model()


@pytest.mark.parametrize("key", PROOFS)
def test_every_test_that_is_named_is_there_and_names_the_key(key: str) -> None:
    """By its last word, in the test itself or in what its file prepares for it."""
    file, _, name = PROOFS[key].partition("::")
    text = (TESTS / file).read_text()
    functions = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    assert name in functions
    word = key.rpartition(".")[2]
    beside = (TESTS / "support" / "bed.py").read_text() if file.startswith("system/") else ""
    assert word in text + beside


# --- what no other test shows from the file on --------------------------------------------------------------


def test_the_ca_is_told_where_to_write_and_which_profile_is_ordered(scene: Scene) -> None:
    with ScriptedCa(scene.zone) as ca:
        ca.meta = {"profiles": {"classic": "https://ca.test/classic"}}
        scene.settings = {"acme": {"email": "you@example.com", "profile": "classic"}}
        config = scene.config
        # The file takes an https:// URL alone.
        config = replace(config, acme=(replace(config.cas[0], directory=ca.directory),))
        run(config, config.sites, scene.edges(), Intent())
    assert ca.sent["account"]["contact"] == ["mailto:you@example.com"]
    assert ca.sent["order"]["profile"] == "classic"


def test_a_pair_counts_where_the_file_wants_it(scene: Scene, tmp_path: Path) -> None:
    """The site's own certs_dir comes before that of the file."""
    scene.publish()
    assert scene.look().seen.published.facts is not None
    scene.settings = {"certs_dir": str(tmp_path / "elsewhere")}
    assert scene.look().seen.published.facts is None
    scene.keys["certs_dir"] = str(scene.certs_dir)
    assert scene.look().seen.published.facts is not None


class CrowdedZones:
    """An account that answers slowly enough for all who may ask at a time to be there together."""

    def __init__(self, expected: int) -> None:
        self.most = 0
        self._inside = 0
        self._expected = expected
        self._changed = threading.Condition()

    def find(self, fqdn: str) -> str:
        raise AssertionError("the zone is in the file")

    def prove(self, zones: Iterable[str]) -> None:
        """The key is there."""

    def open(self, name: str) -> FakeZone:
        with self._changed:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= self._expected, timeout=60)
            # One too many would come now.
            self._changed.wait_for(lambda: self.most > self._expected, timeout=0.1)
            self._inside -= 1
        raise DnsRefused(f"the zone {name!r} is closed")


@pytest.mark.parametrize("parallel", [1, 3])
def test_as_many_sites_talk_at_a_time_as_the_file_allows(scene: Scene, parallel: int) -> None:
    scene.domains = [f"box{number}.{ZONE}" for number in range(5)]
    scene.keys, scene.settings = {"deploy": []}, {"parallel": parallel}
    for domain in scene.domains:
        scene.publish(domain=domain)
    zones = CrowdedZones(parallel)
    scene.zones = lambda _: zones
    assert [outcome.state for outcome in scene.run_all()] == ["failing"] * 5
    assert zones.most == parallel
