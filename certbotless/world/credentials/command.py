"""A key that a program of this machine prints: one JSON object, on its standard output.

The forms are those of programs that people have: the `aliyun` command (what its mode External reads, and what
its `sts AssumeRole` prints), and `vault read -format=json` of Vault's AliCloud secrets. Of this output only
the key is kept, and nothing is shown. The standard error of the program is shown where it fails.

Source: github.com/aliyun/credentials-go, external.go; Vault, "AliCloud secrets engine".
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import selectors
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ...base import privileges
from ...base.clock import Clock
from ...base.errors import DnsError, DnsUnavailable, KeyRefused, printable, reason_of
from ...base.words import Text
from ...config.redact import Redactor, without_likely_secrets
from .access import Key
from .key_data import key_of, object_in

TIMEOUT_S = 30
MOST_BYTES = 64 * 1024
# Of its standard error: the last bytes that are kept, and the last characters that are shown.
_MOST_WORDS_BYTES, _MOST_WORDS = 4096, 300
# How long the end of a killed program is waited for.
_KILLED_WITHIN_S = 5
# A value in JSON, also of an object that is not whole.
_VALUE = re.compile(r':\s*"([^"]+)"')
# What passes by itself: too many processes or open files, no memory, a program that is just being written.
_PASSES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY)
# How soon the end of a program is seen whose output something else holds open; and how soon a stop is.
_POLL_S, _STOP_LOOK_S = 0.1, 2


def key_from(
    argv: Sequence[str], environment: Mapping[str, str], user: pwd.struct_passwd, clock: Clock
) -> Key:
    """Run a program to its end, without a shell, and return the key that it prints. At most 30 s.

    Args:
        environment: of the program, but for the home and the name of its user.
        user: that it runs as: root may choose, for anybody else it is the own one.

    Raises:
        KeyRefused: it cannot be run.
        DnsUnavailable: it fails, does not end in time, prints something else, or cannot be run just now.
    """
    name = Text("the command {!r}", argv[0])
    hint: str = Text("run it by hand as user {}", user.pw_name)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, **privileges.environment_of(user)},
            start_new_session=True,
            **_rights_of(user),
        )
    except OSError as exc:
        raise _not_run(name, user.pw_name, exc) from exc
    output = _Output(name, process)
    how = output.read(clock)
    found = object_in(bytes(output.printed))
    inner = _key_in(found)
    if found and not how:
        try:
            return key_of(inner, clock.now(), name)
        except DnsUnavailable as exc:
            how, hint = exc.message, exc.hint or hint
    elif not how:
        how = Text("{} printed no JSON object", name)
        if object_in(bytes(output.printed[output.printed.find(b"{") :])):
            how = Text("{} printed something before its JSON object", name)
        hint = Text("{}; all other output belongs on its standard error", hint)
    words = output.words([*found.values(), *inner.values()])
    raise DnsUnavailable(Text("{}: {}", how, words) if words else how, hint=hint)


def _rights_of(user: pwd.struct_passwd) -> dict[str, Any]:
    """Return what makes a child of root that of another user, and nothing where none is needed."""
    if user.pw_uid == os.geteuid():
        return {}
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}


def _not_run(name: str, user: str, exc: OSError) -> DnsError:
    text = Text("{} cannot be run: {}", name, reason_of(exc))
    if exc.errno in _PASSES:
        return DnsUnavailable(text, hint=Text("run it by hand as user {}", user))
    cures = {
        errno.EACCES: Text("let user {} run it: chmod +x, and for the folders above it", user),
        errno.ENOEXEC: Text("let it begin with the line #!/bin/sh, or that of its language"),
    }
    other = Text("correct aliyun.credentials, or give its full path")
    if exc.errno == errno.ENOENT and os.path.exists(str(exc.filename)):
        # The kernel says of the program what is true of the one in its line #!.
        other = Text("its first line names a program that is not there, or ends as lines of Windows do")
    return KeyRefused(text, hint=cures.get(exc.errno or 0, other))


def _key_in(found: Mapping[str, object]) -> Mapping[str, object]:
    """Return the members of the key in the object that was printed."""
    inner = found.get("Credentials") or found.get("data")
    return inner if isinstance(inner, dict) else found


class _Output:
    """What a running program prints and says."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self._name, self._process = name, process
        self.printed, self._said = bytearray(), bytearray()

    def read(self, clock: Clock) -> str:
        """Read until the program has ended; return how that failed, empty where it has not.

        Something that it has left behind may hold its output open: that is not waited for.

        Raises:
            Interrupted: the clock was told to stop.
        """
        try:
            how = self._read(clock)
            return Text("{} {}", self._name, how) if how else ""
        finally:
            if self._process.returncode is None:
                # With all that it started, or each try would leave some more of it. One that sudo has
                # made root's cannot be ended; one that waits for a dead NFS server ends when that is back.
                with suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
                    os.killpg(self._process.pid, signal.SIGKILL)
                    self._process.wait(_KILLED_WITHIN_S)
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()

    def _read(self, clock: Clock) -> str:
        begun_s = looked_s = clock.monotonic()
        with selectors.DefaultSelector() as selector:
            for pipe, kept in ((self._process.stdout, self.printed), (self._process.stderr, self._said)):
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
                    selector.register(pipe, selectors.EVENT_READ, kept)
            while True:
                # Looked at before the pipes: what it has printed is in them by then.
                code = self._process.poll()
                ready = selector.select(_POLL_S if code is None else 0)
                for each, _ in ready:
                    if part := os.read(each.fd, 1 << 16):
                        each.data.extend(part)
                    else:
                        selector.unregister(each.fileobj)
                del self._said[:-_MOST_WORDS_BYTES]
                if len(self.printed) > MOST_BYTES:
                    return Text("printed more than {} KiB", MOST_BYTES // 1024)
                if code is not None and not ready:
                    if code < 0:
                        return Text("was ended by the signal {}", -code)
                    return Text("ended with {}", code) if code else ""
                now_s = clock.monotonic()
                if now_s - begun_s >= TIMEOUT_S:
                    return Text("did not end in {:g} s", TIMEOUT_S)
                if now_s - looked_s >= _STOP_LOOK_S:
                    looked_s = now_s
                    clock.sleep(0)  # raises if we were asked to stop

    def words(self, printed: Iterable[object]) -> str:
        """Return the last words of the program, in one line and without what may be a secret.

        Args:
            printed: values that it has printed. Those of an object that is not whole are found here.
        """
        said = self._said.decode(errors="replace")
        if len(self._said) == _MOST_WORDS_BYTES:
            # The rest of a word that was cut may be half of a secret.
            said = re.sub(r"^\S+", "", said)
        quoted = _VALUE.findall(self.printed.decode(errors="replace"))
        text = Redactor([*quoted, *(value for value in printed if isinstance(value, str))])(said.strip())
        return printable(without_likely_secrets(text)[-_MOST_WORDS:], 4 * _MOST_WORDS)
