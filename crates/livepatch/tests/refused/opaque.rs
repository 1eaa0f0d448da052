#[livepatch::patchable]
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ')
}

#[livepatch::patchable]
fn maybe() -> Option<impl Fn()> {
    Some(|| ())
}

fn main() {}
