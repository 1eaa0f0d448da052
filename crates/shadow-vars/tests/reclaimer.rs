//! The background reclaimer, in a process of its own: values that it does not drop are not dropped by anything else here.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use shadow_vars::{Epoch, Reclaim, ShadowId, ShadowStore, start_reclaimer};

const VALUE: ShadowId<Arc<()>> = ShadowId::new(1);

fn drops_what_nobody_else_does<R: Reclaim>() {
    let store = ShadowStore::<R>::builder().build().unwrap();
    let alive = Arc::new(());
    (1..2_000_usize).for_each(|n| store.pin().alloc(n * 8, VALUE, alive.clone()).map(drop).unwrap());
    {
        let pin = store.pin();
        (1..2_000_usize).for_each(|n| assert!(pin.free(n * 8, VALUE)));
        assert!(Arc::strong_count(&alive) > 1, "something is left to do");
    }
    let start = Instant::now();
    while Arc::strong_count(&alive) > 1 {
        let left = Arc::strong_count(&alive) - 1;
        assert!(start.elapsed() < Duration::from_secs(20), "{left} values are left");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn values_are_dropped_while_nothing_happens() {
    start_reclaimer().unwrap();
    start_reclaimer().unwrap();
    drops_what_nobody_else_does::<shadow_vars::Asymmetric>();
    drops_what_nobody_else_does::<Epoch>();
    drops_what_nobody_else_does::<shadow_vars::Eras>();
    // Several stores at once.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(drops_what_nobody_else_does::<shadow_vars::Asymmetric>);
        }
    });
}
