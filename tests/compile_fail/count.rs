use _zodc::privacy::cohort::PrivateCohort;

fn leak(cohort: &PrivateCohort) {
    let _ = cohort.unit_start.len();
}

fn main() {}
