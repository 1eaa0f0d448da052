//! The auto traits of a type, determined at run time, so that a test can say which one it lacks.

/// Whether a type has a trait: if so, an inherent method takes precedence over that of a trait.
macro_rules! has {
    ($trait:path, $type:ty) => {{
        struct Asked<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "not called where the type has the trait")]
        trait No {
            fn answer(&self) -> bool {
                false
            }
        }
        impl<T: ?Sized> No for Asked<T> {}
        #[allow(dead_code, reason = "not called where the type lacks the trait")]
        impl<T: ?Sized + $trait> Asked<T> {
            fn answer(&self) -> bool {
                true
            }
        }
        Asked::<$type>(std::marker::PhantomData).answer()
    }};
}

/// `Send`, `Sync`, `Unpin`, `UnwindSafe` and `RefUnwindSafe` of a type.
macro_rules! assert_auto {
    ($($type:ty: $send:literal $sync:literal $unwind:literal;)*) => {$(
        assert_eq!(
            (has!(Send, $type), has!(Sync, $type), has!(Unpin, $type)),
            ($send, $sync, true),
            "Send, Sync, Unpin of {}",
            stringify!($type)
        );
        assert_eq!(
            (has!(std::panic::UnwindSafe, $type), has!(std::panic::RefUnwindSafe, $type)),
            ($unwind, $unwind),
            "UnwindSafe, RefUnwindSafe of {}",
            stringify!($type)
        );
    )*};
}
