struct Service;

impl Service {
    #[livepatch::patchable]
    fn handle(&self) {}
}

fn main() {}
