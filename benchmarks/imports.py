"""How long `import flowblob` and the command line take, beside their peers."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from measuring import PREFECT, Goal, Side, compare

SCRIPTS = Path(sys.executable).parent
ROUNDS = 11


def command(*parts: str | Path) -> None:
    # Bytecode is written, as in any installation: the first round, which compiles, is one of many.
    env = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(list(map(str, parts)), check=True, stdout=subprocess.DEVNULL, env=env)


def start(name: str, *parts: str | Path) -> Side:
    return Side(name, partial(command, *parts))


def main() -> None:
    bare = start("python -c pass", sys.executable, "-c", "pass")
    bare.run()
    compare(
        "import, with the start of Python",
        start("import flowblob", sys.executable, "-c", "import flowblob"),
        bare,
        start("import joblib", sys.executable, "-c", "import joblib"),
        start("import diskcache", sys.executable, "-c", "import diskcache"),
        start("import prefect", PREFECT, "-c", "import prefect"),
        rounds=ROUNDS,
    )
    compare(
        "import of the names that are used",
        start("from flowblob import Store, cached", sys.executable, "-c", _USED),
        start("from joblib import Memory", sys.executable, "-c", "from joblib import Memory"),
        start("from diskcache import Cache", sys.executable, "-c", "from diskcache import Cache"),
        start("from prefect import flow, task", PREFECT, "-c", "from prefect import flow, task"),
        rounds=ROUNDS,
        goal=Goal(ratio=1.0, peer="from joblib import Memory"),
    )
    compare(
        "--help",
        start("flowblob --help", SCRIPTS / "flowblob", "--help"),
        start("prefect --help", PREFECT.parent / "prefect", "--help"),
        rounds=5,
    )


_USED = "from flowblob import Store, cached"

if __name__ == "__main__":
    main()
