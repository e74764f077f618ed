//! The `ledgerhook` binary.

fn main() {}
