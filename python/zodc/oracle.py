"""ε of a list of charges by Google's dp-accounting, which zodc's own accountant must never undercut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zodc.options import OptionError

__all__ = ["LEAST_DELTA", "Oracle", "consult", "pld_epsilon"]

# Above it the tables of privacy-loss distributions take minutes, and nobody cares for the decimals.
_MOST_EPSILON = 50.0
# Rounding in Fourier transforms of the distributions, in terms of δ, with room to spare.
LEAST_DELTA, _SLACK = 1e-9, 1e-11


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """Upper bounds on ε, each valid by itself.

    Attributes
    ----------
    rdp : float
        By Rényi accounting.
    pld : float or None
        By privacy-loss distributions, where there is no closed form, Rényi accounting finds a sane ε and δ is
        far above the rounding.
    exact : float or None
        Closed form, every charge taken as a Gaussian mechanism on all units: sampling only helps.
    """

    rdp: float
    pld: float | None
    exact: float | None

    @property
    def tightest(self) -> float:
        """The least of them."""
        return min(value for value in (self.rdp, self.pld, self.exact) if value is not None)


def consult(charges: list[dict[str, Any]], delta: float, neighbours: str = "add_remove") -> Oracle:
    """Compose the charges of a manifest.

    Parameters
    ----------
    charges : list of dict
        As in the manifest: event (mechanism, noise_multiplier, sampling_rate), count, what.
    delta : float
    neighbours : {"add_remove", "replace_one"}, default="add_remove"
        The relation for which the sensitivities behind the noise multipliers hold.

    Raises
    ------
    ValueError
        For a mechanism or relation that it does not know, or Poisson samples under `"replace_one"`.
    """
    # Takes seconds to import.
    import dp_accounting
    from dp_accounting import rdp
    from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss

    relations = {
        "add_remove": dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
        "replace_one": dp_accounting.NeighboringRelation.REPLACE_ONE,
    }
    if neighbours not in relations:
        raise ValueError(f"the neighbours {neighbours!r} are not known; verify with a newer zodc")
    relation = relations[neighbours]
    mechanisms = {charge["event"]["mechanism"] for charge in charges}
    if neighbours == "replace_one" and mechanisms - {"gaussian"}:
        raise ValueError("samples are accounted for under addition and removal only")
    events = [(_mechanism(dp_accounting, charge["event"]), charge["count"]) for charge in charges]

    accountant = rdp.RdpAccountant(neighboring_relation=relation)
    for event, times in events:
        accountant.compose(event, times)
    found = float(accountant.get_epsilon(delta))
    precision = sum(charge["count"] / charge["event"]["noise_multiplier"] ** 2 for charge in charges)
    exact = _least_epsilon(GaussianPrivacyLoss(precision**-0.5).get_delta_for_epsilon, delta)
    if mechanisms <= {"gaussian"}:
        return Oracle(rdp=found, pld=None, exact=exact)
    is_sane = found < _MOST_EPSILON and delta >= LEAST_DELTA
    return Oracle(rdp=found, pld=pld_epsilon(charges, delta) if is_sane else None, exact=exact)


def pld_epsilon(charges: list[dict[str, Any]], delta: float) -> float:
    """Compose charges for one unit added or removed, by privacy-loss distributions, from above.

    The distributions are rounded up (`pessimistic_estimate`). They are convolved by Fourier transforms in
    floating point, so that a slack is taken off δ and a δ near that noise is refused.

    Raises
    ------
    OptionError
        For a δ below 1e-9.
    """
    if not delta >= LEAST_DELTA:
        raise OptionError(
            f"The 'delta' option must be at least {LEAST_DELTA:g} with accountant='pld'. Got {delta!r} "
            "instead; take accountant='native'."
        )
    import dp_accounting
    from dp_accounting import pld

    accountant = pld.PLDAccountant(neighboring_relation=dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    for charge in charges:
        accountant.compose(_mechanism(dp_accounting, charge["event"]), charge["count"])
    return float(accountant.get_epsilon(delta - _SLACK))


def _mechanism(dp_accounting: Any, event: dict[str, Any]) -> Any:
    gaussian = dp_accounting.GaussianDpEvent(event["noise_multiplier"])
    if event["mechanism"] == "gaussian":
        return gaussian
    if event["mechanism"] == "poisson_gaussian":
        return dp_accounting.PoissonSampledDpEvent(event["sampling_rate"], gaussian)
    raise ValueError(f"the mechanism {event['mechanism']!r} is not known; verify with a newer zodc")


def _least_epsilon(delta_of: Callable[[float], float], delta: float) -> float:
    """Least ε whose δ is small enough, from above."""
    below, above = 0.0, 1.0
    while delta_of(above) > delta:
        below, above = above, 2.0 * above
    while above - below > 1e-9 * above:
        middle = 0.5 * (below + above)
        below, above = (below, middle) if delta_of(middle) <= delta else (middle, above)
    return above
