"""Writes learners.json: fits of scikit-learn and lifelines that the Rust tests must reproduce.

Run with scikit-learn and lifelines installed: python tests/reference/make_learners.py
"""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from lifelines.datasets import load_gbsg2, load_rossi
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

DIGITS = 4  # of the standardised features: float32 keeps such values apart
SEED = 7


def standardised(x):
    return np.round((x - x.mean(0)) / x.std(0), DIGITS)


def subset(x, *outcomes, n_rows, seed=SEED):
    rows = np.random.default_rng(seed).permutation(len(x))[:n_rows]
    return (standardised(x[rows]), *(outcome[rows] for outcome in outcomes))


def classification():
    for name, load, n_rows, n_features in [
        ("breast_cancer", load_breast_cancer, 250, 8),
        ("iris", load_iris, 150, 4),
        ("wine", load_wine, 178, 7),
    ]:
        x, y = load(return_X_y=True)
        x, y = subset(x[:, :n_features], y, n_rows=n_rows)
        yield name, x, y
        # Some labels at random: impure leaves, so that few splits tie.
        rng = np.random.default_rng(SEED)
        yield f"{name}_noisy", x, np.where(rng.random(len(y)) < 0.25, rng.integers(0, y.max() + 1, len(y)), y)


def logistic(x, y, c):
    model = LogisticRegression(C=c, solver="newton-cg", tol=1e-12, max_iter=100_000).fit(x, y)
    return {"c": c, "coef": model.coef_.tolist(), "intercept": model.intercept_.tolist()}


def tree(x, y, max_depth, min_samples_leaf):
    """Class probabilities of the training rows, where twenty orders of the features agree (no ties)."""
    fits = [
        DecisionTreeClassifier(max_depth=max_depth, min_samples_leaf=min_samples_leaf, random_state=seed).fit(
            x, y
        )
        for seed in range(20)
    ]
    nodes = [sorted(zip(f.tree_.feature, np.round(f.tree_.threshold, 5))) for f in fits]
    unique = all(n == nodes[0] for n in nodes)
    return {
        "max_depth": max_depth,
        "min_samples_leaf": min_samples_leaf,
        "unique": unique,
        "probability": np.round(fits[0].predict_proba(x), 8).tolist(),
        "n_leaves": int(fits[0].get_n_leaves()),
    }


def trees(x, y):
    return [tree(x, y, depth, leaf) for depth in (1, 2, 3, 4, 6) for leaf in (1, 5, 12)]


def survival():
    rossi = load_rossi()
    x, time, event = subset(
        rossi.drop(columns=["week", "arrest"]).to_numpy(float),
        rossi["week"].to_numpy(float),
        rossi["arrest"].to_numpy(),
        n_rows=200,
    )
    yield "rossi", x, time, event
    gbsg2 = load_gbsg2()
    columns = ["age", "tsize", "pnodes", "progrec", "estrec"]
    x, time, event = subset(
        gbsg2[columns].to_numpy(float), gbsg2["time"].to_numpy(float), gbsg2["cens"].to_numpy(), n_rows=120
    )
    yield "gbsg2", x, time, event
    yield "gbsg2_quarters", x * 1.5 + 0.25, np.ceil(time / 91), event


def cox(x, time, event, penalizer):
    frame = pd.DataFrame(x)
    frame.columns = [f"x{j}" for j in range(x.shape[1])]
    frame["time"], frame["event"] = time, event
    model = CoxPHFitter(penalizer=penalizer)
    options = {"precision": 1e-14, "r_precision": 1e-15, "step_size": 1.0}
    model.fit(frame, "time", "event", fit_options=options)
    return {"penalizer": penalizer, "coef": model.params_.tolist()}


def main():
    warnings.simplefilter("ignore")
    cases = {"classification": [], "survival": []}
    for name, x, y in classification():
        cases["classification"].append(
            {
                "name": name,
                "n_features": x.shape[1],
                "n_classes": int(y.max()) + 1,
                "x": x.ravel().tolist(),
                "codes": y.tolist(),
                "logistic": [logistic(x, y, c) for c in (0.05, 1.0, 20.0)],
                "tree": [fit for fit in trees(x, y) if fit["unique"]],
            }
        )
    for name, x, time, event in survival():
        cases["survival"].append(
            {
                "name": name,
                "n_features": x.shape[1],
                "x": x.ravel().tolist(),
                "time": time.tolist(),
                "event": [bool(e) for e in event],
                "cox": [cox(x, time, event, p) for p in (0.0, 0.01, 0.5)],
            }
        )
    path = Path(__file__).with_name("learners.json")
    path.write_text(json.dumps(cases))
    print(path, path.stat().st_size)
    for case in cases["classification"]:
        print(case["name"], len(case["tree"]), "trees without ties")


if __name__ == "__main__":
    main()
