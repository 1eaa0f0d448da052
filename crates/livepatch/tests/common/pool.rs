//! The functions, the variables and the patches that the driver works with.

use std::sync::{Arc, LazyLock};

use livepatch::{CallbackKind, Context, ObjectPatch, Patch, RawPoint, Reentrant, State};
use livepatch::{ChangeError, EnableError, ModuleError, patchable, points, registry, unit};
use shadow_vars::{ShadowId, ShadowStore};

use super::notation::{Word, called};
use super::op::{Bad, Manner, Object, SHADOWS, Spec, StateKind};
use super::session::Log;

/// The functions return 0 originally; patched, the number of a patch, which depends on its name, from 1.
macro_rules! originals {
    ($($function:ident)*) => {
        $(
            #[patchable]
            fn $function() -> u32 {
                0
            }
        )*
    };
}

originals!(f g mf mg nf);

/// One point per object that is never patched with the right type.
macro_rules! odd_ones {
    ($($function:ident)*) => {
        $(
            #[patchable(name = "odd")]
            fn $function() -> u32 {
                0
            }
        )*
    };
}

odd_ones!(odd m_odd n_odd);

fn replacement<const NUMBER: u32>() -> u32 {
    NUMBER
}

/// The functions by number.
const FUNCTIONS: [fn() -> u32; 5] = [f, g, mf, mg, nf];
const REPLACEMENTS: [fn() -> u32; 5] = [
    replacement::<1>,
    replacement::<2>,
    replacement::<3>,
    replacement::<4>,
    replacement::<5>,
];

pub static STORE: LazyLock<ShadowStore> = LazyLock::new(ShadowStore::new);

pub fn points_of(module: Object) -> Vec<&'static RawPoint> {
    match module {
        Object::Program => points![f, g, odd].to_vec(),
        Object::M => points![mf, mg, m_odd].to_vec(),
        Object::N => points![nf, n_odd].to_vec(),
    }
}

/// Returns what these functions return now to the caller.
pub fn read(functions: &[usize]) -> Vec<u32> {
    functions.iter().map(|&function| FUNCTIONS[function]()).collect()
}

/// Like [`read`], in a unit of its own.
pub fn read_in_unit(functions: &[usize]) -> Vec<u32> {
    let _unit = unit();
    read(functions)
}

pub fn attach(shadow: u64) {
    // Any address will do that is never used again.
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);
    let address = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) * 64;
    STORE
        .pin()
        .alloc(address, ShadowId::<u64>::new(shadow), shadow)
        .map(drop)
        .expect("a new address");
}

pub fn attached(shadow: u64) -> usize {
    STORE.len_of(ShadowId::<u64>::new(shadow))
}

/// Frees variables that no state came to own, and reclaims them: a leak checker cannot follow the links of retired objects.
pub fn free_all() {
    for shadow in SHADOWS {
        STORE.pin().free_all(ShadowId::<u64>::new(shadow));
    }
    STORE.synchronize().expect("no guard is held");
}

/// Builds the patch, whose callbacks write to the log; its destructors log `number`.
pub fn build(log: &Log, number: usize, spec: &Spec) -> Arc<Patch> {
    let mut builder = Patch::builder(name(spec.name)).replace(spec.replace);
    let states = spec.states();
    for (owner, &(id, state)) in states.iter().enumerate() {
        let mut built = State::new(id, state.version);
        if state.blocks {
            built = built.block_disable();
        }
        for shadow in state.kind.shadows(id) {
            let log = log.clone();
            built = built.owns_with(&*STORE, ShadowId::<u64>::new(shadow), move |_, &value| {
                assert_eq!(value, shadow);
                log.called(Word::of(format!("#{number}"), format!("dtor({shadow:#x})")));
            });
        }
        if matches!(state.kind, StateKind::Told | StateKind::Both) {
            built = built
                .pre_patch(pre_patch(log, *spec, owner))
                .post_patch(plain(log, *spec, CallbackKind::PostPatch))
                .pre_unpatch(plain(log, *spec, CallbackKind::PreUnpatch))
                .post_unpatch(plain(log, *spec, CallbackKind::PostUnpatch));
        }
        builder = builder.state(built);
    }
    for (place, object) in spec.objects().into_iter().enumerate() {
        builder = builder.object(build_object(log, spec, object, states.len() + place));
    }
    builder.build().expect("a valid patch")
}

fn build_object(log: &Log, spec: &Spec, object: Object, owner: usize) -> ObjectPatch {
    let new = REPLACEMENTS[usize::from(spec.name)];
    let mut built = ObjectPatch::module(object.name());
    for function in spec.functions_of(object) {
        built = match function {
            0 => built.function::<f>(new),
            1 => built.function::<g>(new),
            2 => built.function::<mf>(new),
            3 => built.function::<mg>(new),
            _ => built.function::<nf>(new),
        };
    }
    // SAFETY: both are function pointer types.
    built = unsafe {
        match spec.bad(object) {
            None => built,
            Some(Bad::UnknownPoint) => built.function_named::<fn() -> u32>("nowhere", new),
            Some(Bad::Signature) => built.function_named::<fn(u32) -> u32>("odd", |number| number),
        }
    };
    let [pre, post, pre_u, post_u] = spec.callbacks;
    if pre {
        built = built.pre_patch(pre_patch(log, *spec, owner));
    }
    if post {
        built = built.post_patch(plain(log, *spec, CallbackKind::PostPatch));
    }
    if pre_u {
        built = built.pre_unpatch(plain(log, *spec, CallbackKind::PreUnpatch));
    }
    if post_u {
        built = built.post_unpatch(plain(log, *spec, CallbackKind::PostUnpatch));
    }
    built
}

/// Returns the name of a patch by number.
pub fn name(number: u8) -> String {
    format!("P{number}")
}

type Answer = Result<(), livepatch::CallbackError>;

fn pre_patch(log: &Log, spec: Spec, owner: usize) -> impl Fn(&Context<'_>) -> Answer + Send + Sync + use<> {
    let log = log.clone();
    move |context| {
        note(&log, CallbackKind::PrePatch, context);
        match spec.manner {
            Manner::Refuses(which) if spec.is_meant(which, owner) => Err("no".into()),
            Manner::Panics(which) if spec.is_meant(which, owner) => quiet_panic(),
            Manner::Meddles => {
                meddle(context);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn plain(log: &Log, spec: Spec, kind: CallbackKind) -> impl Fn(&Context<'_>) + Send + Sync + use<> {
    let log = log.clone();
    move |context| {
        note(&log, kind, context);
        match spec.manner {
            Manner::Trembles => quiet_panic(),
            Manner::Meddles => meddle(context),
            _ => {}
        }
    }
}

/// Panics without running the panic hook.
fn quiet_panic() -> ! {
    std::panic::resume_unwind(Box::new("oh"))
}

/// Logs a callback, and what it finds of earlier patches.
fn note(log: &Log, kind: CallbackKind, context: &Context<'_>) {
    let mut word = called(kind, context);
    for id in 1..=3 {
        if let Some(state) = context.prev_state(id) {
            assert_eq!(state.id(), id);
            word.text += &format!("[{id}<{}]", state.patch().name());
        }
    }
    log.called(word);
}

/// Tries to change patches and modules from a callback: every attempt is refused, without effect.
fn meddle(context: &Context<'_>) {
    let registry = registry();
    let name = context.patch().name();
    let change = Err(ChangeError::Reentrant(Reentrant));
    assert!(matches!(
        registry.enable(context.patch()),
        Err(EnableError::Reentrant(Reentrant))
    ));
    assert_eq!(registry.disable(name), change);
    assert_eq!(registry.reverse(name), change);
    assert_eq!(registry.force(name), change);
    assert_eq!(registry.poll(), Err(Reentrant));
    for module in [Object::M, Object::N] {
        let module = module.name();
        for answer in [
            registry.module_coming(module, []),
            registry.module_live(module),
            registry.module_going(module),
        ] {
            assert!(matches!(answer, Err(ModuleError::Reentrant(Reentrant))));
        }
    }
    assert!(registry.status().patches.iter().any(|patch| patch.name == name));
    assert!(
        registry
            .patch(name)
            .is_some_and(|patch| Arc::ptr_eq(&patch, context.patch()))
    );
}
