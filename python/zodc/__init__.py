"""Condense a clinical cohort into a few hundred synthetic rows under differential privacy.

>>> import zodc
>>> schema = zodc.Schema([
...     zodc.Column(name="age", kind="continuous", lower=18, upper=100, unit="years"),
...     zodc.Column(name="died", kind="binary", role="target"),
... ])
>>> condenser = zodc.Condenser(schema, learner="tree", epsilon=1.0, delta=1e-6, n_rows=200)
>>> print(condenser.plan().unit)
row
"""

from importlib.metadata import version

from zodc._zodc import BudgetError, DataError, SchemaError
from zodc.condenser import Condenser
from zodc.database import read_query
from zodc.files import read_table
from zodc.journal import JournalError
from zodc.learners import Cox, Logistic, Tree
from zodc.ledger import Ledger, LedgerEntry, LedgerError
from zodc.outlook import Outlook, outlook
from zodc.plan import Plan
from zodc.recipe import Recipe
from zodc.release import Release
from zodc.schema import Column, Schema
from zodc.verify import Verification, verify
from zodc.weighted import WeightedRows, weighted_rows

__all__ = [
    "BudgetError",
    "Column",
    "Condenser",
    "Cox",
    "DataError",
    "JournalError",
    "Ledger",
    "LedgerEntry",
    "LedgerError",
    "Logistic",
    "Outlook",
    "Plan",
    "Recipe",
    "Release",
    "Schema",
    "SchemaError",
    "Tree",
    "Verification",
    "WeightedRows",
    "outlook",
    "read_query",
    "read_table",
    "verify",
    "weighted_rows",
]
__version__ = version("zodc")
