use _zodc::privacy::cohort::PrivateCohort;

fn leak(cohort: &PrivateCohort) {
    println!("{:?}", cohort);
}

fn main() {}
