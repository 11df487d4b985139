"""A renewal that is due, killed at any moment, and what must be left."""

from datetime import UTC, datetime, timedelta

from certbotless.model.ledger import Entry
from support import strace
from support.bed import Bed
from support.invariants import FOREIGN


def txt_of_ours(bed: Bed) -> list[str]:
    """Return the TXT values in the zone that are not somebody else's."""
    return [r.value for r in bed.dns.records(type="TXT") if (r.rr, r.type, r.value) not in FOREIGN]


def litter(bed: Bed) -> list[str]:
    """Return what is of no use any more: temporary names, half a generation, the key of no order."""
    below = [*bed.certs.rglob("*"), *bed.state.rglob("*")]
    hidden = [path for path in below if path.name.startswith(".") and path.name != ".certbotless"]
    # A root of the local CA is a file, by its digest, which may begin so.
    folders = [path for path in below if path.name[:2] == "20" and path.is_dir()]
    halves = [path for path in folders if not (path / "meta.json").exists()]
    return [str(path) for path in (*hidden, *halves, *bed.state.rglob("*.order.key"))]


def watched(bed: Bed) -> list[strace.Call]:
    """Run to the end, and return all that changed the world."""
    run, calls = strace.watched(bed.command("--once"), bed.home / "watched")
    assert run.code == 0, run.said
    return calls


def evenly(calls: list[strace.Call], count: int | None) -> list[strace.Call]:
    """Return `count` of the calls, spread over all of them; None for all."""
    return calls if count is None else [calls[i * len(calls) // count] for i in range(count)]


def make_due(bed: Bed) -> None:
    """Let the next run renew, because another kind of key is asked for, whatever was ordered before."""
    kinds = {"ec256": "ec384", "ec384": "ec256"}
    bed.config["acme"]["key_type"] = kinds[bed.config["acme"].get("key_type", "ec256")]
    bed.write()
    # So that each run makes the same calls: no authorization is used again, and no order names a predecessor.
    bed.forget_account()
    # A ledger without a row of late would be made of the generations: leave one that is about nobody here,
    # a minute old: the CA tells whole seconds, and a row that is ahead of it is written anew.
    row = Entry(datetime.now(UTC) - timedelta(minutes=1), "account", "https://other.test/directory", ())
    (bed.state / "ledger.jsonl").write_bytes(row.to_line())
