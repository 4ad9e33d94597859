"""Call the shared function in plain Python."""

import os
import sys

import shared_work

from flowblob import cached, run

if os.environ.get("CROSS_MEETING"):
    shared_work.meet("python")
with run("cross-script"):
    print(cached(shared_work.square)(int(sys.argv[1])))
