"""Differentially private condensation of clinical cohorts."""
