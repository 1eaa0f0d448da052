#[livepatch::patchable]
async fn waits() {}

#[livepatch::patchable]
const fn constant() -> u32 {
    1
}

#[livepatch::patchable]
unsafe extern "C" fn variadic(_first: i32, ...) {}

fn main() {}
