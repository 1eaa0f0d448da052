//! Exclusive use of this process's registry by one test, and the log of what happens meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use livepatch::{CallbackError, CallbackKind, Context, ObjectPatch, Observation, Patch, RawPoint, State};
use livepatch::{EnableError, ModuleError, registry};
use parking_lot::{Mutex, MutexGuard};

use super::notation::{Word, called, render, word};

/// Longer than any transition of a test takes.
const LONG: Duration = Duration::from_secs(60);

static ALONE: Mutex<()> = Mutex::new(());

/// Words of events and of the test; and separately those of callbacks.
#[derive(Default)]
struct Lines {
    words: Vec<Word>,
    calls: Vec<Word>,
    strict: bool,
}

/// The log that callbacks write to.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Lines>>);

/// The registry in exclusive use, with nothing enabled before and after.
pub struct Session {
    pub log: Log,
    _observation: Observation,
    // Last: the next session begins when everything else is dropped.
    _alone: MutexGuard<'static, ()>,
}

impl Log {
    /// Logs a line of the test.
    pub fn say(&self, text: impl Into<String>) {
        self.0.lock().words.push(Word::plain(text));
    }

    /// Logs a callback.
    pub fn call(&self, kind: CallbackKind, context: &Context<'_>) {
        self.called(called(kind, context));
    }

    /// Like [`call`](Self::call), with a given word.
    pub fn called(&self, word: Word) {
        self.0.lock().calls.push(word);
    }

    /// Adds callbacks of all four kinds, which only log.
    pub fn object(&self, object: ObjectPatch) -> ObjectPatch {
        let object = self.plain_object(object);
        let log = self.clone();
        object.pre_patch(move |context| {
            log.call(CallbackKind::PrePatch, context);
            Ok(())
        })
    }

    /// Like [`object`](Self::object), but `pre_patch` refuses.
    pub fn refusing(&self, object: ObjectPatch, why: &'static str) -> ObjectPatch {
        let log = self.clone();
        self.plain_object(object).pre_patch(move |context| {
            log.call(CallbackKind::PrePatch, context);
            Err(CallbackError::from(why))
        })
    }

    /// Like [`object`](Self::object), but `pre_patch` panics.
    pub fn panicking(&self, object: ObjectPatch, why: &'static str) -> ObjectPatch {
        let log = self.clone();
        self.plain_object(object).pre_patch(move |context| {
            log.call(CallbackKind::PrePatch, context);
            std::panic::resume_unwind(Box::new(why))
        })
    }

    fn plain_object(&self, object: ObjectPatch) -> ObjectPatch {
        let [post, pre_u, post_u] = self.plain();
        object.post_patch(post).pre_unpatch(pre_u).post_unpatch(post_u)
    }

    /// Like [`object`](Self::object), for a state.
    pub fn state(&self, state: State) -> State {
        let log = self.clone();
        self.plain_state(state).pre_patch(move |context| {
            log.call(CallbackKind::PrePatch, context);
            Ok(())
        })
    }

    /// Like [`state`](Self::state), but `pre_patch` refuses.
    pub fn refusing_state(&self, state: State, why: &'static str) -> State {
        let log = self.clone();
        self.plain_state(state).pre_patch(move |context| {
            log.call(CallbackKind::PrePatch, context);
            Err(CallbackError::from(why))
        })
    }

    fn plain_state(&self, state: State) -> State {
        let [post, pre_u, post_u] = self.plain();
        state.post_patch(post).pre_unpatch(pre_u).post_unpatch(post_u)
    }

    fn plain(&self) -> [impl Fn(&Context<'_>) + Send + Sync + 'static + use<>; 3] {
        [
            CallbackKind::PostPatch,
            CallbackKind::PreUnpatch,
            CallbackKind::PostUnpatch,
        ]
        .map(|kind| {
            let log = self.clone();
            move |context: &Context<'_>| log.call(kind, context)
        })
    }

    /// Returns the words since the last call, and those of the callbacks among them.
    pub fn take(&self) -> (Vec<Word>, Vec<Word>) {
        let mut lines = self.0.lock();
        (std::mem::take(&mut lines.words), std::mem::take(&mut lines.calls))
    }
}

/// Returns whether only the caller has the patch, or soon will: the registry's thread drops patches after its change.
pub fn is_let_go(patch: &Arc<Patch>) -> bool {
    let until = Instant::now() + LONG;
    while Arc::strong_count(patch) > 1 && Instant::now() < until {
        thread::yield_now();
    }
    Arc::strong_count(patch) == 1
}

impl Session {
    /// Waits for exclusive use.
    pub fn new() -> Self {
        let alone = ALONE.lock();
        let log = Log::default();
        log.0.lock().strict = true;
        let lines = log.clone();
        let observation = registry().observe(move |event| lines.0.lock().words.push(word(event)));
        Session {
            log,
            _observation: observation,
            _alone: alone,
        }
    }

    /// Allows callbacks of this test not to write to the log.
    pub fn lenient(&self) {
        self.log.0.lock().strict = false;
    }

    /// Asserts that exactly this happened since the last call; and that each callback reported by an event was called as
    /// reported.
    #[track_caller]
    pub fn expect(&self, expected: impl AsRef<str>) {
        let (words, calls) = self.log.take();
        let expected = expected.as_ref().split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = without_repeated_names(&expected);
        assert_eq!(render(&words), expected);
        if self.log.0.lock().strict {
            let told = words.iter().filter(|word| is_callback(word));
            assert_eq!(render(told), render(&calls), "events and calls");
        }
    }

    /// Enables the patch and waits for the end of the transition.
    #[track_caller]
    pub fn load(&self, patch: &Arc<Patch>) {
        registry().enable(patch).expect("the patch is enabled");
        self.wait();
    }

    /// Enables the patch, which must fail.
    #[track_caller]
    pub fn refuses(&self, patch: &Arc<Patch>) -> EnableError {
        registry().enable(patch).expect_err("the patch is refused")
    }

    /// Disables the patch and waits for the end of the transition.
    #[track_caller]
    pub fn unload(&self, patch: &str) {
        registry().disable(patch).expect("the patch is disabled");
        self.wait();
    }

    #[track_caller]
    pub fn wait(&self) {
        registry().wait(LONG).expect("the transition ends");
    }

    /// Loads a module, and marks it live.
    #[track_caller]
    pub fn load_module(&self, module: &str, points: &[&'static RawPoint]) {
        self.try_load_module(module, points).expect("the module may come");
    }

    pub fn try_load_module(&self, module: &str, points: &[&'static RawPoint]) -> Result<(), ModuleError> {
        registry().module_coming(module, points.iter().copied())?;
        self.log.say(format!("init({module})"));
        registry().module_live(module)
    }

    /// Unloads a module after its own clean-up.
    #[track_caller]
    pub fn unload_module(&self, module: &str) {
        self.log.say(format!("exit({module})"));
        registry().module_going(module).expect("the module was there");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let status = registry().status();
        for patch in &status.patches {
            let _ = registry().force(&patch.name);
        }
        if !status.patches.is_empty() {
            // Not all can be disabled, but all can be replaced.
            let mut last = Patch::builder("last").replace(true);
            let ids: BTreeSet<u64> = status
                .patches
                .iter()
                .flat_map(|patch| &patch.states)
                .map(|state| state.id)
                .collect();
            for id in ids {
                last = last.state(State::new(id, u32::MAX));
            }
            let last = last.object(ObjectPatch::program().post_patch(|_| ())).build();
            let _ = last.map(|last| registry().enable(&last));
            let _ = registry().force("last");
            let _ = registry().disable("last");
            let _ = registry().force("last");
        }
        for module in &status.modules {
            let _ = registry().module_going(&module.name);
        }
        if !thread::panicking() {
            assert!(status.patches.is_empty(), "left enabled: {:?}", status.patches);
            assert!(status.modules.is_empty(), "left there: {:?}", status.modules);
        }
    }
}

fn is_callback(word: &Word) -> bool {
    ["pre(", "post(", "preU(", "postU("]
        .iter()
        .any(|start| word.text.starts_with(start))
}

/// Removes repeated names of patches from expectations that are put together from parts.
fn without_repeated_names(text: &str) -> String {
    let mut last = None;
    let words = text.split(' ').filter(|word| match word.strip_suffix(':') {
        Some(name) => last.replace(name) != Some(name),
        None => true,
    });
    words.collect::<Vec<_>>().join(" ")
}
