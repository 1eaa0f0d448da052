//! Emits events to `tracing`, with each id as a field of its own.

use crate::error::CallbackOwner;
use crate::events::Event;

/// The fields of an event. `None` fields are not recorded.
#[derive(Default)]
struct Fields<'e> {
    patch: Option<&'e str>,
    direction: Option<String>,
    object: Option<&'e str>,
    state: Option<u64>,
    module: Option<&'e str>,
    library: Option<&'e str>,
    module_state: Option<String>,
    callback: Option<String>,
    units: Option<u64>,
    shadow: Option<u64>,
    variables: Option<u64>,
    error: Option<&'e str>,
}

/// Emits an event with the target `livepatch`: a failure as an error, any other as information.
pub(super) fn trace(event: &Event) {
    let (kind, fields) = fields(event);
    let Fields {
        patch,
        object,
        state,
        module,
        library,
        units,
        shadow,
        variables,
        error,
        ..
    } = fields;
    let direction = fields.direction.as_deref();
    let module_state = fields.module_state.as_deref();
    let callback = fields.callback.as_deref();
    macro_rules! at {
        ($level:ident) => {
            tracing::$level!(
                target: "livepatch",
                event = kind, patch, direction, object, state, module, module_state, library, callback, units, shadow, variables, error,
                "{event}"
            )
        };
    }
    if event.is_failure() { at!(error) } else { at!(info) }
}

fn fields(event: &Event) -> (&'static str, Fields<'_>) {
    let mut fields = Fields {
        patch: event.patch(),
        ..Fields::default()
    };
    let kind = match event {
        Event::Enabling { .. } => "enabling",
        Event::Initializing { direction, .. } => {
            fields.direction = Some(direction.to_string());
            "initializing"
        }
        Event::Starting { direction, .. } => {
            fields.direction = Some(direction.to_string());
            "starting"
        }
        Event::Completing { direction, .. } => {
            fields.direction = Some(direction.to_string());
            "completing"
        }
        Event::Complete { direction, .. } => {
            fields.direction = Some(direction.to_string());
            "complete"
        }
        Event::Overdue {
            direction, held_up_by, ..
        } => {
            fields.direction = Some(direction.to_string());
            fields.units = Some(held_up_by.len() as u64);
            "overdue"
        }
        Event::Reversing { to, .. } => {
            fields.direction = Some(to.to_string());
            "reversing"
        }
        Event::Canceling { .. } => "canceling",
        Event::Forcing { units, .. } => {
            fields.units = Some(*units as u64);
            "forcing"
        }
        Event::Applying { module, .. } => {
            fields.module = Some(module);
            "applying"
        }
        Event::Reverting { module, .. } => {
            fields.module = Some(module);
            "reverting"
        }
        Event::Callback {
            of, callback, module, ..
        } => {
            owner(of, &mut fields);
            fields.callback = Some(callback.to_string());
            fields.module_state = module.map(|state| state.to_string());
            "callback"
        }
        Event::CallbackFailed {
            of, callback, message, ..
        } => {
            owner(of, &mut fields);
            fields.callback = Some(callback.to_string());
            fields.error = Some(message);
            "callback_failed"
        }
        Event::Refused { message, .. } => {
            fields.error = Some(message);
            "refused"
        }
        Event::ModuleRefused { module, message } => {
            fields.module = Some(module);
            fields.error = Some(message);
            "module_refused"
        }
        Event::ModuleFailed { module, message } => {
            fields.module = Some(module);
            fields.error = Some(message);
            "module_failed"
        }
        Event::Unloaded { library } => {
            fields.library = Some(library);
            "unloaded"
        }
        Event::StaysLoaded { library, why } => {
            fields.library = Some(library);
            fields.error = Some(why);
            "stays_loaded"
        }
        Event::Freed {
            state,
            shadow,
            variables,
            ..
        } => {
            fields.state = Some(*state);
            fields.shadow = Some(*shadow);
            fields.variables = Some(*variables as u64);
            "freed"
        }
        Event::FreeFailed {
            state, shadow, message, ..
        } => {
            fields.state = Some(*state);
            fields.shadow = Some(*shadow);
            fields.error = Some(message);
            "free_failed"
        }
    };
    (kind, fields)
}

fn owner<'e>(of: &'e CallbackOwner, fields: &mut Fields<'e>) {
    match of {
        CallbackOwner::Object(name) => fields.object = Some(name),
        CallbackOwner::State(id) => fields.state = Some(*id),
    }
}
