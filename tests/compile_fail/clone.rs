use _zodc::privacy::cohort::PrivateCohort;

fn leak(cohort: &PrivateCohort) {
    let _: PrivateCohort = cohort.clone();
}

fn main() {}
