//! Parse, start logging, dispatch, exit.
fn main() {}
