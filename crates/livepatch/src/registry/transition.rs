//! Transitions: how they start, are reversed and forced, and end when no unit of work is on the side that was left.
//!
//! A change prepares a transition, publishes functions on the side that is not in use, and flips (`start`). The
//! transition ends by `try_complete`: at once if no unit is on the old side, otherwise on the worker. Relies on T1, T2,
//! T4, T6, T7.

use std::sync::Arc;
use std::thread::Thread;

use super::change::{Change, Owner};
use super::inner::{Entry, Transition};
use super::points::Applied;
use super::worker;
use crate::error::ChangeError;
use crate::events::{Direction, Event};
use crate::patch::{CallbackKind, ModuleState, Patch};
use crate::task::WORLD;

impl Change<'_> {
    /// See [`Registry::disable`](super::Registry::disable).
    pub(super) fn disable(&self, name: &str) -> Result<(), ChangeError> {
        let patch = {
            let inner = self.inner();
            let index = inner.try_index_of(name)?;
            match &inner.transition {
                Some(_) if inner.is_in_transition(index) => {
                    let enabled = inner.list[index].enabled;
                    drop(inner);
                    return match enabled {
                        true => self.reverse(name),
                        false => Err(ChangeError::AlreadyDisabled { patch: name.to_owned() }),
                    };
                }
                Some(other) => {
                    return Err(ChangeError::Busy {
                        patch: other.patch.name.clone(),
                    });
                }
                None => {}
            }
            if let Some(state) = inner.blocked(index) {
                return Err(ChangeError::Blocked {
                    patch: name.to_owned(),
                    state,
                });
            }
            Arc::clone(&inner.list[index].patch)
        };
        self.inner().transition = Some(Transition::new(&patch, Direction::Unpatching));
        self.emit(&Event::Initializing {
            patch: patch.name.clone(),
            direction: Direction::Unpatching,
        });
        self.prepare_states_removed(&patch);
        for (index, module) in self.patched_objects(&patch) {
            self.notify(&patch, Owner::Object(index, module), CallbackKind::PreUnpatch);
        }
        self.start();
        Ok(())
    }

    /// See [`Registry::reverse`](super::Registry::reverse).
    pub(super) fn reverse(&self, name: &str) -> Result<(), ChangeError> {
        let to = {
            let mut inner = self.inner();
            let (_, transition) = inner.transition_of(name)?;
            transition.direction = transition.direction.reversed();
            transition.direction
        };
        self.emit(&Event::Reversing {
            patch: name.to_owned(),
            to,
        });
        // The functions of the other side are as they were before the first flip.
        self.flip();
        self.try_complete();
        Ok(())
    }

    /// See [`Registry::force`](super::Registry::force).
    pub(super) fn force(&self, name: &str) -> Result<(), ChangeError> {
        let old_side = {
            let mut inner = self.inner();
            let (index, transition) = inner.transition_of(name)?;
            transition.forced = true;
            let (direction, old_side) = (transition.direction, transition.old_side);
            // The patches whose functions the forced units may still run.
            match direction {
                Direction::Unpatching => inner.list[index].patch.set_forced(),
                Direction::Patching => {
                    inner
                        .list
                        .iter()
                        .filter(|entry| entry.replaced)
                        .for_each(|entry| entry.patch.set_forced());
                }
            }
            old_side.expect("a transition that is seen between changes has started")
        };
        // If the barrier is refused now, units are forced once it succeeds, by `try_complete` (T7).
        let units = if self.settle() { WORLD.force(old_side) } else { 0 };
        self.emit(&Event::Forcing {
            patch: name.to_owned(),
            units,
        });
        self.try_complete();
        Ok(())
    }

    /// Starts the prepared transition.
    pub(super) fn start(&self) {
        let (moved, views) = {
            let inner = self.inner();
            (inner.affected_functions(), inner.views())
        };
        {
            let points = self.registry.points.lock();
            let target = WORLD.side().other();
            for (_, applied) in &moved {
                // SAFETY: T2: no transition ran, so the last one's scan has seen no unit on the side that is not the
                // world's, and none has begun there since; the world's side has these functions by T1.
                unsafe { points.publish(applied, views, target) };
            }
        }
        self.flip();
        self.try_complete();
    }

    fn flip(&self) {
        let (patch, direction) = {
            let mut inner = self.inner();
            let index = inner.in_transition().expect("a transition was prepared");
            let transition = inner.transition.as_mut().expect("as above");
            let direction = transition.direction;
            transition.old_side = Some(WORLD.side());
            inner.list[index].enabled = direction == Direction::Patching;
            (inner.list[index].patch.name.clone(), direction)
        };
        self.emit(&Event::Starting { patch, direction });
        let fenced = WORLD.flip();
        if let Some(transition) = &mut self.inner().transition {
            transition.fenced = fenced;
            transition.forced = false;
        }
    }

    /// Returns whether a heavy barrier has followed the running transition's flip.
    fn settle(&self) -> bool {
        // Not under the lock, so that a status does not wait for the barrier.
        let fenced = self
            .inner()
            .transition
            .as_ref()
            .is_some_and(|transition| transition.fenced)
            || WORLD.settle();
        if let Some(transition) = &mut self.inner().transition {
            transition.fenced = fenced;
        }
        fenced
    }

    /// Ends the transition if no unit is on the side that was left (T4). Otherwise starts or wakes the worker.
    pub(super) fn try_complete(&self) {
        let (patch, direction, old_side, fenced, forced) = {
            let inner = self.inner();
            let Some(transition) = &inner.transition else { return };
            let Some(old_side) = transition.old_side else { return };
            let patch = Arc::clone(&transition.patch);
            (
                patch,
                transition.direction,
                old_side,
                transition.fenced,
                transition.forced,
            )
        };
        let settled = self.settle();
        if settled && !fenced && forced {
            WORLD.force(old_side);
        }
        if !settled || !WORLD.is_empty(old_side, forced) {
            worker::start(self.registry.work);
            return;
        }
        self.emit(&Event::Completing {
            patch: patch.name.clone(),
            direction,
        });
        match direction {
            Direction::Patching => self.finish_patching(&patch, forced),
            Direction::Unpatching => self.finish_unpatching(&patch, forced),
        }
    }

    fn finish_patching(&self, patch: &Arc<Patch>, forced: bool) {
        self.remove_replaced();
        self.finish_states_replaced();
        for (index, module) in self.patched_objects(patch) {
            self.notify(patch, Owner::Object(index, module), CallbackKind::PostPatch);
        }
        self.finish_states_patched(patch);
        self.emit(&Event::Complete {
            patch: patch.name.clone(),
            direction: Direction::Patching,
            forced,
        });
        let gone: Vec<Entry> = {
            let mut inner = self.inner();
            inner.settle_blocked(patch);
            inner.transition = None;
            inner.list.extract_if(.., |entry| entry.replaced).collect()
        };
        self.finish(gone);
    }

    /// Removes the functions of replaced patches from all points. The patches stay in the list as long as callbacks may
    /// request their states.
    fn remove_replaced(&self) {
        let (moved, number) = {
            let mut inner = self.inner();
            let moved = inner.affected_functions();
            for entry in inner.list.iter_mut().filter(|entry| entry.replaced) {
                entry.enabled = false;
                entry.objects.iter_mut().for_each(|life| life.applied = None);
            }
            let index = inner.in_transition().expect("the patch is in transition");
            (moved, inner.list[index].number)
        };
        self.equalise(&moved, |of| of != number);
    }

    /// Establishes T1: copies the functions of the current side to the side that was left. First removes the functions of
    /// those patches for whose number `is_gone` returns `true`.
    fn equalise(&self, moved: &[(u64, Applied)], is_gone: impl Fn(u64) -> bool) {
        let mut points = self.registry.points.lock();
        let old_side = WORLD.side().other();
        for (number, applied) in moved {
            if is_gone(*number) {
                points.remove_functions(*number, applied);
            }
            points.equalise(applied, old_side);
        }
    }

    /// Ends a disabling, an enabling that was reversed, or one that failed before it started.
    pub(super) fn finish_unpatching(&self, patch: &Arc<Patch>, forced: bool) {
        let (moved, number) = {
            let mut inner = self.inner();
            let moved = inner.affected_functions();
            let index = inner.in_transition().expect("the patch is in transition");
            let entry = &mut inner.list[index];
            entry.enabled = false;
            entry.objects.iter_mut().for_each(|life| life.applied = None);
            let number = entry.number;
            inner.list.iter_mut().for_each(|entry| entry.replaced = false);
            (moved, number)
        };
        self.equalise(&moved, |of| of == number);
        self.restore_states_kept();
        for (index, module) in self.take_owed_objects(patch) {
            self.notify(patch, Owner::Object(index, module), CallbackKind::PostUnpatch);
        }
        self.finish_states_unpatched(patch);
        self.emit(&Event::Complete {
            patch: patch.name.clone(),
            direction: Direction::Unpatching,
            forced,
        });
        let gone = {
            let mut inner = self.inner();
            let index = inner.in_transition().expect("the patch is in transition");
            inner.transition = None;
            inner.list.remove(index)
        };
        self.finish(vec![gone]);
    }

    /// Wakes the waiting threads after a transition, and disposes of the patches that have left the list.
    fn finish(&self, gone: Vec<Entry>) {
        let waiting = std::mem::take(&mut self.inner().waiting);
        waiting.iter().for_each(Thread::unpark);
        let gone: Vec<_> = gone.into_iter().map(|entry| entry.patch).collect();
        self.update_retained(&gone);
        self.garbage.borrow_mut().patches.extend(gone);
    }

    /// Returns the objects that this patch patches, in order, with the states of their modules.
    fn patched_objects(&self, patch: &Arc<Patch>) -> Vec<(usize, Option<ModuleState>)> {
        let inner = self.inner();
        let index = inner.in_transition().expect("the patch is in transition");
        let lives = inner.list[index].objects.iter().enumerate();
        lives
            .filter(|(_, life)| life.applied.is_some())
            .filter_map(|(index, _)| Some((index, inner.object(&patch.objects[index].name)?)))
            .collect()
    }

    /// Returns the objects that are loaded and owed a `post_unpatch`, and clears that debt for all.
    fn take_owed_objects(&self, patch: &Arc<Patch>) -> Vec<(usize, Option<ModuleState>)> {
        let mut inner = self.inner();
        let there: Vec<_> = patch.objects.iter().map(|object| inner.object(&object.name)).collect();
        let index = inner.in_transition().expect("the patch is in transition");
        let lives = inner.list[index].objects.iter_mut().enumerate();
        lives
            .filter_map(|(index, life)| {
                let owed = std::mem::take(&mut life.owes_post_unpatch);
                there[index].filter(|_| owed).map(|module| (index, module))
            })
            .collect()
    }
}
