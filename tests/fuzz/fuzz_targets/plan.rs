//! Any text as a plan or as charges: refused, or priced at no less than 0.
#![no_main]

use _zodc::privacy::accountant;
use _zodc::privacy::event::Charge;
use _zodc::privacy::plan::Plan;
use _zodc::schema::Schema;
use libfuzzer_sys::fuzz_target;

const SCHEMA: &str = "[[column]]\nname = \"x\"\nkind = \"continuous\"\nlower = 0\nupper = 1\n[[column]]\nname = \"y\"\nkind = \"binary\"\nrole = \"target\"\n";

fuzz_target!(|data: &[u8]| {
    if let Ok(plan) = serde_json::from_slice::<Plan>(data) {
        let schema = Schema::from_toml(SCHEMA).unwrap();
        if plan.check(&schema).is_ok() {
            assert!(plan.spent.epsilon <= plan.epsilon);
        }
    }
    if let Ok(charges) = serde_json::from_slice::<Vec<Charge>>(data) {
        if let Ok(spent) = accountant::epsilon(&charges, 1e-6) {
            assert!(spent.epsilon >= 0.0);
        }
    }
});
