#[livepatch::patchable]
fn of_type<T: Clone>(value: &T) -> T {
    value.clone()
}

#[livepatch::patchable]
fn of_number<const N: usize>(value: [u8; N]) -> usize {
    value.len()
}

#[livepatch::patchable]
fn of_whatever(values: &mut impl Iterator<Item = u32>) -> Option<u32> {
    values.next()
}

fn main() {}
