//! Any text as a schema, TOML or JSON: refused or read, and what is read survives writing; any cell is mapped.
#![no_main]

use _zodc::schema::Schema;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for schema in [Schema::from_toml(text), Schema::from_json(text)].into_iter().flatten() {
        let again = Schema::from_json(&schema.to_json().unwrap()).unwrap();
        assert_eq!(again.to_json().unwrap(), schema.to_json().unwrap());
        for column in schema.features() {
            for cell in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e308, 0.5] {
                let mapped = column.canonical(cell);
                assert!(mapped.is_nan() || mapped.is_finite());
            }
        }
    }
});
