"""Random settings of the Poisson-subsampled Gaussian; writes rdp_random.json.

`epsilon` is exact: A_alpha by mpmath quadrature at 40 digits at the best order and its neighbours on the grid of orders.
`epsilon_dp_accounting` is what dp-accounting reports; its fractional orders drop the signs of an alternating series,
so it may be a little above. `costs` are dp-accounting's costs of one round at a few integer orders, where it is exact.

Run: python tests/reference/make_rdp.py   (needs dp-accounting, mpmath, numpy)
"""

import json
import logging
import random
from pathlib import Path

import numpy as np
from dp_accounting.rdp import rdp_privacy_accountant as rdp
from mpmath import exp, linspace, log, mp, mpf, pi, quad, sqrt

ORDERS = list(rdp.DEFAULT_RDP_ORDERS)
INTEGERS = [2.0, 3.0, 16.0, 63.0, 256.0]
mp.dps = 40


def rough_log_a(rate, noise, alpha):
    """Ln A_alpha in double precision, to find the best order."""
    z = np.linspace(-15 * noise, alpha + 15 * noise, 20001)
    ratio = np.logaddexp(np.log1p(-rate), np.log(rate) + (z - 0.5) / noise**2)
    exponent = alpha * ratio - 0.5 * (z / noise) ** 2 - 0.5 * np.log(2 * np.pi) - np.log(noise)
    most = exponent.max()
    return most + np.log(np.exp(exponent - most).sum() * (z[1] - z[0]))


def exact_log_a(rate, noise, alpha):
    """Ln A_alpha at 40 digits."""
    q, s, a = mpf(rate), mpf(noise), mpf(alpha)

    def integrand(z):
        return exp(-z * z / (2 * s * s)) * (1 - q + q * exp((2 * z - 1) / (2 * s * s))) ** a

    n = max(24, int((a + 40 * s) / (s * min(s, mpf(1)))))
    edges = linspace(-20 * s, a + 20 * s, n)
    return log(quad(integrand, edges) / (s * sqrt(2 * pi)))


def convert(alpha, cost, delta):
    """Canonne, Kamath and Steinke, proposition 12."""
    alpha = mpf(alpha)
    return cost + log(1 - 1 / alpha) - log(mpf(delta) * alpha) / (alpha - 1)


def best_epsilon(rate, noise, steps, delta):
    """The exact minimum over the grid of orders, and the order."""
    rough = [float(convert(a, steps * rough_log_a(rate, noise, a) / (a - 1), delta)) for a in ORDERS]
    best = int(np.argmin(rough))
    near = ORDERS[max(0, best - 1) : best + 2]
    return min((convert(a, steps * exact_log_a(rate, noise, a) / (mpf(a) - 1), delta), a) for a in near)


def main():
    logging.disable(logging.WARNING)
    generator = random.Random(20260101)
    rows = []
    while len(rows) < 30:
        rate = float(f"{10 ** generator.uniform(-4, -0.05):.6g}")
        noise = float(f"{10 ** generator.uniform(-0.4, 1.2):.6g}")
        steps = int(10 ** generator.uniform(0, 5))
        delta = float(f"{10 ** generator.uniform(-10, -2):.3g}")
        theirs = float(
            rdp.compute_epsilon(
                ORDERS, steps * rdp._compute_rdp_poisson_subsampled_gaussian(rate, noise, ORDERS), delta
            )[0]
        )
        if not 0.001 < theirs < 100:
            continue
        epsilon, order = best_epsilon(rate, noise, steps, delta)
        costs = rdp._compute_rdp_poisson_subsampled_gaussian(rate, noise, INTEGERS)
        rows.append(
            {
                "sampling_rate": rate,
                "noise_multiplier": noise,
                "steps": steps,
                "delta": delta,
                "epsilon": float(epsilon),
                "order": order,
                "epsilon_dp_accounting": theirs,
                "costs": [[order, float(cost)] for order, cost in zip(INTEGERS, costs)],
            }
        )
        print(rows[-1], flush=True)
    out = Path(__file__).with_name("rdp_random.json")
    out.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
