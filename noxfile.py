"""What `make test` runs, one session per kind of check.

The sessions share the environments that `make envs` builds instead of making their own: the two
hosts are large, and every session of a host needs the same one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

ROOT = Path(__file__).parent
VENVS = ROOT / ".venvs"
REPORTS = ROOT / ".reports"
PACKAGES = {"core": "core/flowblob", "prefect": "flowblob_prefect", "airflow": "flowblob_airflow"}

#: tools/check.py runs the sessions of a lane one after another, and the lanes side by side: the
#: hosts wait for servers of their own most of the time.
LANES = (
    ("lint", "bare", "core", "conformance"),
    ("prefect", "airflow", "cross", "docs", "types"),
)
#: They talk to no server, so they need not wait for the slowest to be built.
ALONE = ("bare", "docs")

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "none"
nox.options.sessions = [session for lane in LANES for session in lane]
nox.options.error_on_missing_interpreters = True


def tool(env: str, name: str) -> str:
    return str(VENVS / env / "bin" / name)


def pytest(session: nox.Session, env: str, *arguments: str, workers: int = 1) -> None:
    """Run pytest in an environment, with a report that tools/check.py adds up."""
    REPORTS.mkdir(exist_ok=True)
    wanted = [argument for argument in arguments if argument.startswith("-") or _holds(argument)]
    if not any(not argument.startswith("-") for argument in wanted):
        session.skip(f"no tests in {' '.join(arguments)}")
    parallel = ["-n", str(workers), "--dist", "loadgroup"] if workers > 1 else []
    found = {} if session.name in ALONE else services(session)
    required = ["--require-services"] if found else []
    session.run(
        tool(env, "python"), "-m", "pytest", f"--junit-xml={REPORTS / session.name}.xml",
        # Others run beside it.
        "-o", f"cache_dir=.pytest_cache/{session.name}",
        *parallel, *required, *wanted, *session.posargs,
        env={
            **found,
            "FLOWBLOB_DEMO_PREFECT_PYTHON": tool("prefect", "python"),
            "FLOWBLOB_DEMO_AIRFLOW_PYTHON": tool("airflow", "python"),
            "PYTHONDONTWRITEBYTECODE": None,
        },
        external=True,
        interrupt_timeout=15,  # servers of the tests' own are stopped first
    )  # fmt: skip


def services(session: nox.Session) -> dict[str, str]:
    """Return the variables that name the real servers, which are started if they must run.

    Without FLOWBLOB_TEST_REQUIRE_SERVICES the tests see what the caller's environment names, and
    skip the rest. tools/check.py begins to start them long before the first session that asks, and
    stops them.
    """
    if not os.environ.get("FLOWBLOB_TEST_REQUIRE_SERVICES"):
        return {}
    command = [sys.executable, str(ROOT / "tests" / "servers" / "servers.py"), "up"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        session.warn("not all servers started: the tests that need them will fail")
    lines = (line.removeprefix("export ").partition("=") for line in done.stdout.splitlines())
    return {"FLOWBLOB_TEST_REQUIRE_SERVICES": "1"} | {
        name: value.strip("'") for name, _, value in lines
    }


def _holds(folder: str) -> bool:
    path = ROOT / folder
    # Code outside of tests/ holds doctests.
    return path.is_file() or any(path.rglob("test_*.py" if folder.startswith("tests") else "*.py"))


@nox.session
def lint(session: nox.Session) -> None:
    """Style, layers and spelling."""
    session.run(tool("core", "ruff"), "check", ".", external=True)
    session.run(tool("core", "ruff"), "format", "--check", "--quiet", ".", external=True)
    session.run(tool("core", "lint-imports"), "--no-cache", external=True, silent=True)
    session.run(tool("core", "codespell"), external=True)


@nox.session
def types(session: nox.Session) -> None:
    """Strict types, each package against the types of its own host."""
    typing = ["tests/typing"] if (ROOT / "tests/typing").exists() else []
    failed = []
    for env, package in PACKAGES.items():
        command = [tool(env, "mypy"), "--cache-dir", f".mypy_cache/{env}", package]
        command += typing if env == "core" else []
        try:
            session.run(*command, external=True)
        except CommandFailed:  # go on: what the next environment would say counts too
            failed.append(env)
    if failed:
        session.error(f"types do not hold in: {', '.join(failed)}")


@nox.session
def core(session: nox.Session) -> None:
    """Units, the server and the doctests."""
    folders = ["tests/core", "tests/server"]
    # More than the cores of a small machine: the tests of servers that die or hang wait a lot.
    pytest(session, "core", "--doctest-modules", "core/flowblob", *folders, workers=4)


@nox.session
def conformance(session: nox.Session) -> None:
    """Every storage, catalog and pair of them against the shipped suite, on real servers."""
    # More than the cores of a small machine: most of the time is spent waiting for a server.
    pytest(session, "core", "tests/conformance", workers=4)


@nox.session
def prefect(session: nox.Session) -> None:
    """Real flows in Prefect's environment."""
    pytest(session, "prefect", "tests/prefect")


@nox.session
def airflow(session: nox.Session) -> None:
    """Real DAGs in Airflow's environment."""
    pytest(session, "airflow", "tests/airflow")


@nox.session
def cross(session: nox.Session) -> None:
    """One store, both hosts: what one computes, the other hits."""
    pytest(session, "core", "tests/cross")


@nox.session
def bare(session: nox.Session) -> None:
    """The wheel alone, in an environment that holds nothing else."""
    pytest(session, "core", "tests/bare")


@nox.session
def docs(session: nox.Session) -> None:
    """Every code block runs, everything public is documented, and the site builds."""
    pytest(session, "core", "tests/docs")
    quiet = {"NO_MKDOCS_2_WARNING": "1"}
    session.run(tool("core", "mkdocs"), "build", "--strict", "--quiet", env=quiet, external=True)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of the core. Not part of `make test`: it doubles the time."""
    pytest(
        session,
        "core",
        "--cov",
        "--cov-report=term",
        "tests/core",
        "tests/conformance",
        workers=2,
    )


@nox.session(name="tests", venv_backend="uv", python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """The core on every Python we support, where the interpreters are installed."""
    session.install("-e", ".[all]", "--group", "test", "--group", "data", "--group", "server-test")
    session.run("pytest", "tests/core", "tests/conformance", *session.posargs)


@nox.session(name="lowest", venv_backend="uv", python="3.11")
def lowest(session: nox.Session) -> None:
    """The core with the oldest versions that pyproject.toml admits."""
    session.install("--resolution", "lowest-direct", "-e", ".", "--group", "test")
    session.run("pytest", "tests/core", *session.posargs)


@nox.session(name="prefect-39", venv_backend="uv", python="3.11")
def prefect_39(session: nox.Session) -> None:
    """The newest Prefect, whose floor for certifi is not published yet."""
    override = Path(session.create_tmp()) / "override.txt"
    override.write_text("certifi>=2026.1\n", encoding="utf-8")
    session.install(
        "--override", str(override), "-e", ".[prefect,postgres,server,tables]", "prefect==3.9.*",
        "--group", "test", "--group", "data",
    )  # fmt: skip
    session.run(
        "pytest", "tests/prefect", *session.posargs,
        env={"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "240"},
    )  # fmt: skip
