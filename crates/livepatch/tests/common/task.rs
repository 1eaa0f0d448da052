//! Threads whose units are entered and left on demand.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use livepatch::{Unit, unit};

type Order = Box<dyn FnOnce(&mut Vec<Unit>) + Send>;

/// A thread that does what it is told, step by step. Leaves its units when it is dropped.
pub struct Task {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Task {
    pub fn new(name: &str) -> Self {
        let (orders, todo): (Sender<Order>, Receiver<Order>) = channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut units = Vec::new();
            while let Ok(order) = todo.recv() {
                order(&mut units);
            }
        });
        Task {
            orders: Some(orders),
            thread: Some(thread.expect("a thread")),
        }
    }

    /// Begins a unit, or one more inside it.
    pub fn enter(&self) {
        self.tell(|units| units.push(unit()));
    }

    /// Ends the unit that was entered last.
    pub fn leave(&self) {
        self.tell(|units| drop(units.pop().expect("it is in a unit")));
    }

    /// Runs a function on the thread.
    pub fn run<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        self.tell(|_| work())
    }

    fn tell<R: Send + 'static>(&self, work: impl FnOnce(&mut Vec<Unit>) -> R + Send + 'static) -> R {
        let (answer, answered) = channel();
        let order: Order = Box::new(move |units| {
            let _ = answer.send(work(units));
        });
        let orders = self.orders.as_ref().expect("the thread runs");
        orders.send(order).expect("the thread runs");
        answered.recv().expect("the order was carried out")
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
