//! Transitions: started, ended when no unit of work is on the side that was left, reversed, forced.

use std::sync::Arc;
use std::thread::Thread;

use super::inner::{Entry, Transition};
use super::points::Applied;
use super::worker;
use super::{Owner, Turn};
use crate::error::ChangeError;
use crate::events::{Direction, Event};
use crate::patch::{CallbackKind, ModuleState, Patch};
use crate::task::WORLD;

impl Turn<'_> {
    /// See [`Registry::disable`](super::Registry::disable).
    pub(super) fn disable(&self, name: &str) -> Result<(), ChangeError> {
        let patch = {
            let inner = self.inner();
            let index = inner.place_of(name)?;
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
        self.prepare_states_to_go(&patch);
        for (index, module) in self.patched_objects(&patch) {
            self.tell(&patch, Owner::Object(index, module), CallbackKind::PreUnpatch);
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
        // What the other side has is as it was before the first flip.
        self.flip();
        self.try_complete();
        Ok(())
    }

    /// See [`Registry::force`](super::Registry::force).
    pub(super) fn force(&self, name: &str) -> Result<(), ChangeError> {
        let left = {
            let mut inner = self.inner();
            let (index, transition) = inner.transition_of(name)?;
            transition.forced = true;
            let (direction, left) = (transition.direction, transition.left);
            // Whose functions the forced units may still be in.
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
            left.expect("a transition that is seen between turns has started")
        };
        // Else by who finds that the barrier is there (T7).
        let units = if self.settle() { WORLD.force(left) } else { 0 };
        self.emit(&Event::Forcing {
            patch: name.to_owned(),
            units,
        });
        self.try_complete();
        Ok(())
    }

    /// Starts the transition that was prepared.
    pub(super) fn start(&self) {
        let (moved, views) = {
            let inner = self.inner();
            (inner.in_motion(), inner.views())
        };
        {
            let points = self.registry.points.lock();
            let target = WORLD.side().other();
            moved
                .iter()
                .for_each(|(_, applied)| points.publish(applied, views, target));
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
            transition.left = Some(WORLD.side());
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

    /// Whether a heavy barrier has followed the running transition's flip.
    fn settle(&self) -> bool {
        // Not under the lock: a status does not wait for a scan of ours.
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

    /// Ends the transition if no unit is on the side that was left (T4). Else the worker will.
    pub(super) fn try_complete(&self) {
        let (patch, direction, left, fenced, forced) = {
            let inner = self.inner();
            let Some(transition) = &inner.transition else { return };
            let Some(left) = transition.left else { return };
            let patch = Arc::clone(&transition.patch);
            (patch, transition.direction, left, transition.fenced, transition.forced)
        };
        let settled = self.settle();
        if settled && !fenced && forced {
            WORLD.force(left);
        }
        if !settled || !WORLD.is_empty(left, forced) {
            worker::start();
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
        self.take_off_replaced();
        self.finish_states_replaced();
        for (index, module) in self.patched_objects(patch) {
            self.tell(patch, Owner::Object(index, module), CallbackKind::PostPatch);
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
        self.ended(gone);
    }

    /// The functions of replaced patches go from all points; the patches stay in the list while callbacks may ask for
    /// their states.
    fn take_off_replaced(&self) {
        let (moved, number) = {
            let mut inner = self.inner();
            let moved = inner.in_motion();
            for entry in inner.list.iter_mut().filter(|entry| entry.replaced) {
                entry.enabled = false;
                entry.objects.iter_mut().for_each(|life| life.applied = None);
            }
            let index = inner.in_transition().expect("the patch is in transition");
            (moved, inner.list[index].number)
        };
        self.even(&moved, |of| of != number);
    }

    /// T1: the side that was left gets what the other has. The patches of whose number that is said give no functions any
    /// more.
    fn even(&self, moved: &[(u64, Applied)], is_gone: impl Fn(u64) -> bool) {
        let mut points = self.registry.points.lock();
        let left = WORLD.side().other();
        for (number, applied) in moved {
            if is_gone(*number) {
                points.take_back(*number, applied);
            }
            points.even(applied, left);
        }
    }

    /// The end of a disabling, of an enabling that was reversed, or of one that failed before it started.
    pub(super) fn finish_unpatching(&self, patch: &Arc<Patch>, forced: bool) {
        let (moved, number) = {
            let mut inner = self.inner();
            let moved = inner.in_motion();
            let index = inner.in_transition().expect("the patch is in transition");
            let entry = &mut inner.list[index];
            entry.enabled = false;
            entry.objects.iter_mut().for_each(|life| life.applied = None);
            let number = entry.number;
            inner.list.iter_mut().for_each(|entry| entry.replaced = false);
            (moved, number)
        };
        self.even(&moved, |of| of == number);
        self.restore_states_kept();
        for (index, module) in self.objects_owed(patch) {
            self.tell(patch, Owner::Object(index, module), CallbackKind::PostUnpatch);
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
        self.ended(vec![gone]);
    }

    /// A transition is over, and these patches are not in the list any more.
    fn ended(&self, gone: Vec<Entry>) {
        let waiting = std::mem::take(&mut self.inner().waiting);
        waiting.iter().for_each(Thread::unpark);
        let gone: Vec<_> = gone.into_iter().map(|entry| entry.patch).collect();
        self.let_go(&gone);
        self.garbage.borrow_mut().patches.extend(gone);
    }

    /// The objects that are patched for this patch, in order, with where they are in their lives.
    fn patched_objects(&self, patch: &Arc<Patch>) -> Vec<(usize, Option<ModuleState>)> {
        let inner = self.inner();
        let index = inner.in_transition().expect("the patch is in transition");
        let lives = inner.list[index].objects.iter().enumerate();
        lives
            .filter(|(_, life)| life.applied.is_some())
            .filter_map(|(index, _)| Some((index, inner.object(&patch.objects[index].name)?)))
            .collect()
    }

    /// The objects that are there and whose `post_unpatch` is owed, which then is not any more.
    fn objects_owed(&self, patch: &Arc<Patch>) -> Vec<(usize, Option<ModuleState>)> {
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
