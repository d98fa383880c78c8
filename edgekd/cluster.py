"""The processes that train together: who they are, and how they find each other before TensorFlow connects them.

TensorFlow waits for missing peers for an hour and then ends the process, so that they meet here first: each worker
calls at the chief's address and says what it is about to build; the chief lets them go when all are there and agree.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgekd.errors import UserError, WorkerError

VARIABLE = "TF_CONFIG"
SECONDS_TO_MEET = 600.0
_WANTED = '{"cluster": {"worker": ["host:port", "host:port"]}, "task": {"type": "worker", "index": 0}}'
_LONGEST_LINE = 4096


@dataclass(frozen=True)
class Cluster:
    """Workers by their addresses, ``host:port``; the first is the chief, and ``index`` is this process.

    ``local`` says that all run on this machine, started by the chief.
    """

    addresses: tuple[str, ...]
    index: int
    local: bool = False

    def __len__(self) -> int:
        return len(self.addresses)

    def title(self, index: int) -> str:
        """What messages call a worker, counted from 1."""
        chief = ", the chief" if index == 0 else ""
        return f"worker {index + 1} of {len(self)} ({self.addresses[index]}{chief})"


def from_environment(environment: Mapping[str, str]) -> Cluster | None:
    """Read ``TF_CONFIG``; None where it is not set, or names one worker alone.

    A task ``chief`` counts as the first worker.

    Raises:
        UserError: not JSON, no cluster, a task of another kind, an index out of range, an address without a port.
    """
    text = environment.get(VARIABLE, "")
    if not text.strip():
        return None
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _wrong(f"is not JSON ({error})") from None
    jobs = config.get("cluster") if isinstance(config, dict) else None
    if not isinstance(jobs, dict) or not jobs:
        raise _wrong('has no "cluster"')
    if others := sorted(set(jobs) - {"chief", "worker"}):
        raise _wrong(f'has tasks of kind "{others[0]}" in its cluster; only "worker" and "chief" train')
    for kind, addresses in jobs.items():
        if not isinstance(addresses, list) or not all(_is_address(address) for address in addresses):
            raise _wrong(f'cluster.{kind} = {json.dumps(addresses)}: a list of "host:port" is wanted')
    task = config.get("task")
    if not isinstance(task, dict) or task.get("type") not in jobs:
        raise _wrong(f"has no task of a kind in its cluster ({', '.join(sorted(jobs))})")
    kind, index = task["type"], task.get("index", 0)
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(jobs[kind]):
        raise _wrong(f"task.index = {json.dumps(index)}: 0 to {len(jobs[kind]) - 1} for {len(jobs[kind])} of {kind}")
    chiefs = jobs.get("chief", [])
    if len(chiefs) > 1:
        raise _wrong(f"has {len(chiefs)} chiefs; at most one is wanted")
    addresses = (*chiefs, *jobs.get("worker", []))
    if len(set(addresses)) < len(addresses):
        raise _wrong("names an address twice")
    return Cluster(addresses, index + (len(chiefs) if kind == "worker" else 0)) if len(addresses) > 1 else None


def on_this_machine(count: int) -> Cluster:
    """``count`` workers at free loopback ports, this process the chief."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return Cluster(tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in sockets), 0, local=True)
    finally:
        for one in sockets:
            one.close()


def meet(
    cluster: Cluster,
    purpose: Mapping[str, str],
    seconds: float = SECONDS_TO_MEET,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Return when all workers are there and are about to do the same.

    Args:
        cluster: whom to wait for.
        purpose: what this worker is about to do, by words for a message: all have to have the same.
        seconds: longest time to wait.
        check: called now and then while waiting; may raise.

    Raises:
        WorkerError: somebody did not come in time, or comes with another purpose; an address that is not ours.
    """
    deadline = time.monotonic() + seconds
    if cluster.index == 0:
        _receive(cluster, purpose, deadline, seconds, check)
    else:
        _call(cluster, purpose, deadline, seconds, check)


def _receive(
    cluster: Cluster, purpose: Mapping[str, str], deadline: float, seconds: float, check: Callable[[], None]
) -> None:
    host, port = _split(cluster.addresses[0])
    try:
        door = socket.create_server(("127.0.0.1" if _is_loopback(host) else "", port))
    except OSError as error:
        raise WorkerError(
            f"{cluster.title(0)} cannot listen at its port ({error.strerror or error}); free it, or name another one"
        ) from None
    came: dict[int, socket.socket] = {}
    try:
        door.settimeout(0.2)
        while len(came) < len(cluster) - 1:
            check()
            if time.monotonic() > deadline:
                missing = [cluster.title(index) for index in range(1, len(cluster)) if index not in came]
                raise _late(", ".join(missing), seconds)
            try:
                guest, _ = door.accept()
            except TimeoutError:
                continue
            said = _read(guest)
            index = said.get("index")
            if type(index) is not int or not 0 < index < len(cluster) or "purpose" not in said:
                guest.close()  # somebody else at our port
                continue
            if index in came:
                came[index].close()  # it was started again
            came[index] = guest
            if unlike := _unlike(purpose, said.get("purpose")):
                raise WorkerError(f"{cluster.title(index)} {unlike}; give all workers the same recipe, data and edgekd")
        for guest in came.values():
            _write(guest, {"go": True})
    except WorkerError as error:
        for guest in came.values():
            _write(guest, {"error": str(error)})
        raise
    finally:
        for guest in came.values():
            guest.close()
        door.close()


def _call(
    cluster: Cluster, purpose: Mapping[str, str], deadline: float, seconds: float, check: Callable[[], None]
) -> None:
    address = _split(cluster.addresses[0])
    while True:
        check()
        left = deadline - time.monotonic()
        if left <= 0:
            raise _late(cluster.title(0), seconds)
        try:
            with socket.create_connection(address, timeout=min(left, 5.0)) as line:
                _write(line, {"index": cluster.index, "purpose": dict(purpose)})
                answer = _read(line, left)
        except OSError:
            answer = {}
        if "error" in answer:
            raise WorkerError(str(answer["error"]))
        if answer.get("go"):
            return
        time.sleep(0.2)  # it is not there yet, or was started again


def _unlike(ours: Mapping[str, str], theirs: Any) -> str:
    theirs = theirs if isinstance(theirs, dict) else {}
    for name, value in ours.items():
        if theirs.get(name) != value:
            return f"comes with another {name} than the chief"
    return ""


def _write(line: socket.socket, message: Mapping[str, Any]) -> None:
    try:
        line.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        return  # it has gone; who waits for it will say so


def _read(line: socket.socket, seconds: float = 5.0) -> dict[str, Any]:
    """One line of JSON from a peer; empty where nothing sensible came."""
    content = b""
    try:
        line.settimeout(seconds)
        while not content.endswith(b"\n") and len(content) < _LONGEST_LINE:
            part = line.recv(_LONGEST_LINE)
            if not part:
                break
            content += part
        found = json.loads(content)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _late(who: str, seconds: float) -> WorkerError:
    return WorkerError(
        f"{who} did not come within {seconds:g} seconds; start all workers, and look at the addresses in {VARIABLE} "
        "and at firewalls. Nothing was trained, and nothing is lost"
    )


def _wrong(problem: str) -> UserError:
    return UserError(f"the environment's {VARIABLE} {problem}; like {_WANTED}, or unset it")


def _is_address(text: object) -> bool:
    if not isinstance(text, str):
        return False
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 65536


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.")


def of_process(num_workers: int, environment: Mapping[str, str] | None = None) -> Cluster | None:
    """The cluster of a command that was asked for ``num_workers`` local workers; None where it works alone.

    Raises:
        UserError: as :func:`from_environment`; workers asked for in both ways.
    """
    found = from_environment(os.environ if environment is None else environment)
    if num_workers == 1:
        return found
    if found is not None:
        raise UserError(
            f"--workers {num_workers} starts local workers, and {VARIABLE} names a cluster of {len(found)}; "
            "leave one of the two out"
        )
    return on_this_machine(num_workers)
