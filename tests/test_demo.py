"""The demonstration: public schemas that fit their cohorts, and a table of measured scores."""

from __future__ import annotations

import math

import pytest
from zodc import demo

COHORTS = [demo.breast_cancer(), demo.gbsg2()]


@pytest.mark.parametrize("cohort", COHORTS, ids=["breast_cancer", "gbsg2"])
def test_schema_names_the_columns_of_its_cohort(cohort):
    assert {c.name for c in cohort.schema.columns} == set(cohort.frame.columns)


@pytest.mark.parametrize("cohort", COHORTS, ids=["breast_cancer", "gbsg2"])
def test_bounds_are_round_numbers_and_not_read_off_the_data(cohort):
    for column in cohort.schema.columns:
        values = cohort.frame[column.name]
        if column.categories:
            assert set(values.astype(str)) <= set(column.categories)
            continue
        for bound in (column.lower, column.upper):
            # Three significant digits at most, as a person would write a bound.
            assert float(f"{bound:.3g}") == bound
        assert values.max() != column.upper
        assert values.min() != column.lower or column.lower == 0


@pytest.mark.parametrize("cohort", COHORTS, ids=["breast_cancer", "gbsg2"])
def test_split_repeats_and_shares_no_patient(cohort):
    train, test = cohort.split()
    assert set(train.index) & set(test.index) == set()
    assert len(train) + len(test) == len(cohort.frame)
    assert cohort.split()[1].index.equals(test.index)


def test_table_of_the_survival_cohort():
    steps = []
    found = demo.run_demo([COHORTS[1]], epsilons=[3.0], progress=lambda *done: steps.append(done))
    assert steps == [("demo", 1, 3), ("demo", 2, 3), ("demo", 3, 3)]
    table = found.frame()
    assert list(table.columns) == ["cox"]
    assert [rows for _, rows in table.index] == ["all real rows", "200 random real rows", "zodc, epsilon 3"]
    assert all(0.6 < score < 0.8 for score in table["cox"][:2])
    assert 0 < table["cox"].iloc[2] < 1


def test_printed_table_fits_a_terminal():
    scores = {
        (str(cohort.schema.name), rows, model): 0.5
        for cohort, models in zip(COHORTS, [("tree", "forest", "logistic"), ("cox",)], strict=True)
        for rows in ("all real rows", "200 random real rows", "zodc, epsilon 1")
        for model in models
    }
    text = str(demo.Demo(scores=scores))
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("0.500") == 12
    assert not math.isnan(
        demo.Demo(scores=scores).frame().loc[(COHORTS[1].schema.name, "all real rows"), "cox"]
    )
