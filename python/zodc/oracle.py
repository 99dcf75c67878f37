"""ε of a list of charges by Google's dp-accounting, which zodc's own accountant must never undercut."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Oracle", "consult"]


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """Upper bounds on ε, each valid by itself.

    Attributes
    ----------
    rdp, pld : float
        By Rényi accounting, and by privacy-loss distributions, whose discretisation rounds up.
    exact : float or None
        Closed form, when every charge is a Gaussian mechanism on all units.
    """

    rdp: float
    pld: float
    exact: float | None

    @property
    def tightest(self) -> float:
        """The least of them."""
        return min(value for value in (self.rdp, self.pld, self.exact) if value is not None)


def consult(charges: list[dict[str, Any]], delta: float) -> Oracle:
    """Compose the charges of a manifest.

    Parameters
    ----------
    charges : list of dict
        As in the manifest: event (mechanism, noise_multiplier, sampling_rate), count, what.
    delta : float

    Raises
    ------
    ValueError
        For a mechanism that it does not know.
    """
    # Takes seconds to import.
    import dp_accounting
    from dp_accounting import pld, rdp
    from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss

    neighbours = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    accountants = (
        rdp.RdpAccountant(neighboring_relation=neighbours),
        pld.PLDAccountant(neighboring_relation=neighbours),
    )
    precision = 0.0
    for charge in charges:
        event, times = charge["event"], charge["count"]
        mechanism = dp_accounting.GaussianDpEvent(event["noise_multiplier"])
        if event["mechanism"] == "poisson_gaussian":
            mechanism = dp_accounting.PoissonSampledDpEvent(event["sampling_rate"], mechanism)
            precision = math.nan
        elif event["mechanism"] != "gaussian":
            raise ValueError(f"the mechanism {event['mechanism']!r} is not known; verify with a newer zodc")
        precision += times / event["noise_multiplier"] ** 2
        for accountant in accountants:
            accountant.compose(mechanism, times)
    exact = None
    if not math.isnan(precision):
        exact = _least_epsilon(GaussianPrivacyLoss(precision**-0.5).get_delta_for_epsilon, delta)
    found = [float(accountant.get_epsilon(delta)) for accountant in accountants]
    return Oracle(rdp=found[0], pld=found[1], exact=exact)


def _least_epsilon(delta_of: Callable[[float], float], delta: float) -> float:
    """Least ε whose δ is small enough, from above."""
    below, above = 0.0, 1.0
    while delta_of(above) > delta:
        below, above = above, 2.0 * above
    while above - below > 1e-9 * above:
        middle = 0.5 * (below + above)
        below, above = (below, middle) if delta_of(middle) <= delta else (middle, above)
    return above
