use livepatch::{ObjectPatch, patchable};

#[patchable]
fn length(word: &str) -> usize {
    word.len()
}

fn wrong_result(_: &str) -> u32 {
    0
}

fn wrong_argument(_: String) -> usize {
    0
}

fn of_static(_: &'static str) -> usize {
    0
}

fn not_patchable() {}

unsafe fn duties(_: &str) -> usize {
    0
}

fn main() {
    let captured = 1;
    let _ = ObjectPatch::program()
        .function::<length>(wrong_result)
        .function::<length>(wrong_argument)
        .function::<length>(of_static)
        .function::<length>(duties)
        .function::<length>(|_| captured);
    let _ = ObjectPatch::program().function::<not_patchable>(|| ());
}
