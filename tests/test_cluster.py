"""Who trains together: TF_CONFIG, and the meeting before TensorFlow."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import pytest

from edgekd import cluster
from edgekd.cluster import Cluster, from_environment, of_process, on_this_machine
from edgekd.errors import UserError, WorkerError

TWO = ["10.0.0.1:2222", "10.0.0.2:2222"]


def environment(config: Any) -> dict[str, str]:
    return {"TF_CONFIG": config if isinstance(config, str) else json.dumps(config)}


def test_no_cluster() -> None:
    assert from_environment({}) is None
    assert from_environment(environment("  ")) is None
    assert (
        from_environment(environment({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}})) is None
    )


def test_a_cluster_of_workers() -> None:
    found = from_environment(environment({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": 1}}))
    assert found == Cluster(("10.0.0.1:2222", "10.0.0.2:2222"), 1)
    assert found.title(0) == "worker 1 of 2 (10.0.0.1:2222, the chief)"
    assert found.title(1) == "worker 2 of 2 (10.0.0.2:2222)"


def test_a_chief_is_the_first_worker() -> None:
    jobs = {"worker": TWO, "chief": ["head:9"]}
    found = from_environment(environment({"cluster": jobs, "task": {"type": "worker", "index": 1}}))
    assert found == Cluster(("head:9", *TWO), 2)
    assert from_environment(environment({"cluster": jobs, "task": {"type": "chief", "index": 0}})) == Cluster(
        ("head:9", *TWO), 0
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{cluster", "is not JSON"),
        ("[]", 'has no "cluster"'),
        ({"task": {"type": "worker", "index": 0}}, 'has no "cluster"'),
        ({"cluster": {"ps": ["a:1"], "worker": TWO}}, 'tasks of kind "ps"'),
        ({"cluster": {"worker": "a:1"}}, 'cluster.worker = "a:1": a list'),
        ({"cluster": {"worker": ["a", "b:1"]}}, 'a list of "host:port" is wanted'),
        ({"cluster": {"worker": ["a:70000", "b:1"]}}, 'a list of "host:port" is wanted'),
        ({"cluster": {"worker": TWO}}, "has no task"),
        ({"cluster": {"worker": TWO}, "task": {"type": "chief", "index": 0}}, "has no task of a kind"),
        (
            {"cluster": {"worker": TWO}, "task": {"type": "worker", "index": 2}},
            "task.index = 2: 0 to 1 for 2",
        ),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": -1}}, "task.index = -1"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": "0"}}, 'task.index = "0"'),
        ({"cluster": {"worker": [TWO[0], TWO[0]]}, "task": {"type": "worker", "index": 0}}, "names an address twice"),
        ({"cluster": {"chief": TWO}, "task": {"type": "chief", "index": 0}}, "has 2 chiefs"),
    ],
)
def test_a_wrong_cluster_is_a_message(config: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        from_environment(environment(config))
    assert message in str(error.value)
    assert "TF_CONFIG" in str(error.value)


def test_local_workers_and_a_cluster_at_once() -> None:
    named = environment({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": 0}})
    with pytest.raises(UserError, match="--workers 3 starts local workers, and TF_CONFIG names a cluster of 2"):
        of_process(3, named)
    assert of_process(1, {}) is None
    assert len(of_process(3, {}) or ()) == 3


def test_local_addresses_are_free_and_different() -> None:
    found = on_this_machine(3)
    assert (found.index, found.local, len(set(found.addresses))) == (0, True, 3)
    for address in found.addresses:
        socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))).close()


def meet_all(purposes: list[dict[str, str]], seconds: float = 20.0) -> list[str]:
    """Meet in threads; what became of each worker."""
    addresses = on_this_machine(len(purposes)).addresses
    found = ["nothing"] * len(purposes)

    def run(index: int) -> None:
        try:
            cluster.meet(Cluster(addresses, index), purposes[index], seconds)
            found[index] = "met"
        except WorkerError as error:
            found[index] = str(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(purposes))]
    for thread in reversed(threads):  # the chief comes last: the others wait for it
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join(seconds + 10)
    return found


def test_they_meet() -> None:
    assert meet_all([{"recipe": "a"}] * 3) == ["met"] * 3


def test_another_recipe_is_told_to_everybody() -> None:
    found = meet_all([{"recipe": "a"}, {"recipe": "b"}])
    assert all("comes with another recipe than the chief" in text for text in found)
    assert all(text.startswith("worker 2 of 2") for text in found)


def test_who_does_not_come_is_named() -> None:
    addresses = on_this_machine(3).addresses
    with pytest.raises(WorkerError, match=r"worker 2 of 3 .*, worker 3 of 3 .* did not come within 0.5 seconds"):
        cluster.meet(Cluster(addresses, 0), {}, 0.5)
    with pytest.raises(WorkerError, match=r"worker 1 of 3 .*the chief\) did not come within 0.5 seconds"):
        cluster.meet(Cluster(addresses, 2), {}, 0.5)


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addresses = (f"127.0.0.1:{taken.getsockname()[1]}", "127.0.0.1:1")
        with pytest.raises(WorkerError, match="cannot listen at its port"):
            cluster.meet(Cluster(addresses, 0), {}, 1.0)


def test_a_stranger_at_the_port_does_no_harm() -> None:
    addresses = on_this_machine(2).addresses
    found: list[str] = []

    def chief() -> None:
        cluster.meet(Cluster(addresses, 0), {"recipe": "a"}, 20.0)
        found.append("met")

    thread = threading.Thread(target=chief)
    thread.start()
    port = int(addresses[0].rpartition(":")[2])
    for content in (b"GET / HTTP/1.0\r\n\r\n", b"", b'{"index": 7}\n', b'{"index": true, "purpose": {}}\n'):
        for _ in range(50):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as line:
                    line.sendall(content)
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
    cluster.meet(Cluster(addresses, 1), {"recipe": "a"}, 20.0)
    thread.join(20)
    assert found == ["met"]
