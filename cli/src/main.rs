//! The `vdb` command.
fn main() {}
