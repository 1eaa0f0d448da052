//! The commands that only inspect.

use std::io::{self, Write};

use livepatch::control::{Answer, ClientError};
use livepatch::{PatchStatus, Status, TaskState, TaskStatus};

use crate::args::Args;
use crate::end::Failure;
use crate::text::{self, yes};

pub(crate) fn list(args: &Args, out: &mut impl Write, answer: &Answer) -> Result<(), Failure> {
    let Answer::Patches { patches, transition } = answer else {
        return Err(unexpected());
    };
    if args.json {
        return json(out, answer);
    }
    write_patches(out, patches)?;
    if let Some(transition) = transition {
        writeln!(out, "\n{}", text::transition(transition))?;
    }
    Ok(())
}

pub(crate) fn status(args: &Args, out: &mut impl Write, answer: &Answer) -> Result<(), Failure> {
    let Answer::Status { status } = answer else {
        return Err(unexpected());
    };
    if args.json {
        return json(out, answer);
    }
    write_patches(out, &status.patches)?;
    write_details(out, status)?;
    if let Some(transition) = &status.transition {
        writeln!(out, "\n{}", text::transition(transition))?;
    }
    if !status.tasks.is_empty() {
        let head = ["TASK", "KIND", "STATE", "INSIDE FOR", "ENTERED AT", "HOLDS UP"];
        writeln!(out, "\n{}", text::table(head, status.tasks.iter().map(task)))?;
    }
    for task in status.holding_up() {
        if let Some(unusual) = task.unusual() {
            writeln!(out, "\n{}: {unusual}", text::plain(&task.name))?;
        }
    }
    Ok(())
}

fn write_patches(out: &mut impl Write, patches: &[PatchStatus]) -> io::Result<()> {
    if patches.is_empty() {
        return writeln!(out, "no patch is enabled");
    }
    let rows = patches.iter().map(|patch| {
        let objects = patch.objects.iter().map(|object| match object.patched {
            true => object.name.clone(),
            false => format!("({})", object.name),
        });
        [
            patch.stack_order.to_string(),
            patch.name.clone(),
            yes(patch.enabled),
            yes(patch.transition),
            yes(patch.replace),
            yes(patch.forced),
            objects.collect::<Vec<_>>().join(" "),
        ]
    });
    let head = [
        "ORDER",
        "PATCH",
        "ENABLED",
        "TRANSITION",
        "REPLACE",
        "FORCED",
        "OBJECTS",
    ];
    writeln!(out, "{}", text::table(head, rows))
}

fn write_details(out: &mut impl Write, status: &Status) -> io::Result<()> {
    let objects: Vec<_> = status
        .patches
        .iter()
        .flat_map(|patch| patch.objects.iter().map(|object| (&patch.name, object)))
        .map(|(patch, object)| {
            let functions: Vec<_> = object.functions.iter().map(|one| one.name.as_str()).collect();
            [
                patch.clone(),
                object.name.clone(),
                yes(object.patched),
                functions.join(" "),
            ]
        })
        .collect();
    if !objects.is_empty() {
        let head = ["PATCH", "OBJECT", "PATCHED", "FUNCTIONS"];
        writeln!(out, "\n{}", text::table(head, objects))?;
    }
    let states: Vec<_> = status
        .patches
        .iter()
        .flat_map(|patch| patch.states.iter().map(|state| (&patch.name, state)))
        .map(|(patch, state)| {
            let shadows: Vec<_> = state.shadows.iter().map(|id| format!("{id:#x}")).collect();
            [
                patch.clone(),
                state.id.to_string(),
                state.version.to_string(),
                yes(state.held),
                shadows.join(" "),
            ]
        })
        .collect();
    if !states.is_empty() {
        let head = ["PATCH", "STATE", "VERSION", "HELD", "SHADOW VARIABLES"];
        writeln!(out, "\n{}", text::table(head, states))?;
    }
    if !status.modules.is_empty() {
        let rows = status
            .modules
            .iter()
            .map(|module| [module.name.clone(), module.state.to_string()]);
        writeln!(out, "\n{}", text::table(["MODULE", "STATE"], rows))?;
    }
    if !status.libraries.is_empty() {
        let rows = status
            .libraries
            .iter()
            .map(|library| [library.name.clone(), library.kind.to_string(), library.why()]);
        writeln!(out, "\n{}", text::table(["LIBRARY OF", "KIND", "LOADED BECAUSE"], rows))?;
    }
    Ok(())
}

fn task(task: &TaskStatus) -> [String; 6] {
    let state = match task.state {
        TaskState::None => "-",
        TaskState::Unpatched => "unpatched",
        TaskState::Patched => "patched",
    };
    let inside = task.inside.as_ref();
    let holds_up = inside.is_some_and(|inside| !inside.switched);
    [
        task.name.clone(),
        task.kind.to_string(),
        state.to_owned(),
        inside.map_or_else(|| "-".to_owned(), |inside| text::duration(inside.since)),
        inside.map_or_else(|| "-".to_owned(), |inside| inside.entered_at.clone()),
        yes(holds_up),
    ]
}

pub(crate) fn json(out: &mut impl Write, answer: &Answer) -> Result<(), Failure> {
    writeln!(out, "{}", answer.to_json().map_err(io::Error::other)?)?;
    Ok(())
}

fn unexpected() -> Failure {
    ClientError::Protocol("an answer to another request".to_owned()).into()
}
