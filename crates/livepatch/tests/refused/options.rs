#[livepatch::patchable(name)]
fn no_value() {}

#[livepatch::patchable(name = 5)]
fn no_string() {}

#[livepatch::patchable(name = "")]
fn no_name() {}

#[livepatch::patchable(version = "2")]
fn unknown() {}

#[livepatch::patchable("name")]
fn no_option() {}

#[livepatch::patchable(crate = "not a path")]
fn no_path() {}

#[livepatch::patchable]
struct NoFunction;

#[livepatch::patchable]
fn argument(#[cfg(test)] _number: u32) {}

fn main() {}
