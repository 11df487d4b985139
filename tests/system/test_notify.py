"""A registry that breaks and is mended, as the people hear of it whom the configuration names."""

from support.bed import DOMAIN, Bed, files_below, wait_until
from support.hooks import Hook

FAILED, OVER = f"{DOMAIN}: deploy failed", f"{DOMAIN}: solved: deploy failed"
ISSUED, RENEWED = f"{DOMAIN}: new certificate", f"{DOMAIN}: certificate renewed"


def kept_of(bed: Bed) -> dict[str, tuple[int, int, int]]:
    """Return what changes with every write but that of a visit, which may come a minute after the renewal."""
    files = files_below(bed.state)
    return {path: facts for path, facts in files.items() if path != str(bed.state) and "clients" not in path}


def test_people_hear_once_of_each_change_and_then_nothing(bed: Bed, hook: Hook) -> None:
    """The first certificate, the container gone and back, a renewal; and looks without news send nothing."""
    bed.config |= {"check_every": "1s", "notify": [hook.url]}
    with bed.daemon():
        wait_until(lambda: hook.times(ISSUED) == 1, "the first certificate is told")
        bed.registry.container.remove(force=True, v=True)
        wait_until(lambda: hook.times(FAILED) == 1, "that it is gone is told")
        assert any("fix: " in body for body in hook.bodies)
        bed.registry.create()
        wait_until(lambda: hook.times(OVER) == 1, "that it is back is told")
        bed.ok("--renew-now")
        wait_until(lambda: hook.times(RENEWED) == 1, "the renewal is told")
        asked, told = len(bed.dns.queries), len(hook.bodies)
        wait_until(lambda: len(bed.dns.queries) >= asked + 8, "more looks at two name servers")
        kept = kept_of(bed)
        wait_until(lambda: len(bed.dns.queries) >= asked + 14, "more looks")
        assert kept_of(bed) == kept
        assert len(hook.bodies) == told
    assert [hook.times(line) for line in (ISSUED, FAILED, OVER, RENEWED)] == [1, 1, 1, 1]
