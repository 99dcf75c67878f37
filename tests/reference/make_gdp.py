"""Exact figures of Gaussian differential privacy at 60 digits; writes gdp.json.

Run: python tests/reference/make_gdp.py   (needs mpmath)
"""

import json
from pathlib import Path

from mpmath import erfc, exp, log, mp, mpf, sqrt

mp.dps = 60


def phi(x):
    """Standard normal distribution function (erfc keeps the far tail)."""
    return erfc(-x / sqrt(2)) / 2


def delta(epsilon, mu):
    """The tradeoff of mu-GDP: Dong, Roth and Su (2022), corollary 2.13."""
    mp.dps = 600 if mu < 0.01 else 120
    value = phi(-epsilon / mu + mu / 2) - exp(epsilon) * phi(-epsilon / mu - mu / 2)
    mp.dps = 60
    return +value


def bisect(holds, low, high):
    """Where `holds` turns true, between low (false) and high (true), on a log scale."""
    for _ in range(220):
        middle = sqrt(low * high)
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def main():
    deltas, epsilons, mus = [], [], []
    for mu in [1e-6, 1e-3, 0.01, 0.1, 0.3, 0.499, 0.5, 0.7, 1.0, 2.0, 5.0, 10.0, 40.0]:
        for ratio in [0.0, 0.1, 0.5, 1.0, 3.0, 4.2, 8.0, 11.0]:
            epsilon = mu * ratio + (mu * mu / 2 if ratio > 3.5 else 0)
            value = delta(mpf(epsilon), mpf(mu))
            deltas.append({"epsilon": epsilon, "mu": mu, "log_delta": float(log(value))})
    for mu in [1e-4, 0.01, 0.1, 0.3, 0.7, 1.0, 2.0, 5.0, 20.0, 44.0]:
        for d in [0.3, 1e-2, 1e-5, 1e-6, 1e-10, 1e-30]:
            if delta(mpf(0), mpf(mu)) <= d:
                epsilons.append({"mu": mu, "delta": d, "epsilon": 0.0})
                continue
            root = bisect(lambda e: delta(e, mpf(mu)) <= mpf(d), mpf("1e-12"), mpf(4000))
            epsilons.append({"mu": mu, "delta": d, "epsilon": float(root)})
    for epsilon in [1e-3, 0.1, 0.5, 1.0, 3.0, 10.0, 100.0, 1000.0]:
        for d in [0.5, 1e-2, 1e-5, 1e-6, 1e-10, 1e-30]:
            root = 1 / bisect(lambda s: delta(mpf(epsilon), 1 / s) <= mpf(d), mpf("1e-3"), mpf("1e6"))
            mus.append({"epsilon": epsilon, "delta": d, "mu": float(root)})
    out = Path(__file__).with_name("gdp.json")
    rows = {"log_delta": deltas, "epsilon": epsilons, "mu": mus}
    body = ",\n".join(
        f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in part) + "\n]" for name, part in rows.items()
    )
    out.write_text("{\n" + body + "\n}\n")


if __name__ == "__main__":
    main()
