"""The pipeline that the three examples share: read handwritten digits from their pixels.

Plain functions that know nothing of flowblob, Prefect or Airflow. Each example wraps these very
functions, so that what one host has computed is a hit in the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets, decomposition, linear_model, model_selection


def load_digits() -> pd.DataFrame:
    """Return 1,797 scanned digits: 64 pixels and the label each."""
    scans = datasets.load_digits()
    frame = pd.DataFrame(scans.data, columns=[f"pixel_{n:02}" for n in range(64)])
    frame["label"] = scans.target
    return frame


def features(digits: pd.DataFrame, components: int = 32) -> pd.DataFrame:
    """Return the principal components of the pixels, with the labels."""
    pixels = digits.drop(columns="label").to_numpy() / 16
    reduced = decomposition.PCA(components, svd_solver="full").fit_transform(pixels)
    frame = pd.DataFrame(reduced, columns=[f"component_{n:02}" for n in range(components)])
    frame["label"] = digits["label"]
    return frame


def train(table: pd.DataFrame, strengths: tuple[float, ...] = (0.01, 0.1, 1.0)) -> dict[str, Any]:
    """Return the weights of the classifier that does best in cross-validation."""
    known = table.iloc[:1400]
    search = model_selection.GridSearchCV(
        linear_model.LogisticRegression(max_iter=2000), {"C": list(strengths)}, cv=5
    )
    search.fit(known.drop(columns="label").to_numpy(), known["label"].to_numpy())
    best = search.best_estimator_
    return {"weights": best.coef_, "offsets": best.intercept_, "strength": float(best.C)}


def report(model: dict[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    """Return how well the classifier reads the digits that it has not seen."""
    unseen = table.iloc[1400:]
    scores = unseen.drop(columns="label").to_numpy() @ model["weights"].T + model["offsets"]
    right = np.argmax(scores, axis=1) == unseen["label"].to_numpy()
    return {
        "accuracy": round(float(right.mean()), 4),
        "tested": len(unseen),
        "strength": model["strength"],
    }
