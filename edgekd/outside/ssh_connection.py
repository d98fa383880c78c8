"""Run a program of ours on another machine through the system's ``ssh``.

The user's own ``~/.ssh/config`` holds: keys, ports, jump hosts, names. The program goes there as text and is run by
that machine's python3; what it is fed is bytes, and what it answers is JSON of bounded length.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.errors import BenchmarkError, MissingRequirementError, UserError
from edgekd.outside.bounded import run_bounded
from edgekd.outside.device import text
from edgekd.units import format_bytes

CONNECT_SECONDS = 10
MAX_ANSWER_BYTES = 256 << 20
# Takes a program by its length from stdin and runs it: nothing of it goes through the remote shell.
BOOT = 'import sys; f = sys.stdin.buffer; exec(compile(f.read(int(f.readline())), "edgekd", "exec"))'

_ADDRESS = re.compile(
    r"(?:(?P<user>\w[\w.-]*)@)?(?P<host>\w[\w.-]*|\[[0-9A-Fa-f:.]+(?:%\w+)?\])(?::(?P<port>\d{1,5}))?"
)
# What ssh says (OpenSSH), what it means, what to do ({1} logs in, {2} leaves a key). The first that fits counts.
_REFUSALS = (
    (
        r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is unknown or has changed; run `{1}` once by hand and check the key",
    ),
    (
        r"Permission denied",
        "it lets nobody in without a password; run `{2}`, or name a key for it in ~/.ssh/config",
    ),
    (r"Could not resolve hostname", "there is no host of that name"),
    (r"Connection refused", "nothing listens there; is sshd running, and the port right?"),
    (r"timed out|No route to host|unreachable", "it cannot be reached; is it on, and in this network?"),
    (r"[Cc]onfiguration option|Can't open user config file|Bad owner or permissions", "ssh refuses its configuration"),
)


@dataclass(frozen=True)
class SshHost:
    """A machine that ssh reaches.

    Attributes:
        destination: ``user@host`` or ``host``.
        port: None leaves it to ``~/.ssh/config``.
        python: its interpreter; a relative path starts at the login folder.
        config: file for ``ssh -F``; None is the user's own.
    """

    destination: str
    port: int | None = None
    python: str = "python3"
    config: Path | None = None


def parse_address(address: str, *, python: str = "python3", config: Path | None = None) -> SshHost:
    """Read ``user@host``, ``host`` or ``user@host:port``; an IPv6 address stands in brackets.

    Raises:
        UserError: anything else, in particular what ssh would take for an option.
    """
    found = _ADDRESS.fullmatch(address)
    port = int(found["port"]) if found and found["port"] else None
    if not found or (port is not None and not 1 <= port <= 65535):
        raise UserError(f'--device "ssh:{text(address)}": an address is ssh:HOST, ssh:USER@HOST or ssh:USER@HOST:PORT')
    host = found["host"].strip("[]")
    if not python or python.startswith("-"):
        raise UserError(f'--device-python "{text(python)}": the path of a python3 on the device is wanted')
    return SshHost(f"{found['user']}@{host}" if found["user"] else host, port, python, config)


def command_line(host: SshHost, remote: Sequence[str]) -> list[str]:
    """The ssh command that runs ``remote``, every word of it quoted for the shell over there.

    Raises:
        MissingRequirementError: there is no ssh.
    """
    ssh = shutil.which("ssh")
    if ssh is None:
        raise MissingRequirementError(
            "--device ssh:... needs the ssh program; install it (Debian: apt install openssh-client)"
        )
    options = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
    options += ["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"]
    options += ["-F", str(host.config)] if host.config else []
    options += ["-p", str(host.port)] if host.port else []
    return [ssh, *options, "--", host.destination, shlex.join(remote)]


def run_program(host: SshHost, program: str, payload: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """Run one of our programs over there: it gets the payload on stdin and answers with one line of JSON.

    Raises:
        MissingRequirementError: no ssh here, no python3 there.
        BenchmarkError: the machine cannot be reached or refuses us; no answer in time, or none that can be read.
    """
    source = program.encode()
    ended = run_bounded(
        command_line(host, [host.python, "-c", BOOT]),
        seconds=seconds,
        max_bytes=MAX_ANSWER_BYTES,
        payload=[f"{len(source)}\n".encode(), source, *payload],
    )
    if ended.expired:
        raise BenchmarkError(f"{host.destination} did not answer within {seconds:g} s; lower --runs or --processes")
    if ended.overflowed:
        raise BenchmarkError(f"{host.destination} answered with more than {format_bytes(MAX_ANSWER_BYTES)}")
    if ended.code:
        raise _refusal(host, ended.code, ended.errors)
    try:
        document: dict[str, Any] = json.loads(ended.output.splitlines()[-1])
        if not isinstance(document, dict):
            raise ValueError
    except (ValueError, IndexError, RecursionError):
        raise BenchmarkError(
            f"{host.destination} answered something that is no JSON; does its shell print a greeting?"
        ) from None
    return document


def _refusal(host: SshHost, code: int, said: str) -> Exception:
    """What an exit code and the last words of ssh, or of the shell over there, mean."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = text(lines[-1]) if lines else f"exit code {code}"
    port = f"-p {host.port} " if host.port else ""
    remedies = (host.destination, f"ssh {port}{host.destination}", f"ssh-copy-id {port}{host.destination}")
    if code == 255:
        for pattern, meaning in _REFUSALS:
            if re.search(pattern, said):
                return BenchmarkError(f"{host.destination}: {meaning.format(*remedies)} (it says: {last})")
        return BenchmarkError(f"{host.destination}: the connection failed (it says: {last})")
    if code in (126, 127):
        return MissingRequirementError(
            f'{host.destination} has no "{host.python}" that can be run; install python3 '
            f"(Debian: apt install python3 python3-venv), or name it with --device-python"
        )
    return BenchmarkError(f"{host.destination}: the program over there ended with {code}: {last}")
