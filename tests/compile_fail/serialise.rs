use _zodc::privacy::cohort::PrivateCohort;

fn leak(cohort: &PrivateCohort) {
    let _ = serde_json::to_string(cohort);
}

fn main() {}
