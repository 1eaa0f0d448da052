#[livepatch::patchable]
fn bounded<'a, 'b: 'a>(one: &'a str, _other: &'b str) -> &'a str {
    one
}

#[livepatch::patchable]
fn clause<'a>(one: &'a str) -> &'a str
where
    'a: 'static,
{
    one
}

#[livepatch::patchable]
fn from_nowhere<'a>() -> &'a str {
    ""
}

fn main() {}
