"""What models trained on the released rows can do on pseudo-patients: a forecast that asks no patient."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from lifelines.utils import concordance_index
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from zodc._zodc import Rows
from zodc.cells import Floats
from zodc.summary import Drawn
from zodc.tables import Table

__all__ = ["Forecast", "forecast"]

_N_PSEUDO_PATIENTS = 4000
# Public, so that the same release gives the same forecast.
_SEED = 1


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A score on pseudo-patients drawn from the noisy marginals and labelled by the teacher.

    Attributes
    ----------
    model, metric : str
    released, teacher : float or None
        Score of the model trained on the released rows, and of the teacher itself; None where a model could
        not be fitted.
    """

    model: str
    metric: str
    released: float | None
    teacher: float | None


def forecast(release: Drawn) -> tuple[Forecast, ...]:
    """Score models on pseudo-patients. Depends on the release alone.

    Parameters
    ----------
    release : Release

    Returns
    -------
    tuple of Forecast
    """
    decoder = release.decoder
    pseudo = decoder.population_table(release.population(_N_PSEUDO_PATIENTS, _SEED))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # fits of a few hundred rows are noted as unsteady
        if release.schema.task == "survival":
            released = _c_index(release, release.rows, pseudo)
            teacher = _teacher_c_index(release, pseudo)
            return (Forecast(model="Cox regression", metric="C-index", released=released, teacher=teacher),)
        best = _auroc(pseudo[2], pseudo[2])
        models = {
            "logistic regression": LogisticRegression(max_iter=1000),
            "decision tree of depth 4": DecisionTreeClassifier(
                max_depth=4, min_samples_leaf=5, random_state=_SEED
            ),
        }
        return tuple(
            Forecast(model=name, metric="AUROC", released=_classify(release, model, pseudo), teacher=best)
            for name, model in models.items()
        )


def _classify(release: Drawn, model: Any, pseudo: Table) -> float | None:
    decoder = release.decoder
    cells, missing, outcome = decoder.table(release.rows)
    codes = outcome[:, 0].astype(np.int64)
    if len(np.unique(codes)) < 2:
        return None
    model.fit(decoder.encode_table(cells, missing), codes)
    p = np.zeros_like(pseudo[2])
    p[:, model.classes_] = model.predict_proba(decoder.encode_table(pseudo[0], pseudo[1]))
    return _auroc(p, pseudo[2])


def _auroc(p: Floats, truth: Floats) -> float | None:
    """Mean over classes of the AUROC against soft labels: each pseudo-patient counts for both sides."""
    classes = [1] if p.shape[1] == 2 else range(p.shape[1])
    labels = np.repeat([True, False], len(p))
    try:
        scores = [
            roc_auc_score(
                labels, np.tile(p[:, c], 2), sample_weight=np.concatenate([truth[:, c], 1 - truth[:, c]])
            )
            for c in classes
        ]
    except ValueError:
        return None
    found = float(np.mean(scores))
    return found if np.isfinite(found) else None


def _teacher_c_index(release: Drawn, pseudo: Table) -> float | None:
    if release.teacher_model is None:
        return _c_index(release, release.teacher, pseudo)
    coef = np.asarray(json.loads(release.teacher_model)["coef"])
    risk = release.decoder.encode_table(pseudo[0], pseudo[1]) @ coef
    try:
        return float(concordance_index(pseudo[2][:, 0], -risk, pseudo[2][:, 1]))
    except ZeroDivisionError:  # no event among the pseudo-patients
        return None


def _c_index(release: Drawn, rows: Rows, pseudo: Table) -> float | None:
    decoder = release.decoder
    cells, missing, outcome = decoder.table(rows)
    x = pd.DataFrame(decoder.encode_table(cells, missing))
    varied = x.columns[x.nunique() > 1]
    table = x[varied].assign(time_=np.maximum(outcome[:, 0], 1e-9), event_=outcome[:, 1])
    try:
        fitted = CoxPHFitter(penalizer=0.01).fit(table, duration_col="time_", event_col="event_")
        x_pseudo = pd.DataFrame(decoder.encode_table(pseudo[0], pseudo[1]))[varied]
        risk = fitted.predict_log_partial_hazard(x_pseudo).to_numpy()
        return float(concordance_index(pseudo[2][:, 0], -risk, pseudo[2][:, 1]))
    # Errors of lifelines and NumPy on degenerate rows have no common class.
    except Exception:
        return None
