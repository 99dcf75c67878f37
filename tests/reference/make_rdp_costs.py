"""Exact Renyi costs of one round at fractional orders, extremes included; writes rdp_costs.json.

A_alpha by the trapezoidal rule at 70 digits with two spacings that must agree to 1e-15 of A_alpha - 1.

Run: python tests/reference/make_rdp_costs.py   (needs mpmath)
"""

import itertools
import json
from pathlib import Path

from mpmath import ceil, exp, fsum, log, mp, mpf, pi, sqrt

mp.dps = 70


def log_a(rate, noise, alpha, nodes):
    """Ln A_alpha, with `nodes` nodes to min(noise, noise squared)."""
    q, s, a = mpf(rate), mpf(noise), mpf(alpha)
    spacing = min(s, s * s) / nodes
    low = -18 * s
    count = int(ceil((a + 36 * s) / spacing))

    def term(index):
        z = low + index * spacing
        return exp(-z * z / (2 * s * s)) * (1 - q + q * exp((2 * z - 1) / (2 * s * s))) ** a

    return log(fsum(term(i) for i in range(count)) * spacing / (s * sqrt(2 * pi)))


def main():
    rows = []
    rates, noises = [1e-8, 1e-3, 0.3, 0.99], [0.1, 0.25, 0.7, 2.0, 30.0, 1e4]
    for rate, noise, alpha in itertools.product(rates, noises, [1.1, 2.5, 10.9]):
        one, two = (log_a(rate, noise, alpha, mpf(nodes)) for nodes in ("5.1", "6.7"))
        assert abs(one - two) < mpf("1e-15") * abs(one), (rate, noise, alpha)
        cost = float(two / (mpf(alpha) - 1))
        rows.append({"sampling_rate": rate, "noise_multiplier": noise, "order": alpha, "cost": cost})
    out = Path(__file__).with_name("rdp_costs.json")
    out.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
