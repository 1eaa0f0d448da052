//! The auto traits of every public type, as they are promised. Variance is held by examples in `src/variance.rs`.

use std::cell::Cell;
use std::future::Ready;
use std::rc::Rc;

use livepatch::{
    Call, CallbackError, CallbackKind, CallbackOwner, ChangeError, Context, Direction, EnableError, EnteredBy, Event,
    Forked, FunctionStatus, InUnit, Incompatibility, LibraryKind, LibraryStatus, ModuleError, ModuleState,
    ModuleStatus, Needed, NoTransition, ObjectPatch, ObjectStatus, Observation, Patch, PatchBuilder, PatchError,
    PatchPoint, PatchStatus, PrevState, RawPoint, Reentrant, Refusal, RefusedHow, Registry, ResolveError, State,
    StateStatus, Status, Stays, TaskInside, TaskKind, TaskState, TaskStatus, TransitionStatus, Unit, WaitError,
    Watchdog,
};

#[macro_use]
#[path = "../../shadow-vars/tests/support/auto_traits.rs"]
mod auto_traits;

/// Neither `Send` nor `Sync`.
type Local = Rc<Cell<u8>>;

#[test]
fn auto_traits_are_as_promised() {
    assert!(has!(Send, u8) && !has!(Send, Local), "the question itself");
    assert_auto! {
        // Units and calls are counted by their thread.
        Unit: false false false;
        Call<fn(u8)>: false false true;
        // A future in a unit is as `Send` and `Sync` as the future itself.
        InUnit<Ready<u8>>: true true false;
        InUnit<Ready<Local>>: false false false;
        // A point is shared by all threads, whatever its function takes.
        PatchPoint<fn(u8)>: true true true;
        PatchPoint<fn(Local)>: true true true;
        RawPoint: true true true;
        // The parts of patches, and the registry. Callbacks need not be unwind-safe.
        Patch: true true false;
        PatchBuilder: true true false;
        ObjectPatch: true true false;
        State: true true false;
        PrevState: true true false;
        Registry: true true true;
        Observation: true true true;
        Watchdog: true true true;
        // For the called callback, on its thread.
        Context<'static>: false false false;
        CallbackKind: true true true;
        ModuleState: true true true;
        // Statuses and events.
        Status: true true true;
        PatchStatus: true true true;
        ObjectStatus: true true true;
        FunctionStatus: true true true;
        StateStatus: true true true;
        ModuleStatus: true true true;
        TransitionStatus: true true true;
        TaskStatus: true true true;
        TaskState: true true true;
        TaskInside: true true true;
        TaskKind: true true true;
        EnteredBy: true true true;
        LibraryStatus: true true true;
        LibraryKind: true true true;
        Stays: true true true;
        Needed: true true true;
        Event: true true true;
        Direction: true true true;
        // Errors. Those that contain a callback's error are no more unwind-safe than that.
        PatchError: true true true;
        EnableError: true true false;
        Incompatibility: true true true;
        ResolveError: true true true;
        Refusal: true true false;
        RefusedHow: true true false;
        CallbackOwner: true true true;
        CallbackError: true true false;
        Reentrant: true true true;
        Forked: true true true;
        ChangeError: true true true;
        ModuleError: true true false;
        NoTransition: true true true;
        WaitError: true true true;
    }
}

/// The types of libraries and of the control socket.
#[cfg(all(feature = "library", feature = "control", target_os = "linux"))]
#[test]
fn so_are_those_of_libraries_and_control() {
    use livepatch::Interface;
    use livepatch::control::{
        Answer, BindError, Change, Client, ClientBuilder, ClientError, ConnectError, Control, ControlBuilder,
        ErrorCode, Refused, Request, UnsafePath, Watch,
    };
    use livepatch::library::{
        LibraryInfo, LoadError, LoadFault, LoadOptions, Module, ModuleCall, ModuleFunction, ModuleGone, StillLoaded,
        UnloadError,
    };

    assert_auto! {
        Interface: true true true;
        LibraryInfo: true true true;
        LoadOptions: true true true;
        LoadError: true true false;
        LoadFault: true true false;
        StillLoaded: true true true;
        UnloadError: true true false;
        Module: true true true;
        // As with points: the function is called, not handed over.
        ModuleFunction<fn(u8)>: true true true;
        ModuleFunction<fn(Local)>: true true true;
        ModuleCall<fn(u8)>: false false true;
        ModuleGone: true true true;
        Control: true true false;
        ControlBuilder: true true false;
        Client: true true true;
        ClientBuilder: true true true;
        Watch: true true true;
        ClientError: true true false;
        ConnectError: true true false;
        BindError: true true false;
        UnsafePath: true true true;
        Request: true true true;
        Answer: true true true;
        Change: true true true;
        Refused: true true true;
        ErrorCode: true true true;
    }
}
