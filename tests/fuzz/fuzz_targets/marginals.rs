//! Any text as noisy marginals: the codec refuses them, or decodes within the schema.
#![no_main]

use _zodc::marginals::Marginals;
use _zodc::marginals::codec::Codec;
use _zodc::schema::Schema;
use libfuzzer_sys::fuzz_target;

const SCHEMA: &str = "[[column]]\nname = \"x\"\nkind = \"continuous\"\nlower = 0\nupper = 1\n[[column]]\nname = \"y\"\nkind = \"binary\"\nrole = \"target\"\n";

fuzz_target!(|data: &[u8]| {
    let Ok(marginals) = serde_json::from_slice::<Marginals>(data) else { return };
    let schema = Schema::from_toml(SCHEMA).unwrap();
    if let Ok(codec) = Codec::new(&schema, &marginals) {
        let mut cells = vec![0.0; codec.n_columns()];
        codec.decode_row(&vec![0.5; codec.n_latents()], &mut cells);
        // An edge may be off its bound by rounding.
        assert!(cells.iter().all(|c| c.is_nan() || (-1e-9..=1.0 + 1e-9).contains(c)));
    }
});
