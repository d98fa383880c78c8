"""Measuring through ssh: end to end against an sshd of our own on this machine, and what can be missing."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffer_models import dense_file
from test_architecture import reached

from edgekd import target
from edgekd.errors import BenchmarkError, MissingRequirementError, UserError
from edgekd.outside import device, far_probe, far_side, ssh
from edgekd.outside.bounded import run_bounded
from edgekd.outside.session import Session
from edgekd.outside.shipped import modules_of
from edgekd.outside.ssh_connection import SshHost, command_line, parse_address, run_program

QUICK = Session(num_processes=2, num_runs=10, warmup_runs=2)
HOST = target.load("host-as-phone-1t")


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for name, width in (("small", 8), ("large", 512)):
        found[name] = tmp_path / f"{name}.tflite"
        found[name].write_bytes(dense_file(np.random.default_rng(0).normal(size=(width, width))))
    return found


# An sshd of our own


@dataclass(frozen=True)
class Server:
    """A running sshd: how it is reached, and where programs over there lay down temporary files."""

    host: SshHost
    folder: Path
    temporary: Path

    def script(self, name: str, text: str) -> str:
        """A program over there."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    sshd, keygen, client = (
        shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for name in ("sshd", "ssh-keygen", "ssh")
    )
    if not (sshd and keygen and client):
        pytest.skip("needs sshd, ssh and ssh-keygen (Debian: apt install openssh-server openssh-client)")
    folder = tmp_path_factory.mktemp("sshd")
    (temporary := folder / "temporary").mkdir()
    for name in ("host", "user", "stranger"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # privilege separation; a service manager makes it otherwise
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"SetEnv TMPDIR={temporary}\n"
    )
    key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known").write_text(f"[127.0.0.1]:{port} {key}\n")
    (folder / "config").write_text(
        f"Host *\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n"
        f"  UserKnownHostsFile {folder}/known\n  GlobalKnownHostsFile none\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    try:
        for _ in range(100):
            if b"Server listening" in (folder / "log").read_bytes() or process.poll() is not None:
                break
            time.sleep(0.1)
        if process.poll() is not None:
            pytest.skip(f"sshd does not run here: {(folder / 'log').read_text().strip()}")
        host = parse_address(f"{getpass.getuser()}@127.0.0.1:{port}", python=sys.executable, config=folder / "config")
        yield Server(host, folder, temporary)
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_models_are_measured_and_nothing_is_left(server: Server, models: dict[str, Path]) -> None:
    report = ssh.measure(server.host, models, QUICK, HOST)
    assert list(report.models) == ["small", "large"]
    for row in report.models.values():
        assert (row["figures"], row["kernel"], row["num_threads"]) == ("measured", "xnnpack", 1)
        assert (row["num_runs"], row["num_processes"]) == (20, 2)
        assert 0 < row["p50_ms"] < 1000
        assert row["target"] == f"ssh:{server.host.destination}"
        assert row["peak_rss_bytes"] > 2**20
    (ratio,) = report.ratios  # 4,096 times the products; a call costs the small one most
    assert (ratio["model"], ratio["baseline"]) == ("large", "small")
    assert ratio["ratio"] > 2
    assert report.machine["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report.machine["cores"] == os.cpu_count()
    assert report.machine["litert"]
    assert f"{os.cpu_count()} cores" in report.summary
    assert f"ai-edge-litert {report.machine['litert']}" in report.summary
    assert "small was timed on made-up input" in report.warnings
    assert list(server.temporary.iterdir()) == []
    json.dumps(report.as_json())


def test_model_that_crashes_is_named(server: Server, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    kill = b"import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    monkeypatch.setattr(ssh, "modules_of", lambda name: {**modules_of(name), "edgekd/measure.py": kill})
    with pytest.raises(BenchmarkError, match=r'model "\w+" crashed the interpreter on .*SIGSEGV'):
        ssh.measure(server.host, models, QUICK, HOST)
    assert list(server.temporary.iterdir()) == []


def answer(**fields: Any) -> str:
    """A shell script that answers the probe, whatever it is asked."""
    known = {
        "python": "3.11.2",
        "machine": "aarch64",
        "missing": [],
        "litert": "2.3.0",
        "free_bytes": 1 << 40,
        "folder": "/tmp",
        "system": "Linux",
        "cores": 4,
        "load": 0.0,
        "cpu": "Cortex-A76",
        "board": "Raspberry Pi 5 Model B Rev 1.0",
    }
    return f"echo {shlex.quote(json.dumps({**known, **fields}))}"


@pytest.mark.parametrize(
    ("script", "error", "said"),
    [
        (None, MissingRequirementError, r'has no ".*/absent" that can be run; install python3 .*--device-python'),
        (answer(python="3.9.2"), MissingRequirementError, r"has Python 3\.9\.2; 3\.11 or newer is needed"),
        (answer(python=None), MissingRequirementError, "has Python of no version"),
        (
            answer(missing=["numpy", "ai_edge_litert"]),
            MissingRequirementError,
            r"lacks numpy ai-edge-litert; run there: .* -m pip install numpy ai-edge-litert",
        ),
        (answer(free_bytes=10), MissingRequirementError, r"has 10 B left in /tmp; .* MiB are needed"),
        (answer(cores="many"), BenchmarkError, "answered cores = many; a number is wanted"),
        (answer(missing="none"), BenchmarkError, "did not say which packages"),
        ("echo hello", BenchmarkError, "answered something that is no JSON"),
        ("echo '[1]'", BenchmarkError, "answered something that is no JSON"),
        ("echo '[' | head -c 1; exit 3", BenchmarkError, "the program over there ended with 3"),
        ("yes '[' | tr -d '\\n' | head -c 100000; echo", BenchmarkError, "no JSON"),
        (answer(), BenchmarkError, "did not answer for every process"),
    ],
)
def test_what_is_missing_there_is_told(
    script: str | None, error: type[Exception], said: str, server: Server, models: dict[str, Path]
) -> None:
    python = server.script("python", script) if script else str(server.folder / "absent")
    with pytest.raises(error, match=said):
        ssh.measure(replace(server.host, python=python), models, QUICK, HOST)


def test_python_without_packages_says_so_itself(server: Server, models: dict[str, Path]) -> None:
    python = server.script("bare", f'exec {shlex.quote(sys.executable)} -I -S "$@"')
    with pytest.raises(MissingRequirementError, match="lacks numpy ai-edge-litert"):
        ssh.measure(replace(server.host, python=python), models, QUICK, HOST)


def test_host_that_does_not_answer_is_given_up(server: Server) -> None:
    with pytest.raises(BenchmarkError, match=r"did not answer within 3 s"):
        run_program(server.host, "import time; time.sleep(60)", [], 3)


def test_output_without_end_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.outside.ssh_connection.MAX_ANSWER_BYTES", 1000)
    with pytest.raises(BenchmarkError, match="answered with more than 1000 B"):
        run_program(server.host, "while True: print('x' * 1000)", [], 60)


def test_stranger_unknown_key_and_closed_port_are_told(server: Server, models: dict[str, Path]) -> None:
    config = (server.folder / "config").read_text()

    def refused(name: str, text: str, host: SshHost = server.host) -> str:
        path = server.folder / name
        path.write_text(text)
        with pytest.raises(BenchmarkError) as caught:
            ssh.measure(replace(host, config=path), models, QUICK, HOST)
        return str(caught.value)

    stranger = refused("stranger_config", config.replace(f"{server.folder}/user", f"{server.folder}/stranger"))
    assert (
        f"lets nobody in without a password; run `ssh-copy-id -p {server.host.port} {server.host.destination}`"
        in stranger
    )
    unknown = refused("unknown_config", config.replace(f"{server.folder}/known", f"{server.folder}/nothing"))
    assert f"its host key is unknown or has changed; run `ssh -p {server.host.port} " in unknown
    assert "ssh refuses its configuration" in refused("bad_config", "Nonsense yes\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = refused("closed_config", config, replace(server.host, port=free.getsockname()[1]))
    assert "nothing listens there" in closed
    nowhere = refused("nowhere_config", config, replace(server.host, destination="somebody@nowhere.invalid"))
    assert "there is no host of that name" in nowhere


# Words and addresses


@pytest.mark.parametrize(
    ("address", "destination", "port"),
    [
        ("pi@raspberrypi.local", "pi@raspberrypi.local", None),
        ("raspberrypi", "raspberrypi", None),
        ("pi@10.0.0.7:2222", "pi@10.0.0.7", 2222),
        ("pi@[fe80::1%eth0]:22", "pi@fe80::1%eth0", 22),
        ("first.last@host-1", "first.last@host-1", None),
    ],
)
def test_address_is_read(address: str, destination: str, port: int | None) -> None:
    found = parse_address(address)
    assert (found.destination, found.port, found.python, found.config) == (destination, port, "python3", None)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "-oProxyCommand=touch x",
        "pi@-oProxyCommand=x",
        "pi@host:0",
        "pi@host:65536",
        "pi@host:22:22",
        "pi@ho st",
        "pi@host;reboot",
        "pi@host\n",
        "@host",
        "pi@",
        "pi@host:",
    ],
)
def test_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="an address is ssh:HOST, ssh:USER@HOST"):
        parse_address(address)


def test_remote_words_are_quoted() -> None:
    words = ["my python; rm -rf ~", "-c", "$(reboot) 'x' `y`"]
    command = command_line(SshHost("pi@host", 2222, config=Path("a file")), words)
    assert shlex.split(command[-1]) == words
    assert subprocess.run(
        ["sh", "-c", f"printf '%s|' {command[-1]}"], capture_output=True, text=True, check=True
    ).stdout == ("|".join(words) + "|")
    assert command[-3:-1] == ["--", "pi@host"]
    assert command[command.index("-F") + 1] == "a file"
    assert {"BatchMode=yes", f"ConnectTimeout={10}"} <= set(command)
    with pytest.raises(UserError, match="--device-python"):
        parse_address("pi@host", python="-c")


def test_no_ssh_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingRequirementError, match="apt install openssh-client"):
        command_line(SshHost("pi@host"), ["true"])


# What goes there


def test_what_is_sent_is_what_measuring_imports() -> None:
    sent = {path.removeprefix("edgekd/").removesuffix(".py") for path in modules_of("measure")}
    assert sent - {"__init__"} == reached("measure") - {""}
    assert modules_of("measure")["edgekd/__init__.py"] == b""


def test_far_programs_need_the_standard_library_alone() -> None:
    for module in (far_probe, far_side):
        assert module.__file__
        code = f"import sys, runpy; runpy.run_path({module.__file__!r}); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
        assert {"numpy", "edgekd"} & {name.partition(".")[0] for name in done.stdout.split()} == set()


def serve(jobs: int, measure: str, folder: Path, *, seconds: float = 60, sizes: int = 0) -> Any:
    """The far program as it runs over there, with another measuring module; None where it answers nothing."""
    content = measure.encode()
    files = [("edgekd/__init__.py", 0), ("edgekd/measure.py", len(content) + sizes)]
    header = {"files": files, "jobs": [{"model": f"model{index}.tflite"} for index in range(jobs)], "seconds": seconds}
    payload = [json.dumps(header).encode() + b"\n", content]
    command = ["env", f"TMPDIR={folder}", sys.executable, str(far_side.__file__)]
    ended = run_bounded(command, seconds=60, max_bytes=1 << 20, payload=payload)
    assert not ended.expired
    assert list(folder.iterdir()) == []
    return json.loads(ended.output) if ended.output else None


ANSWER = "import json, sys\nprint('noise')\nprint(json.dumps({'asked': json.load(sys.stdin)['model']}))\n"


def test_far_program_runs_each_job_afresh(tmp_path: Path) -> None:
    found = serve(3, ANSWER, tmp_path)
    assert found == {"answers": [{"asked": f"model{index}.tflite"} for index in range(3)]}


@pytest.mark.parametrize(
    ("measure", "failed", "text"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crash", "SIGSEGV"),
        ("raise SystemExit('no such thing')", "process", "no such thing"),
        ("print('hello')", "process", "exit code 0"),
        ('print(\'{"error": "not a model"}\')', "model", "not a model"),
        ("import time; time.sleep(60)", "timeout", ""),
    ],
)
def test_far_program_says_what_failed(measure: str, failed: str, text: str, tmp_path: Path) -> None:
    found = serve(2, measure, tmp_path, seconds=1 if failed == "timeout" else 60)
    assert (found["failed"], found["text"]) == (failed, text)


def test_far_program_ends_and_tidies_up_when_we_are_gone(tmp_path: Path) -> None:
    """Its stdin ends while a job runs."""
    (temporary := tmp_path / "temporary").mkdir()
    started = tmp_path / "started"
    measure = f"import time, pathlib; pathlib.Path({str(started)!r}).touch(); time.sleep(120)".encode()
    header = {"files": [("edgekd/measure.py", len(measure))], "jobs": [{"model": "m"}], "seconds": 120}
    process = subprocess.Popen(
        [sys.executable, str(far_side.__file__)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(header).encode() + b"\n" + measure)
    process.stdin.flush()
    for _ in range(600):
        if started.exists():
            break
        time.sleep(0.05)
    assert started.exists()
    assert len(list(temporary.iterdir())) == 1
    output, _ = process.communicate(timeout=60)
    assert (output, process.returncode, list(temporary.iterdir())) == (b"", 143, [])


# Answers are not trusted


GOOD = {"invoke_ms": [1.0, 2], "warmup_runs": 20, "init_ms": 3.0, "first_ms": 4.0, "peak_rss_bytes": 5}


def test_answer_is_checked() -> None:
    assert device.checked({**GOOD, "more": "ignored"}) == {**GOOD, "num_turns": 1}


@pytest.mark.parametrize(
    "answer_",
    [
        None,
        [],
        {},
        {**GOOD, "invoke_ms": []},
        {**GOOD, "invoke_ms": "1"},
        {**GOOD, "invoke_ms": [1.0, "2"]},
        {**GOOD, "invoke_ms": [0.0]},
        {**GOOD, "invoke_ms": [float("inf")]},
        {**GOOD, "invoke_ms": [True]},
        {**GOOD, "init_ms": -1},
        {**GOOD, "first_ms": float("nan")},
        {**GOOD, "peak_rss_bytes": None},
        {**GOOD, "peak_rss_bytes": 1e300},
    ],
)
def test_answer_that_cannot_be_is_refused(answer_: Any) -> None:
    with pytest.raises(BenchmarkError, match="the device answered"):
        device.checked(answer_)


def test_text_of_a_device_steers_no_terminal() -> None:
    assert device.text("Pi\x1b[2J 5\n") == "Pi?[2J 5?"
    assert device.text(None) == device.text({"a": 1}) == ""
    assert len(device.text("x" * 10_000)) == device.MAX_TEXT
