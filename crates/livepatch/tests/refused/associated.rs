struct Service;

impl Service {
    #[livepatch::patchable]
    fn new() -> Self {
        Self
    }
}

fn main() {}
