"""Mutants written by hand: mistakes that once went unnoticed; and those that no test can notice, with why."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One text of a module, which is there once, and what stands in its place in the mutant."""

    name: str
    module: str
    old: str
    new: str


HANDMADE: tuple[Change, ...] = (
    Change(
        "D1: a smaller TTL is no reason to write",
        "decide.record",
        "written.ttl_s != ttl_s",
        "written.ttl_s < ttl_s",
    ),
    Change(
        "D4: another tool's pair is adopted beside a copy of ours",
        "decide.decide",
        "has_ours = seen.published.facts is not None or seen.has_copy",
        "has_ours = seen.published.facts is not None",
    ),
    Change(
        "D9: the retry of the canary comes before a later window",
        "decide.deploy",
        " or (step.wait_until is not None and step.wait_until > canary.retry_at)",
        "",
    ),
    Change(
        "D13: a redeploy beside an order",
        "decide.decide",
        "*(redeploy_steps(situation) if not order else ()),",
        "*redeploy_steps(situation),",
    ),
    Change(
        "D17: the published certificate says whether one is ordered, not the one in hand",
        "decide.decide",
        "    facts, origin = seen.in_hand.facts, seen.in_hand.origin\n"
        "    if facts is None or origin is None:\n        if _has",
        "    facts, origin = seen.published.facts, seen.published.origin\n"
        "    if facts is None or origin is None:\n        if _has",
    ),
    Change(
        "D21: the CA is asked for its window while an order is due",
        "decide.decide",
        "*([] if order else _renewal_info_steps(situation))",
        "*_renewal_info_steps(situation)",
    ),
    Change(
        "D25: a redeploy ignores its window",
        "decide.deploy",
        '[_in_window(Step("redeploy", because(Why.REFUSED)), targets[0], situation)]',
        '[Step("redeploy", because(Why.REFUSED))]',
    ),
    Change(
        "R7: the first look at the CA's window comes at a quarter of the life",
        "model.renewal",
        "lifetime / 8",
        "lifetime / 4",
    ),
    Change(
        "R9: a look in exactly a day is one of a wrong clock",
        "model.renewal",
        "now < look_at <= now + _LATEST_LOOK",
        "now < look_at < now + _LATEST_LOOK",
    ),
    Change(
        "C8: what is not global is private",
        "model.records",
        "return ipaddress.ip_address(value).is_private",
        "return not ipaddress.ip_address(value).is_global",
    ),
    Change(
        "L3: a limit lasts until the oldest row passes",
        "model.ledger",
        "until = recent[-self.most] + self.window",
        "until = recent[0] + self.window",
    ),
    Change(
        "L15: orders for new names are counted among those for the same names alone",
        "model.ledger",
        'about = entries if order.purpose == "new" else',
        'about = entries if order.purpose == "none" else',
    ),
    Change(
        "S1: the certificate of another CA is this one's",
        "model.certificate",
        "return self.facts if (self.origin.directory, self.facts.names) == (directory, names) else None",
        "return self.facts if self.facts.names == names else None",
    ),
    Change(
        "S6: what another tool left is gone back to",
        "state.pair",
        '"previous": previous if _stamp_of(previous) else ""',
        '"previous": previous',
    ),
    Change(
        "S8: current may lead anywhere",
        "state.pair",
        'return "" if "/" in target or target in (".", "..") else target',
        "return target",
    ),
    Change(
        "S10: a link is a generation",
        "state.pair",
        "bool(_GENERATION.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()",
        "bool(_GENERATION.fullmatch(path.name)) and path.is_dir()",
    ),
    Change(
        "S11: half a meta.json is whole",
        "state.pair",
        "except (FileNotFoundError, ValueError, RecursionError):\n        return True",
        "except (FileNotFoundError, RecursionError):\n        return True",
    ),
    Change(
        "S13: the folder of a new generation is not synced",
        "state.pair",
        "                files.sync_dir(generation)\n",
        "",
    ),
    Change(
        "S17: tidying may remove the published generation",
        "state.pair",
        " and path.name != self._current_name() and _is_half_written(path)",
        " and _is_half_written(path)",
    ),
    Change(
        "S18: the folder of the generations is not synced",
        "state.pair",
        "                files.sync_dir(self._home)\n",
        "",
    ),
)

# By the name that the sweep prints.
SURVIVORS: dict[str, str] = {
    "decide.decide._mismatch: return because(Why.NO_CERTIFICATE) -> return None": (
        "Equivalent: whoever asks has one."
    ),
    "decide.decide._mismatch: facts is None or origin is None -> origin is None": (
        "Equivalent: they come together."
    ),
    "decide.decide._renewal_info_steps: now >= facts.not_after -> now > facts.not_after": (
        "Equivalent: at its end a certificate is due, and then the CA is not asked."
    ),
    "world.dns.query.ask_each: 2 -> 3": "Only how long a look waits for TCP: no test asks for speed.",
    "world.dns.propagation._Waiting.leave_out_silent: self._asked[s] > 1 -> self._asked[s] >= 1": (
        "Seen only where the first packet to an address is lost, and the address is behind the others."
    ),
    "S13: the folder of a new generation is not synced": (
        "Seen by faults/test_disk.py: test_everything_is_on_disk_before_the_rename_that_makes_it_count."
    ),
    "S18: the folder of the generations is not synced": "As S13.",
    "decide.decide._is_over: "
    "return failure.address not in ('', address_written(step, seen)) -> return None": (
        "Seen by test_port53.py: test_a_new_lan_address_does_not_wait_for_the_retry_time_of_the_one_before."
    ),
    "act.proof.Proof.settle: lock.note_action(began, service.what) -> pass": (
        "Seen by system/test_deploy.py: test_two_sites_that_cannot_be_proved_need_one_signal."
    ),
    "act.record.RecordSteps.confirm: 0 -> 1": "One second of the thirty that nobody is waited for.",
}
