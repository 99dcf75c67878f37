use _zodc::privacy::cohort::PrivateCohort;

fn leak(cohort: &PrivateCohort) {
    let _ = &cohort.cells;
}

fn main() {}
