//! Any bytes as a configuration: loading must end, quickly and in little memory, with a value or a message.
//!
//! Before the first NUL stands the file, after each further one an override. The environment holds `$HOME` and `$X`.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

include!("../program.rs");

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let overrides: Vec<String> = parts.take(4).map(str::to_owned).collect();
    let environment = |name: &str| match name {
        "HOME" => Some("/home/x".to_owned()),
        "X" => Some("[1, &a {b: c}]".to_owned()),
        _ => None,
    };
    match config::parse_recap(Path::new("fuzz.yaml"), file, &overrides, &environment) {
        Ok(loaded) => check(&loaded),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

/// What was loaded prints, and reads back as the same.
fn check(loaded: &config::Loaded) {
    let printed = loaded
        .to_annotated_yaml()
        .expect("a loaded configuration prints");
    let again: config::RecapConfig = config::parse(&printed).expect("what was printed reads back");
    // Not a number is the one value that differs from itself, and no rule across sections lets one pass unseen.
    assert_eq!(again.to_yaml(), loaded.config.to_yaml());
    let _ = loaded.check_discrete_width(Path::new("fuzz.yaml"), 8);
}
