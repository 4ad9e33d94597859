"""The digits pipeline as a plain script: every step is cached, nothing else changes.

Run it twice: the second run computes nothing.
"""

from __future__ import annotations

import logging

import digits

from flowblob import cached, run

load_digits = cached(digits.load_digits)
features = cached(digits.features)
train = cached(kind="ml_model")(digits.train)
report = cached(digits.report)


def main() -> None:
    logging.basicConfig(format="%(message)s")
    logging.getLogger("flowblob.cached").setLevel(logging.INFO)
    with run("digits-script"):
        table = features(load_digits())
        print(report(train(table), table))


if __name__ == "__main__":
    main()
