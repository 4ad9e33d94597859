#!/usr/bin/env python3
"""Start and stop the real servers that flowblob is tested against.

They run as ordinary processes on loopback:

    servers.py up [postgres] [minio] [mongo] [ceph]   start them, print `export` lines
    servers.py env                                    print the `export` lines of what is up
    servers.py kill NAME                              SIGKILL one: for tests of recovery
    servers.py start NAME                             start it again, same port and data
    servers.py down                                   stop all and drop their data

    eval "$(tests/servers/servers.py up)" && make test

`up` without a name starts postgres, minio and mongo. The lines set FLOWBLOB_TEST_POSTGRES_URL,
FLOWBLOB_TEST_S3_URL (with FLOWBLOB_TEST_S3_KEY and _SECRET), FLOWBLOB_TEST_MONGO_URL and
FLOWBLOB_TEST_CEPH_URL. Binaries are built or unpacked once under $FLOWBLOB_SERVERS, by default
~/.cache/flowblob-servers. With FLOWBLOB_SERVERS_DATA, a folder, there is a second set of servers
that shares the binaries and nothing else; two `up` at once wait for each other.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = Path(os.environ.get("FLOWBLOB_SERVERS", Path.home() / ".cache" / "flowblob-servers"))
# PostgreSQL refuses root, and the user it runs as instead may not enter root's home.
IS_HOME_CLOSED = os.geteuid() == 0 and "FLOWBLOB_SERVERS" not in os.environ
OWN_DATA = os.environ.get("FLOWBLOB_SERVERS_DATA")
DATA = Path(OWN_DATA or ("/var/tmp/flowblob-servers" if IS_HOME_CLOSED else ROOT / "data"))
STATE = (DATA if OWN_DATA else ROOT) / "state.json"
MINIO = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(*command: object, **options) -> str:
    done = subprocess.run(
        [str(part) for part in command], text=True, capture_output=True, check=False, **options
    )
    if done.returncode:
        said = f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
        raise SystemExit(f"{command[0]} failed ({done.returncode}):\n{said}")
    return done.stdout


def install(package: str) -> None:
    """Install a package of Debian's: as root on a machine that is made for this, as CI's is."""
    run("apt-get", "update", "-qq")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", package, env=quiet)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int, process: subprocess.Popen, seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


def spawn(data: Path, state: dict, command: list[object], **options) -> int:
    port, log = state["port"], data.parent / f"{data.name}.log"
    # Right after a SIGKILL, what the dead server held may linger for a moment.
    for last in (False, False, False, True):
        with log.open("ab") as out:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                **options,
            )
        state["pid"] = process.pid  # so that `down` finds it if we are interrupted here
        if answers(port, process):
            return process.pid
        process.kill()
        process.wait()
        if not last:
            time.sleep(2)
    raise SystemExit(f"no server on port {port}; end of {log}:\n{log.read_text()[-3000:]}")


class Postgres:
    """PostgreSQL from Debian's packages, fsync on, run as its own user: it refuses root."""

    def build(self) -> Path:
        def found() -> list[Path]:
            return sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))

        if not found():
            install("postgresql")
        return found()[-1].parent

    def start(self, data: Path, state: dict) -> int:
        binaries, drop = self.build(), {}
        if os.geteuid() == 0:
            drop = {"user": "postgres", "group": "postgres", "extra_groups": []}
        if not (data / "PG_VERSION").exists():
            data.mkdir(parents=True, exist_ok=True)
            if drop:
                shutil.chown(data, "postgres", "postgres")
            login = ["-U", "flowblob", "-A", "trust"]
            text = ["-E", "UTF8", "--no-locale"]
            run(binaries / "initdb", "-D", data, *login, *text, cwd="/", **drop)
        listen = ["-h", "127.0.0.1", "-p", state["port"], "-k", "", "-c", "max_connections=200"]
        command = [binaries / "postgres", "-D", data, *listen]
        pid = spawn(data, state, command, cwd="/", **drop)
        # The port answers before recovery after a kill has finished.
        ready = [binaries / "pg_isready", "-q", "-U", "flowblob", "-h", "127.0.0.1"]
        for _ in range(100):
            if subprocess.run([*ready, "-p", str(state["port"])], check=False).returncode == 0:
                break
            time.sleep(0.1)
        return pid

    def env(self, state: dict) -> dict[str, str]:
        return {
            "FLOWBLOB_TEST_POSTGRES_URL": f"postgresql://flowblob@127.0.0.1:{state['port']}/postgres"
        }


class Minio:
    """MinIO, built once by the go tool: about two minutes on two cores.

    Checks checksums, conditions and signatures.
    """

    def build(self) -> Path:
        binary = ROOT / "bin" / "minio"
        if not binary.exists():
            note("building MinIO, once")
            target = {"GOBIN": str(binary.parent), "CGO_ENABLED": "0"}
            run("go", "install", MINIO, env={**os.environ, **target})
        return binary

    def start(self, data: Path, state: dict) -> int:
        binary = self.build()
        data.mkdir(parents=True, exist_ok=True)
        listen = ["--address", f"127.0.0.1:{state['port']}", "--console-address", "127.0.0.1:0"]
        root = {"MINIO_ROOT_USER": state["key"], "MINIO_ROOT_PASSWORD": state["secret"]}
        command = [binary, "server", data, *listen]
        return spawn(data, state, command, env={**os.environ, **root})

    def env(self, state: dict) -> dict[str, str]:
        return {
            "FLOWBLOB_TEST_S3_URL": f"http://127.0.0.1:{state['port']}",
            "FLOWBLOB_TEST_S3_KEY": state["key"],
            "FLOWBLOB_TEST_S3_SECRET": state["secret"],
        }


class Mongo:
    """mongo-java-server from Maven: the protocol, from memory (README.md says what it lacks)."""

    def build(self) -> Path:
        folder = ROOT / "mongo"
        if not (folder / "MongoWire.class").exists():
            folder.mkdir(parents=True, exist_ok=True)
            if shutil.which("mvn") is None:
                install("maven")
            copy = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}/lib"]
            run("mvn", "-q", "-f", HERE / "mongo" / "pom.xml", *copy)
            source = HERE / "mongo" / "MongoWire.java"
            run("javac", "-cp", f"{folder}/lib/*", "-d", folder, source)
        return folder

    def start(self, data: Path, state: dict) -> int:
        folder = self.build()
        data.mkdir(parents=True, exist_ok=True)
        java = ["java", "-Xmx1g", "-cp", f"{folder}/lib/*:{folder}"]
        return spawn(data, state, [*java, "MongoWire", state["port"]])

    def env(self, state: dict) -> dict[str, str]:
        return {
            "FLOWBLOB_TEST_MONGO_URL": f"mongodb://127.0.0.1:{state['port']}/?directConnection=true"
        }


class Ceph:
    """Ceph's S3 gateway from Debian's packages: a second vendor, laxer than MinIO (README.md)."""

    def start(self, data: Path, state: dict) -> int:
        data.mkdir(parents=True, exist_ok=True)
        where = {"CEPH_HOME": str(data), "CEPH_PACKAGES": str(ROOT / "ceph")}
        login = {"S3_KEY": state["key"], "S3_SECRET": state["secret"]}
        port = {"S3_PORT": str(state["port"])}
        run(HERE / "ceph.sh", "start", env={**os.environ, **where, **login, **port})
        return int((data / "run" / "rgw.pid").read_text())

    def env(self, state: dict) -> dict[str, str]:
        return {
            "FLOWBLOB_TEST_CEPH_URL": f"http://127.0.0.1:{state['port']}",
            "FLOWBLOB_TEST_CEPH_KEY": state["key"],
            "FLOWBLOB_TEST_CEPH_SECRET": state["secret"],
        }


SERVERS = {"postgres": Postgres(), "minio": Minio(), "mongo": Mongo(), "ceph": Ceph()}


def load() -> dict[str, dict]:
    return json.loads(STATE.read_text()) if STATE.exists() else {}


def save(states: dict[str, dict]) -> None:
    STATE.parent.mkdir(parents=True, exist_ok=True)
    STATE.write_text(json.dumps(states, indent=1))


def alive(pid: int | None) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


def start(name: str, states: dict[str, dict]) -> None:
    fresh = {"port": free_port(), "key": "flowblob", "secret": secrets.token_hex(16)}
    state = states.setdefault(name, fresh)
    if alive(state.get("pid")):
        return
    began = time.monotonic()
    try:
        state["pid"] = SERVERS[name].start(DATA / name, state)
    finally:
        save(states)
    note(f"{name}: port {state['port']}, pid {state['pid']}, {time.monotonic() - began:.1f} s")


def start_all(names: list[str], states: dict[str, dict]) -> None:
    failed = []
    for name in names:
        try:
            start(name, states)
        except SystemExit as error:  # the others are of use without it
            failed.append(f"{name}: {error}")
    show(states)
    if failed:
        raise SystemExit("\n".join(failed))


def stop(name: str, states: dict[str, dict], how: signal.Signals) -> None:
    pid = states.get(name, {}).pop("pid", None)
    if name == "ceph" and pid:
        run(HERE / "ceph.sh", "stop", env={**os.environ, "CEPH_HOME": str(DATA / name)})
    elif alive(pid):
        os.kill(pid, how)
        deadline = time.monotonic() + 20
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
    save(states)


def down(states: dict[str, dict]) -> None:
    for name in list(states):
        # For PostgreSQL SIGTERM waits until every client has gone; SIGINT does not.
        stop(name, states, signal.SIGINT if name == "postgres" else signal.SIGTERM)
        shutil.rmtree(DATA / name, ignore_errors=True)
    STATE.unlink(missing_ok=True)


def show(states: dict[str, dict]) -> None:
    for name, state in states.items():
        if alive(state.get("pid")):
            for key, value in SERVERS[name].env(state).items():
                print(f"export {key}='{value}'")


def main(arguments: list[str]) -> None:
    verb, names = (arguments or [""])[0], arguments[1:]
    if unknown := set(names) - set(SERVERS):
        there = ", ".join(SERVERS)
        raise SystemExit(f"unknown server {', '.join(sorted(unknown))}; there are: {there}")
    ROOT.mkdir(parents=True, exist_ok=True)
    lock = (ROOT / "lock").open("w")
    if verb != "env":
        fcntl.flock(lock, fcntl.LOCK_EX)
    states = load()
    if verb in ("up", "start"):
        start_all(names or (["postgres", "minio", "mongo"] if verb == "up" else []), states)
    elif verb == "kill":
        for name in names:
            stop(name, states, signal.SIGKILL)
    elif verb == "down":
        down(states)
    elif verb == "env":
        show(states)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
