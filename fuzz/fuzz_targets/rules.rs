//! Rule files: loaded or refused, never anything else; what was loaded compiles.

#![no_main]

use atalaya_correlator::detect::Compiled;
use atalaya_correlator::sigma::{RuleFile, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let set = load(&[RuleFile { path: "fuzz.yml".to_owned(), text: text.to_owned() }]);
    // A set that is too large for a matcher is an answer, too.
    let _ = Compiled::new(set);
});
